"""The loss of TRL's DPOTrainer on a few rows, by its own code and without a model."""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

LENGTHS, VOCABULARY = ([4, 6], [5, 3]), 7
"""Tokens of the chosen and of the rejected completions, two pairs."""


def trl_loss(trainer: dict[str, Any], moved: float) -> float:
    """Returns the loss where the policy's log-probs differ from the reference's by about `moved`.

    Parameters
    ----------
    trainer
        A resolved trial's `trainer`; only what belongs to the objective is read.
    """
    import torch
    from torch.nn.functional import log_softmax
    from trl import DPOConfig, DPOTrainer

    torch.manual_seed(0)
    lengths = torch.tensor([length for side in LENGTHS for length in side])
    mask = torch.arange(8) < lengths[:, None]
    # What stands first is predicted from nothing, and stands for the prompt.
    mask = torch.cat([torch.zeros(len(lengths), 1, dtype=torch.bool), mask], dim=1).long()
    ids = torch.randint(VOCABULARY, mask.shape)
    logits = torch.randn(*mask.shape, VOCABULARY, requires_grad=True)
    tokens = log_softmax(logits[:, :-1], -1).gather(2, ids[:, 1:, None])[..., 0] * mask[:, 1:]
    shared = torch.minimum(*map(torch.tensor, LENGTHS)).repeat(2)[:, None]
    alpha = 1.0 if trainer["ld_alpha"] is None else trainer["ld_alpha"]
    tail = mask[:, 1:].cumsum(1) > shared
    before = tokens.detach() + moved * torch.randn(tokens.shape) * mask[:, 1:]
    chosen, rejected = (before * torch.where(tail, alpha, 1.0)).sum(1).chunk(2)

    keys = ("beta", "loss_type", "loss_weights", "ld_alpha", "f_divergence_type", "discopop_tau",
            "f_alpha_divergence_coef", "label_smoothing", "use_weighting")  # fmt: skip
    own = {key: trainer[key] for key in keys}
    options = DPOConfig(output_dir="unused", bf16=False, report_to=[], **own)
    own["loss_types"] = own.pop("loss_type")
    own["loss_weights"] = options.loss_weights or [1.0] * len(options.loss_type)
    accelerator = SimpleNamespace(
        device=torch.device("cpu"), gather=lambda it: it, gather_for_metrics=lambda it: it
    )
    policy = SimpleNamespace(training=False)
    given = SimpleNamespace(
        **own, args=options, model=policy, accelerator=accelerator, use_liger_kernel=False,
        aux_loss_enabled=False, precompute_ref_logps=True, _total_train_tokens=0,
        _metrics=defaultdict(lambda: defaultdict(list)),
    )  # fmt: skip
    inputs = {"input_ids": ids, "completion_mask": mask, "attention_mask": torch.ones_like(ids),
              "ref_chosen_logps": chosen, "ref_rejected_logps": rejected}  # fmt: skip
    outputs = lambda **_: SimpleNamespace(logits=logits)  # noqa: E731
    return DPOTrainer._compute_loss(given, outputs, inputs, False).item()
