"""TRL's SFTTrainer, with rows packed instead of padded."""

from typing import Any

import torch
from trl import SFTTrainer

from scripts.lm.prefix_tree import Sequence, Tree, packed
from scripts.train.layouts import BATCHES, Batch, LaidOutTrainer
from scripts.train.sft import IGNORED


class TokenSFTTrainer(LaidOutTrainer, SFTTrainer):
    """Takes input_ids and labels.

    In the shared layout, the sequences of a pass stand one behind the other, each attending to
    itself alone. TRL's own loss and metrics see one row like any other.
    """

    def fewest_tokens(self, sequences: list[Sequence]) -> int:
        """Returns the sum of the sequences' lengths: nothing is shared."""
        return sum(map(len, sequences))

    def tree_of(self, batches: list[list[Sequence]]) -> Tree:
        """Returns the sequences packed."""
        return packed([sequence for batch in batches for sequence in batch])

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Returns TRL's loss of a pass.

        TRL's metrics are means over a pass's tokens; stock's are means of its batches' means.
        """
        if self.layout.ran == "stock":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        batches = inputs.get(BATCHES, [inputs])
        tree, places = self.laid_out(batches)
        if len(batches) == 1 and len(tree.ids) == batches[0]["input_ids"].numel():
            # Without padding nothing is saved, and attention needs no mask.
            return super().compute_loss(model, batches[0], return_outputs, num_items_in_batch)
        device = batches[0]["input_ids"].device
        row = tree.inputs(device) | {"labels": packed_labels(batches, places).to(device)}
        # What TRL notes of an evaluation.
        row |= {name: value for name, value in inputs.items() if name.startswith("_")}
        return super().compute_loss(model, row, return_outputs, num_items_in_batch)


def packed_labels(batches: list[Batch], places: list[list[list[int]]]) -> torch.Tensor:
    """Returns the labels of a packed row, shape (1, tokens), int64, on the CPU.

    What stands before a sequence's first token does not predict it.
    """
    labels = torch.full((1 + max(path[-1] for paths in places for path in paths),), IGNORED)
    for batch, paths in zip(batches, places, strict=True):
        for given, path in zip(batch["labels"].cpu(), paths, strict=True):
            labels[path[1:]] = given[1 : len(path)]
    return labels[None]
