"""Train one preference trial by KTO: TRL's KTOTrainer on tokens and reference log-probs.

Rows stand alone, each judged good or bad; a pair is two of them. Their order, their partners, and
the reference's log-probs of both come from a rule of their own.
"""
# ruff: noqa: E402

from functools import partial

from scripts.common.cli import BadInput, run
from scripts.train.run import main as train_trial

main = partial(train_trial, "scripts.train.kto")

if __name__ == "__main__":
    # Ends the process. The trial's backend has to be imported before the packages below, so main
    # imports this module under its own name when the backend has started.
    run(main)

from typing import Any

import torch
from datasets import Dataset
from transformers.modeling_outputs import CausalLMOutput
from trl import KTOConfig, KTOTrainer

from scripts.common.files import Row
from scripts.lm.pairs import partner_logps
from scripts.train.dpo import StepZeroGate
from scripts.train.layouts import BATCHES, Batch
from scripts.train.pairs import PairTrainer
from scripts.train.unpaired import unpaired

KL = "KL_"
"""What TRL calls the columns of partners by."""


class TokenKTOTrainer(PairTrainer, KTOTrainer):
    """Takes prompt_ids, completion_ids, KL_completion_ids, label, ref_logps and ref_KL_logps.

    The model is a PEFT model, whose adapter is trained.
    """

    method = "Kahneman-Tversky optimization"

    def __init__(self, *args: Any, trial: Row, **kwargs: Any) -> None:
        # Without a reference model TRL would copy the adapter as one: the empty model prevents it.
        super().__init__(*args, trial=trial, ref_model=torch.nn.Module(), **kwargs)
        self.ref_model = None
        # Set here, not in the config: there it would make TRL compute them itself.
        self.precompute_ref_logps = True
        self.reward_scale = trial["trainer"]["beta"]
        weights = (self.desirable_weight, self.undesirable_weight)
        # 1 - sigmoid(0) of every row; a step has both kinds in no fixed share.
        self.gate = StepZeroGate(self.model.dtype, trial, 0.5 if set(weights) == {1.0} else None)
        self.add_callback(self.gate)

    @classmethod
    def make_config(cls, arguments: Row) -> KTOConfig:
        """Return TRL's configuration."""
        kept = {key: value for key, value in arguments.items() if key != "padding_free"}
        return KTOConfig(**kept)

    @classmethod
    def make_dataset(
        cls, trial: Row, rows: list[Row], reference: list[Row] | None = None
    ) -> Dataset:
        """Return single rows of pairs in the columns that TRL reads, in the reference's order.

        Raises
        ------
        BadInput
            When the reference was computed on other rows, or in another order.
        """
        found, logps = _single(trial, rows), reference or []
        if [row["id"] for row in found] != [row["id"] for row in logps]:
            raise BadInput("the reference log-probs belong to other rows than the token split's")
        return Dataset.from_list(
            [
                {
                    "id": row["id"],
                    "prompt_ids": row["prompt_ids"],
                    "completion_ids": row["completion_ids"],
                    "KL_completion_ids": row["partner_ids"],
                    "label": row["label"],
                    "ref_logps": logp["logp"],
                    "ref_KL_logps": logp["partner_logp"],
                }
                for row, logp in zip(found, logps, strict=True)
            ]
        )

    @classmethod
    def reference_of(cls, model: Any, trial: Row, rows: list[Row]) -> list[Row]:
        """Return the log-probs that a reference gives to single rows and their partners."""
        return partner_logps(model, _single(trial, rows), super().reference_of(model, trial, rows))

    def findings(self) -> Row:
        """Return the first step's margin and loss."""
        return {"step_zero": self.gate.found()}

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def computed(self, batch: Batch) -> list[Batch]:
        """Return the sequences, and those with their partners."""
        return [batch, _partners(batch)]

    def compute_loss(
        self,
        model: Any,
        inputs: Row,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the sum of TRL's losses of the stock batches of a pass.

        No gradient goes through the partners' log-probs.
        """
        stock_loss = super().compute_loss
        if self.layout.ran == "stock":
            return stock_loss(model, inputs, return_outputs, num_items_in_batch)
        batches = inputs.get(BATCHES, [inputs])
        with torch.no_grad():
            partners = list(self.given(model, [_partners(batch) for batch in batches]))
        # Without the partners' sequences, but with the reference's log-probs of them.
        without = [f"{KL}{name}" for name in _COLUMNS]
        own = [{key: it for key, it in batch.items() if key not in without} for batch in batches]
        losses = []
        for (other, cut), (logits, batch) in zip(partners, self.given(model, own), strict=True):
            part = batch | {f"{KL}{name}": cut[name] for name in _COLUMNS}
            losses.append(stock_loss(_InTurn(other.logits, logits.logits), part, return_outputs))
        return losses[0] if len(losses) == 1 else sum(losses)


TRAINER = TokenKTOTrainer


def _single(trial: Row, rows: list[Row]) -> list[Row]:
    return unpaired(rows, trial["seed"], trial["trainer"]["per_device_train_batch_size"])


_COLUMNS = ("input_ids", "attention_mask", "completion_mask")


def _partners(batch: Batch) -> Batch:
    """Return the sequences of a batch with their partners' completions."""
    return {name: batch[f"{KL}{name}"] for name in _COLUMNS}


class _InTurn:
    """Takes the place of a model that is called for partners first, and then for rows."""

    def __init__(self, *logits: torch.Tensor) -> None:
        self.logits = iter(logits)

    def __call__(self, *_: Any, **__: Any) -> CausalLMOutput:
        return CausalLMOutput(logits=next(self.logits))
