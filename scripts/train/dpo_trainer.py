"""TRL's DPOTrainer, fed with tokens and reference log-probs that exist already."""

import math
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerState
from transformers.modeling_outputs import CausalLMOutput
from trl import DPOTrainer

from scripts.common.cli import BadInput
from scripts.common.files import Row
from scripts.lm.prefix_tree import Sequence, Tree, fewest_tokens, shared
from scripts.lm.tree_attention import logits_at
from scripts.train.layouts import BATCHES, Batch, LaidOutTrainer

NOISE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""How far, in nats, rounding alone takes the mean log-prob of a step's pairs in two passes of one
model. Some ten times what a Llama of 12 layers and 512 wide gave on a CPU, one sequence at a time
against sixteen, over 8 to 16 pairs: 1e-4, 0.04 and 0.007."""

LN_2_AT_ZERO = {"sigmoid", "sigmoid_norm", "robust", "aot", "aot_unpaired"}
"""Objectives whose loss is ln 2 = -log sigmoid(0) where every margin is 0."""


class TokenDPOTrainer(LaidOutTrainer, DPOTrainer):
    """Takes prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps and ref_rejected_logps.

    The model is a PEFT model, whose adapter is trained. In the shared layout, the pairs of a pass
    stand in a prefix tree, and only what predicts completion tokens is projected on the vocabulary.
    TRL's own loss and metrics are given those logits, one stock batch at a time.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Given no reference model, it would copy the adapter as one; an empty model is none.
        super().__init__(*args, ref_model=torch.nn.Module(), **kwargs)
        self.ref_model = None
        # Set here, not in the config: there it would make TRL compute them itself.
        self.precompute_ref_logps = True

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def sequences_of(self, batch: Batch) -> list[Sequence]:
        """Returns the sequences without their last tokens, behind which nothing is predicted."""
        return [sequence[:-1] for sequence in super().sequences_of(batch)]

    def fewest_tokens(self, sequences: list[Sequence]) -> int:
        """Returns the size of the sequences' prefix tree."""
        return fewest_tokens(sequences)

    def tree_of(self, batches: list[list[Sequence]]) -> Tree:
        """Returns the pairs' prefix tree; a batch holds all chosen, then all rejected sequences."""
        pairs = [list(pair) for batch in batches for pair in zip(*_halves(batch), strict=True)]
        tree = shared(pairs)
        # From pair by pair back to batch by batch.
        places = iter(zip(tree.places[::2], tree.places[1::2], strict=True))
        ordered: list[list[int]] = []
        for batch in batches:
            chosen, rejected = zip(*islice(places, len(batch) // 2), strict=True)
            ordered += [*chosen, *rejected]
        return replace(tree, places=ordered)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Returns the sum of TRL's losses of the stock batches of a pass."""
        stock_loss = super().compute_loss
        if self.layout.ran == "stock":
            return stock_loss(model, inputs, return_outputs, num_items_in_batch)
        batches = inputs.get(BATCHES, [inputs])
        tree, places = self.laid_out(batches)
        compacted = [compact(*part) for part in zip(batches, places, strict=True)]
        wanted = torch.cat([wanted.flatten() for _, wanted in compacted])
        logits = logits_at(model, tree, wanted).split([w.numel() for _, w in compacted])
        losses = [
            stock_loss(_Given(part.unflatten(0, wanted.shape)), batch, return_outputs)
            for part, (batch, wanted) in zip(logits, compacted, strict=True)
        ]
        return losses[0] if len(losses) == 1 else sum(losses)


class _Given:
    """Stands in for a model whose logits are there already."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def __call__(self, **_: Any) -> CausalLMOutput:
        return CausalLMOutput(logits=self.logits)


def _halves(batch: list[Sequence]) -> tuple[list[Sequence], list[Sequence]]:
    return batch[: len(batch) // 2], batch[len(batch) // 2 :]


def compact(batch: Batch, places: list[list[int]]) -> tuple[Batch, torch.Tensor]:
    """Returns a batch cut down to what its loss needs, and where the logits for it are.

    Each row keeps the token before its completion and the completion: `input_ids` and
    `completion_mask` have shape (sequences, 1 + longest completion). The attention mask stays
    whole, as it is only counted.

    Parameters
    ----------
    places
        For each sequence, the places of its tokens.

    Returns
    -------
    The batch, and int64 places of the same shape, on the CPU. A place whose logits nothing reads
    repeats the row's first, so that it costs nothing.
    """
    ids, mask = batch["input_ids"].cpu(), batch["completion_mask"].cpu()
    counts = mask.sum(1, keepdim=True)
    first = mask.argmax(1, keepdim=True)
    start = (first - 1).clamp(min=0)
    columns = start + torch.arange(1 + int(counts.max()))
    inside = columns < first + counts
    columns = torch.where(inside, columns, start)
    standing = torch.zeros_like(ids)
    for row, path in enumerate(places):
        standing[row, : len(path)] = torch.tensor(path)
    # What stands at a completion's last token predicts nothing.
    predicts = columns < first + counts - 1
    wanted = standing.gather(1, torch.where(predicts, columns, start))
    device = batch["input_ids"].device
    cut = {
        "input_ids": ids.gather(1, columns).to(device),
        "completion_mask": (inside & (columns >= first)).to(mask.dtype).to(device),
    }
    return batch | cut, wanted


class StepZeroGate(TrainerCallback):
    """Stops a run whose policy is not its reference at step 0, unless it is meant not to be.

    There every margin must be 0, so their mean too, and the loss what the objective gives at 0. If
    not, the log-probs of another model were given as the reference's, and all that follows is
    compared with the wrong thing. Margins of both signs leave the mean near 0, and not the loss.
    """

    def __init__(self, dtype: torch.dtype, trial: Row) -> None:
        trainer = trial["trainer"]
        self.closed = trial["start_as"] == "merged"
        self.margin_noise = NOISE[dtype] * trainer["beta"]
        objectives = trainer["loss_type"]
        known = LN_2_AT_ZERO.issuperset(objectives) and not trainer["use_weighting"]
        weight = sum(trainer["loss_weights"] or [1.0] * len(objectives))
        self.loss_at_zero = weight * math.log(2) if known else None
        # How far from ln 2 the loss is where every margin is as far from 0 as rounding takes it.
        self.loss_noise = weight * (math.log1p(math.exp(self.margin_noise)) - math.log(2))
        self.margin: float | None = None
        self.loss: float | None = None

    def found(self) -> Row:
        """Returns what train.json holds: the first step's margin and loss, and whether it gates."""
        return {"margin": self.margin, "loss": self.loss, "gate": self.closed}

    def kept(self) -> Row:
        """Returns what the first step was found to be, for a checkpoint."""
        return {"margin": self.margin, "loss": self.loss}

    def restore(self, kept: Row) -> None:
        """Takes it back: a trainer that goes on has no first step."""
        self.margin, self.loss = kept["margin"], kept["loss"]

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Raises BadInput when the first step's margin or loss is not that of step 0."""
        if state.global_step != 1 or "loss" not in (logs or {}):
            return
        self.margin, self.loss = float(logs["rewards/margins"]), float(logs["loss"])
        if not self.closed:
            return
        reason = "the reference log-probs are not those of the model that training starts from"
        if not abs(self.margin) <= self.margin_noise:
            raise BadInput(f"the reward margin at step 0 is {self.margin:.4g}, not 0: {reason}")
        expected = self.loss_at_zero
        if expected is not None and not abs(self.loss - expected) <= self.loss_noise:
            raise BadInput(f"the loss at step 0 is {self.loss:.6g}, not {expected:.6g}: {reason}")
