"""Trainers of preference pairs: what TRL's losses are given, where prompts are computed once."""

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from datasets import Dataset
from transformers.modeling_outputs import CausalLMOutput
from trl.trainer.dpo_trainer import DataCollatorForPreference

from scripts.common.files import Row
from scripts.lm.pairs import reference_logps
from scripts.lm.prefix_tree import Sequence
from scripts.lm.tree_attention import logits_at
from scripts.train.layouts import BATCHES, Batch, LaidOutTrainer

COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")
IGNORED = -100
"""The label of a token that the loss ignores."""


class PairTrainer(LaidOutTrainer):
    """Takes pairs; mixed into one of TRL's trainers.

    In the shared layout, the pairs of a pass stand in a prefix tree, and only positions whose
    logits the loss reads are projected onto the vocabulary. TRL's own loss and metrics are given
    those logits, one stock batch at a time.
    """

    scores_prompts: ClassVar[bool] = False
    """Whether the loss reads the prompts' tokens of chosen sequences, too."""

    @classmethod
    def reference_of(cls, model: Any, trial: Row, rows: list[Row]) -> list[Row]:
        """Return the log-probs that a reference gives to token rows."""
        return reference_logps(model, rows)

    def sequences_of(self, batch: Batch) -> list[Sequence]:
        """Return the sequences without their last tokens, which predict nothing."""
        return [sequence[:-1] for sequence in super().sequences_of(batch)]

    def given(self, model: Any, batches: list[Batch]) -> Iterator[tuple["Given", Batch]]:
        """Yield each stock batch of a pass, cut down to what its loss reads, and its logits."""
        tree, places = self.lay_out(batches)
        parts = []
        for batch, standing in zip(batches, places, strict=True):
            start = before_completions(batch)
            if self.scores_prompts:
                start[: len(start) // 2] = 0
            parts.append(compact(batch, standing, start))
        wanted = torch.cat([wanted.flatten() for _, wanted in parts])
        logits = logits_at(model, tree, wanted).split([w.numel() for _, w in parts])
        for part, (batch, wanted) in zip(logits, parts, strict=True):
            yield Given(part.unflatten(0, wanted.shape)), batch


class ReferenceFreeTrainer(PairTrainer):
    """Takes prompt_ids, chosen_ids and rejected_ids; mixed into TRL's trainers without a reference.

    TRL logs mean logits over padding, which are left out.
    """

    def __init__(self, *args: Any, processing_class: Any, **kwargs: Any) -> None:
        super().__init__(
            *args,
            processing_class=processing_class,
            data_collator=DataCollatorForPreference(processing_class.pad_token_id),
            **kwargs,
        )
        self._total_train_tokens = 0

    @property
    def _metrics(self) -> dict[str, dict[str, list[float]]]:
        """What TRL's other trainers call what was measured since the last log."""
        return self._stored_metrics

    @staticmethod
    def config_of(arguments: Row) -> Row:
        """Return the arguments of TRL's configuration that these trainers take."""
        # A max_length of None would be one of 512; nothing is cut here.
        left_out = ("padding_free", "max_length")
        kept = {key: value for key, value in arguments.items() if key not in left_out}
        return kept | {"remove_unused_columns": False}

    @classmethod
    def make_dataset(
        cls, trial: Row, rows: list[Row], reference: list[Row] | None = None
    ) -> Dataset:
        """Return the token rows of pairs."""
        return Dataset.from_list([{name: row[name] for name in COLUMNS} for row in rows])

    @staticmethod
    def tokenize_row(row: Row, model: Any = None) -> Row:
        """Return a row as it is: it has tokens."""
        return row

    def get_batch_loss_metrics(
        self, model: Any, batch: dict[str, Any], train_eval: str = "train"
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """Return the sum of TRL's losses of the stock batches of a pass, and the last's metrics.

        The metrics of the others are stored.
        """
        stock = super().get_batch_loss_metrics
        batches = batch.get(BATCHES, [batch])
        if train_eval == "train":
            tokens = sum(int(it["attention_mask"].sum()) for it in batches)
            self._total_train_tokens += tokens
        if self.layout.ran == "stock":
            parts: Any = [(model, batch)]
        else:
            parts = self.given(model, batches)
        losses, metrics = [], dict[str, float]()
        for logits, part in parts:
            if metrics:
                self.store_metrics(metrics, train_eval)
            loss, found = stock(logits, as_two_sides(part), train_eval)
            losses.append(loss)
            metrics = {key: value for key, value in found.items() if "logits/" not in key}
        return torch.stack(losses).sum(), metrics


class Given:
    """Takes the place of a model whose logits are already computed."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def __call__(self, *_: Any, **__: Any) -> CausalLMOutput:
        return CausalLMOutput(logits=self.logits)


def as_two_sides(batch: Batch) -> Batch:
    """Return a batch of chosen sequences, then rejected ones, as TRL's older trainers take it."""
    ids, mask = batch["input_ids"], batch["completion_mask"]
    labels = torch.where(mask.bool(), ids, IGNORED)
    # A sequence ends with its completion. The batch's own attention mask may not be cut as ids are.
    attention = mask.flip(1).cummax(1).values.flip(1)
    found = {"input_ids": ids, "attention_mask": attention, "labels": labels}
    return {
        f"{side}_{name}": half
        for name, values in found.items()
        for side, half in zip(("chosen", "rejected"), values.chunk(2), strict=True)
    }


def before_completions(batch: Batch) -> torch.Tensor:
    """Return the place of the token before each completion: int64, of shape (sequences, 1)."""
    return (batch["completion_mask"].cpu().argmax(1, keepdim=True) - 1).clamp(min=0)


def compact(
    batch: Batch, places: list[list[int]], start: torch.Tensor
) -> tuple[Batch, torch.Tensor]:
    """Return a batch cut down to what its loss needs, and the places of the logits for it.

    Each row keeps its tokens from `start` to the end of its completion: `input_ids` and
    `completion_mask` have shape (sequences, the longest such part). The attention mask is not cut,
    because it is only counted.

    Parameters
    ----------
    places
        For each sequence, the places of its tokens.
    start
        For each sequence, the first token that is kept: int64, of shape (sequences, 1).

    Returns
    -------
    The batch, and int64 places of the same shape, on the CPU. A place whose logits are not read
    repeats the row's first, so that it costs nothing.
    """
    ids, mask = batch["input_ids"].cpu(), batch["completion_mask"].cpu()
    first = mask.argmax(1, keepdim=True)
    end = first + mask.sum(1, keepdim=True)
    columns = start + torch.arange(int((end - start).max()))
    inside = columns < end
    columns = torch.where(inside, columns, start)
    standing = torch.zeros_like(ids)
    for row, path in enumerate(places):
        standing[row, : len(path)] = torch.tensor(path)
    # A completion's last token predicts nothing.
    wanted = standing.gather(1, torch.where(columns < end - 1, columns, start))
    device = batch["input_ids"].device
    cut = {
        "input_ids": ids.gather(1, columns).to(device),
        "completion_mask": (inside & (columns >= first)).to(mask.dtype).to(device),
    }
    return batch | cut, wanted
