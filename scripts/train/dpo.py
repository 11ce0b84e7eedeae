"""Train one preference trial by DPO: TRL's DPOTrainer on tokens and reference log-probs.

The reference is the model that the trial starts from. Its log-probs come from a rule of their own,
so that a sweep computes them once.
"""
# ruff: noqa: E402

from functools import partial

from scripts.common.cli import BadInput, run
from scripts.train.run import main as train_trial

main = partial(train_trial, "scripts.train.dpo")

if __name__ == "__main__":
    # Ends the process. The trial's backend has to be imported before the packages below, so main
    # imports this module under its own name when the backend has started.
    run(main)

import math
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerState
from trl import DPOConfig, DPOTrainer

from scripts.common.files import Row
from scripts.train.layouts import BATCHES
from scripts.train.pairs import PairTrainer
from scripts.train.starts import start_of

NOISE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""How far, in nats, rounding alone moves the mean log-prob of a step's pairs between two passes of
one model. About ten times what a Llama of 12 layers and width 512 gave on a CPU, one sequence at a
time against sixteen, over 8 to 16 pairs: 1e-4, 0.04 and 0.007."""

LN_2_AT_ZERO = {"sigmoid", "sigmoid_norm", "robust", "aot", "aot_unpaired"}
"""Objectives whose loss is ln 2 = -log sigmoid(0) where every margin is 0."""


class TokenDPOTrainer(PairTrainer, DPOTrainer):
    """Takes prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps and ref_rejected_logps.

    The model is a PEFT model, whose adapter is trained.
    """

    method = "direct preference optimization"

    def __init__(self, *args: Any, trial: dict[str, Any], **kwargs: Any) -> None:
        # Without a reference model TRL would copy the adapter as one: the empty model prevents it.
        super().__init__(*args, trial=trial, ref_model=torch.nn.Module(), **kwargs)
        self.ref_model = None
        # Set here, not in the config: there it would make TRL compute them itself.
        self.precompute_ref_logps = True
        self.reward_scale = trial["trainer"]["beta"]
        self.gate = StepZeroGate(self.model.dtype, trial, loss_at_zero(trial["trainer"]))
        self.add_callback(self.gate)

    @classmethod
    def make_config(cls, arguments: dict[str, Any]) -> DPOConfig:
        """Return TRL's configuration."""
        return DPOConfig(**arguments)

    @classmethod
    def make_dataset(
        cls, trial: dict[str, Any], rows: list[Row], reference: list[Row] | None = None
    ) -> Dataset:
        """Return token rows with the reference's log-probs in the columns that TRL reads."""
        alpha = trial["trainer"]["ld_alpha"]
        return Dataset.from_list(with_reference(rows, reference or [], alpha))

    def findings(self) -> Row:
        """Return the first step's margin and loss."""
        return {"step_zero": self.gate.found()}

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """Return the sum of TRL's losses of the stock batches of a pass."""
        stock_loss = super().compute_loss
        if self.layout.ran == "stock":
            return stock_loss(model, inputs, return_outputs, num_items_in_batch)
        parts = self.given(model, inputs.get(BATCHES, [inputs]))
        losses = [stock_loss(logits, batch, return_outputs) for logits, batch in parts]
        return losses[0] if len(losses) == 1 else sum(losses)


TRAINER = TokenDPOTrainer


def with_reference(rows: list[Row], reference: list[Row], ld_alpha: float | None) -> list[Row]:
    """Return token rows with the reference's log-probs in the columns that TRL reads.

    With `ld_alpha`, tokens of a completion beyond the length of the other are weighted by it:
    Liu et al. 2024, https://arxiv.org/abs/2409.06411, equation 9.

    Raises
    ------
    BadInput
        When the reference was computed on other rows.
    """
    logps = {row["id"]: row for row in reference}
    if [row["id"] for row in rows] != list(logps):
        raise BadInput("the reference log-probs belong to other rows than the token split's")
    alpha = 1.0 if ld_alpha is None else ld_alpha

    def weighted(logp: Row, name: str) -> float:
        head = logp[f"{name}_head_logp"]
        return head + alpha * (logp[f"{name}_logp"] - head)

    return [
        {
            "prompt_ids": row["prompt_ids"],
            "chosen_ids": row["chosen_ids"],
            "rejected_ids": row["rejected_ids"],
            "ref_chosen_logps": weighted(logps[row["id"]], "chosen"),
            "ref_rejected_logps": weighted(logps[row["id"]], "rejected"),
        }
        for row in rows
    ]


def loss_at_zero(trainer: Row) -> float | None:
    """Return the loss where every margin is 0, as far as it is known of the objectives."""
    objectives = trainer["loss_type"]
    if trainer["use_weighting"] or not LN_2_AT_ZERO.issuperset(objectives):
        return None
    weights: list[float] = trainer["loss_weights"] or [1.0] * len(objectives)
    return sum(weights) * math.log(2)


class StepZeroGate(TrainerCallback):
    """Stops a run whose policy should be its reference at step 0, but is not.

    At step 0 every margin must be 0, so their mean must be 0 too, and the loss must be the
    objective's at 0. If not, another model's log-probs were given as the reference's. Margins of
    both signs can have a mean of 0, but then the loss differs.
    """

    def __init__(self, dtype: torch.dtype, trial: Row, loss_at_zero: float | None) -> None:
        self.closed = start_of(trial).equals_reference
        self.margin_noise = NOISE[dtype] * trial["trainer"]["beta"]
        self.loss_at_zero = loss_at_zero
        # How far from ln 2 the loss is where rounding moves every margin from 0 as far as it can.
        of_ln_2 = math.log1p(math.exp(self.margin_noise)) / math.log(2) - 1
        self.loss_noise = (loss_at_zero or 0.0) * of_ln_2
        self.margin: float | None = None
        self.loss: float | None = None

    def found(self) -> Row:
        """Return what train.json holds: the first step's margin and loss, and whether it gates."""
        return {"margin": self.margin, "loss": self.loss, "gate": self.closed}

    def state_dict(self) -> Row:
        """Return the first step's margin and loss, which a resumed trainer cannot measure."""
        return {"margin": self.margin, "loss": self.loss}

    def load_state_dict(self, state_dict: Row) -> None:
        """Load what `state_dict` returned."""
        self.margin, self.loss = state_dict["margin"], state_dict["loss"]

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Raise BadInput if the first step's margin or loss is not that of step 0."""
        if state.global_step != 1 or logs is None or "loss" not in logs:
            return
        # A step of single rows may have one kind only.
        self.margin, self.loss = float(logs.get("rewards/margins", 0.0)), float(logs["loss"])
        if not self.closed:
            return
        reason = "the reference log-probs are not those of the model that training starts from"
        if not abs(self.margin) <= self.margin_noise:
            raise BadInput(f"the reward margin at step 0 is {self.margin:.4g}, not 0: {reason}")
        expected = self.loss_at_zero
        if expected is not None and not abs(self.loss - expected) <= self.loss_noise:
            raise BadInput(f"the loss at step 0 is {self.loss:.6g}, not {expected:.6g}: {reason}")
