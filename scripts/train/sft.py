"""Train one supervised trial: TRL's SFTTrainer on token splits, with rows packed, not padded."""
# ruff: noqa: E402

from functools import partial

from scripts.common.cli import run
from scripts.train.run import main as train_trial

main = partial(train_trial, "scripts.train.sft")

if __name__ == "__main__":
    # Ends the process. The trial's backend has to be imported before the packages below, so main
    # imports this module under its own name when the backend has started.
    run(main)

from typing import Any

import torch
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from scripts.common.files import Row
from scripts.lm.prefix_tree import Sequence, Tree, packed
from scripts.train.layouts import BATCHES, Batch, LaidOutTrainer

IGNORED = -100
"""The label of a token that the loss ignores."""


class TokenSFTTrainer(LaidOutTrainer, SFTTrainer):
    """Takes input_ids and labels.

    In the shared layout, the sequences of a pass stand one behind the other, each attending only
    to itself. TRL's own loss and metrics see one row like any other.
    """

    method = "supervised fine-tuning"

    @classmethod
    def make_config(cls, arguments: dict[str, Any]) -> SFTConfig:
        """Return TRL's configuration."""
        arguments = arguments | {"dataset_kwargs": {"skip_prepare_dataset": True}}
        # The labels say so already.
        arguments.pop("completion_only_loss")
        return SFTConfig(**arguments)

    @classmethod
    def make_dataset(
        cls, trial: dict[str, Any], rows: list[Row], reference: list[Row] | None = None
    ) -> Dataset:
        """Return the columns input_ids and labels of token rows."""
        only = trial["trainer"]["completion_only_loss"]
        return Dataset.from_list([labelled(row, only) for row in rows])

    def fewest_tokens(self, sequences: list[Sequence]) -> int:
        """Return the sum of the sequences' lengths: nothing is shared."""
        return sum(map(len, sequences))

    def tree_of(self, batches: list[list[Sequence]]) -> Tree:
        """Return the sequences packed."""
        return packed([sequence for batch in batches for sequence in batch])

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return TRL's loss of a pass.

        TRL's metrics are means over a pass's tokens; in the stock layout they are means of the
        means of its batches.
        """
        if self.layout.ran == "stock":
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        batches = inputs.get(BATCHES, [inputs])
        tree, places = self.lay_out(batches)
        if len(batches) == 1 and len(tree.ids) == batches[0]["input_ids"].numel():
            # Without padding nothing is saved, and attention needs no mask.
            return super().compute_loss(model, batches[0], return_outputs, num_items_in_batch)
        device = batches[0]["input_ids"].device
        row = tree.inputs(device) | {"labels": packed_labels(batches, places).to(device)}
        # What TRL stores for an evaluation.
        row |= {name: value for name, value in inputs.items() if name.startswith("_")}
        return super().compute_loss(model, row, return_outputs, num_items_in_batch)


TRAINER = TokenSFTTrainer


def labelled(row: Row, completion_only: bool) -> Row:
    """Return a token row as input ids and labels.

    Labels are given ready-made, because the trainer ignores a completion mask on tokens unless it
    is told about it twice.
    """
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    head = [IGNORED] * len(prompt) if completion_only else prompt
    return {"input_ids": prompt + completion, "labels": head + completion}


def packed_labels(batches: list[Batch], places: list[list[list[int]]]) -> torch.Tensor:
    """Return the labels of a packed row, shape (1, tokens), int64, on the CPU.

    The token before a sequence's first token does not predict it.
    """
    labels = torch.full((1 + max(path[-1] for paths in places for path in paths),), IGNORED)
    for batch, paths in zip(batches, places, strict=True):
        for given, path in zip(batch["labels"].cpu(), paths, strict=True):
            labels[path[1:]] = given[1 : len(path)]
    return labels[None]
