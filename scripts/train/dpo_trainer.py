"""TRL's DPOTrainer, fed with tokens and reference log-probs that exist already."""

import math
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainerState
from trl import DPOTrainer

from scripts.common.cli import BadInput
from scripts.common.files import Row

NOISE = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""How far, in nats, rounding alone takes the mean log-prob of a step's pairs in two passes of one
model. Some ten times what a Llama of 12 layers and 512 wide gave on a CPU, one sequence at a time
against sixteen, over 8 to 16 pairs: 1e-4, 0.04 and 0.007."""

LOSS_AT_ZERO = {"sigmoid": math.log(2), "sigmoid_norm": math.log(2)}
"""An objective's loss where every margin is 0, label smoothing or not, as -log sigmoid(0)."""


class TokenDPOTrainer(DPOTrainer):
    """Takes prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps and ref_rejected_logps.

    The model is a PEFT model, whose adapter is trained.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Given no reference model, it would copy the adapter as one; an empty model is none.
        super().__init__(*args, ref_model=torch.nn.Module(), **kwargs)
        self.ref_model = None
        # Set here, not in the config: there it would make TRL compute them itself.
        self.precompute_ref_logps = True

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


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
        self.loss_at_zero = LOSS_AT_ZERO.get(trainer["loss_type"])
        # How far from log 2 the loss is where every margin is as far from 0 as rounding takes it.
        self.loss_noise = math.log1p(math.exp(self.margin_noise)) - math.log(2)
        self.margin: float | None = None
        self.loss: float | None = None

    def found(self) -> Row:
        """Returns what train.json holds: the first step's margin and loss, and whether it gates."""
        return {"margin": self.margin, "loss": self.loss, "gate": self.closed}

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
