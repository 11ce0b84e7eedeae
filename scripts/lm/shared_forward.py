"""One forward pass over prefix trees, and the proof that a model computes them rightly.

A model is handed a mask for each row. Most honour it; some drop it, in training only or always, and
say nothing. So none is trusted by its name: `check_sharing` compares, on the model at hand, pairs
laid out as a tree with the same pairs laid out one by one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from scripts.lm.prefix_tree import Rows, Sequence, separate_rows, tree_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ALLOWED_FLOAT32, ALLOWED_16_BIT = 1e-3, 0.1
"""How far shared log-probs and gradients may be from separate ones, as a share of how far those are
that come of dropping the mask. Rounding gave 1e-6 and 2e-3, on Llama and Qwen2 shapes of 3 layers."""


@dataclass(frozen=True)
class Check:
    """How far pairs laid out as a tree are from the same pairs laid out one by one."""

    logps: float
    """Root mean square difference of the tokens' log-probs, in nats."""
    logps_unmasked: float
    """The same with the mask left out: what a model that ignores it would give."""
    gradient: float
    """Norm of the difference of the gradients over the norm of the gradient; 0 without any."""
    gradient_unmasked: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Tells whether the mask is honoured. A NaN is no pass."""
        logps = self.logps <= self.allowed * self.logps_unmasked
        return logps and self.gradient <= self.allowed * self.gradient_unmasked

    def reason(self) -> str:
        """Returns what is wrong with a model that did not pass."""
        return (
            "the model does not honour the mask of shared prompts: log-probs differ by "
            f"{self.logps:.3g} nats from separate rows', and by {self.logps_unmasked:.3g} without "
            f"any mask; gradients by {self.gradient:.3g} and {self.gradient_unmasked:.3g}"
        )

    def asdict(self) -> dict[str, float]:
        """Returns the differences by name."""
        return asdict(self)


def logits_at(
    model: "PreTrainedModel", rows: Rows, wanted: torch.Tensor, masked: bool = True
) -> torch.Tensor:
    """Returns a model's logits at some places of rows, shape (*wanted.shape, vocabulary).

    Only these places are projected on the vocabulary, each of them once.

    Parameters
    ----------
    wanted
        Places as in `Rows.places`, of any shape, on the CPU.
    """
    device = model.device
    input_ids = rows.input_ids.to(device)
    places, order = wanted.unique(return_inverse=True)
    with _projected(model.get_output_embeddings(), places.to(device)):
        logits = model(
            input_ids=input_ids,
            position_ids=rows.position_ids.to(device),
            attention_mask=rows.mask(device) if masked else torch.ones_like(input_ids),
            use_cache=False,
        ).logits
    return logits[order.to(device)]


@contextmanager
def _projected(head: torch.nn.Module, places: torch.Tensor) -> Iterator[None]:
    """Makes a model's head project the hidden states at some places only.

    A hook, because all that a model does around its head, such as scaling, stays with the model.
    """

    def gather(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (inputs[0].flatten(0, 1)[places], *inputs[1:])

    handle = head.register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()


def check_sharing(model: "PreTrainedModel", parameters: list[torch.nn.Parameter]) -> Check:
    """Returns how a model, in the mode that it is in, computes two pairs laid out as a tree.

    The pairs share a beginning, and each pair a prompt, the second a part of its completions too.

    Parameters
    ----------
    parameters
        Those whose gradients are compared; their gradients are cleared. With none, only log-probs
        are compared, and no graph is built.
    """
    prompts, sequences = _two_pairs(model.get_input_embeddings().weight.shape[0])
    rows = tree_rows([sequences[:2], sequences[2:]])
    found = {}
    for name, laid, masked in (
        ("separate", separate_rows(sequences), False),
        ("shared", rows, True),
        ("unmasked", rows, False),
    ):
        with torch.set_grad_enabled(bool(parameters)):
            logps = _logps(model, laid, sequences, prompts, masked)
        found[name] = (logps.detach(), _gradient(logps, parameters))
    logps = {name: logps for name, (logps, _) in found.items()}
    gradients = {name: gradient for name, (_, gradient) in found.items()}
    allowed = ALLOWED_FLOAT32 if model.dtype == torch.float32 else ALLOWED_16_BIT
    size = float(gradients["separate"].norm()) or 1.0

    def apart(name: str) -> tuple[float, float]:
        difference = (logps[name] - logps["separate"]).square().mean().sqrt()
        turned = (gradients[name] - gradients["separate"]).norm()
        return float(difference), float(turned) / size

    (shared, turned), (unmasked, unmasked_turned) = apart("shared"), apart("unmasked")
    return Check(shared, unmasked, turned, unmasked_turned, allowed)


def _two_pairs(vocabulary: int) -> tuple[list[int], list[Sequence]]:
    """Returns the lengths of four prompts, and sequences, equally long: they need no padding."""
    generator = torch.Generator().manual_seed(0)

    def tokens(count: int) -> Sequence:
        return torch.randint(vocabulary, (count,), generator=generator).tolist()

    beginning = tokens(6)
    one, other = beginning + tokens(6), beginning + tokens(4)
    common = tokens(3)
    sequences = [one + tokens(8), one + tokens(8)]
    sequences += [other + common + tokens(7), other + common + tokens(7)]
    return [len(one), len(one), len(other), len(other)], sequences


def _logps(
    model: "PreTrainedModel",
    rows: Rows,
    sequences: list[Sequence],
    prompts: list[int],
    masked: bool,
) -> torch.Tensor:
    """Returns the log-probs of all completion tokens, shape (tokens,), float32."""
    wanted, tokens = [], []
    for places, sequence, prompt in zip(rows.places, sequences, prompts, strict=True):
        wanted += places[prompt - 1 : -1]
        tokens += sequence[prompt:]
    logits = logits_at(model, rows, torch.tensor(wanted), masked).float()
    chosen = torch.tensor(tokens, device=logits.device)
    return logits.log_softmax(-1).gather(-1, chosen[:, None])[:, 0]


def _gradient(logps: torch.Tensor, parameters: list[torch.nn.Parameter]) -> torch.Tensor:
    """Returns the gradient of a weighted sum of log-probs, flat; the weights tell tokens apart."""
    if not parameters:
        return logps.new_zeros(1)
    weights = torch.linspace(-1, 1, len(logps), device=logps.device)
    (logps * weights).sum().backward()
    gradient = torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).float().flatten() for p in parameters]
    )
    for parameter in parameters:
        parameter.grad = None
    return gradient
