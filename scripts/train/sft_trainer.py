"""TRL's SFTTrainer, with rows packed instead of padded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from trl import SFTTrainer

from scripts.lm.prefix_tree import Rows, Sequence, packed_rows
from scripts.train.layouts import BATCHES, Batch, LaidOutTrainer
from scripts.train.sft import IGNORED


class TokenSFTTrainer(LaidOutTrainer, SFTTrainer):
    """Takes input_ids and labels.

    In the shared layout, the sequences of a pass stand one behind the other, each attending to
    itself alone. TRL's own loss and metrics see them as rows like any others.
    """

    def fewest_tokens(self, sequences: list[Sequence]) -> int:
        """Returns the sum of the sequences' lengths: nothing is shared."""
        return sum(map(len, sequences))

    def rows_of(self, batches: list[list[Sequence]]) -> Rows:
        """Returns the sequences packed."""
        return packed_rows([sequence for batch in batches for sequence in batch])

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Returns TRL's loss of a pass."""
        if self.layout.ran == "stock":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        batches = inputs.get(BATCHES, [inputs])
        rows, places = self.laid_out(batches)
        device = batches[0]["input_ids"].device
        labels = packed_labels(batches, places, rows)
        packed = {
            "input_ids": rows.input_ids,
            "position_ids": rows.position_ids,
            # For TRL to count.
            "attention_mask": rows.real().long(),
            "labels": labels,
        }
        packed = {name: tensor.to(device) for name, tensor in packed.items()}
        packed |= {key: value for key, value in inputs.items() if key.startswith("_")}
        with _attending(model, rows.mask(device)):
            return super().compute_loss(model, packed, return_outputs, num_items_in_batch)


@contextmanager
def _attending(model: torch.nn.Module, mask: torch.Tensor) -> Iterator[None]:
    """Gives a model's forward pass another attention mask than the one that is counted."""

    def swap(_: torch.nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return given, named | {"attention_mask": mask}

    handle = model.register_forward_pre_hook(swap, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def packed_labels(batches: list[Batch], places: list[list[list[int]]], rows: Rows) -> torch.Tensor:
    """Returns the labels of packed rows, shape (rows, width), int64, on the CPU.

    What stands before a sequence's first token does not predict it.
    """
    labels = torch.full(rows.input_ids.shape, IGNORED).flatten()
    for batch, paths in zip(batches, places, strict=True):
        for given, path in zip(batch["labels"].cpu(), paths, strict=True):
            labels[path[1:]] = given[1 : len(path)]
    return labels.view(rows.input_ids.shape)
