"""TRL's DPOTrainer, fed with tokens and reference log-probs that exist already."""

from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerState
from trl import DPOTrainer

from scripts.common.cli import BadInput
from scripts.common.files import Row

STEP_ZERO_MARGIN = {"float32": 1e-3, "bfloat16": 0.2, "float16": 0.05}
"""The largest reward margin, in nats, that rounding alone gives two passes of one model."""


class TokenDPOTrainer(DPOTrainer):
    """Takes prompt_ids, chosen_ids, rejected_ids, ref_chosen_logps and ref_rejected_logps."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Set here, not in the config: there it would make TRL compute them itself.
        self.precompute_ref_logps = True

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


class StepZeroGate(TrainerCallback):
    """Stops a run whose policy is not its reference at step 0.

    There the margin must be 0 (and the sigmoid loss ln 2). If it is not, the log-probs of another
    model were given as the reference's, and all that follows is compared with the wrong thing.
    """

    def __init__(self, dtype: str) -> None:
        self.tolerance = STEP_ZERO_MARGIN[dtype]

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Raises BadInput when the first step's margin is not 0."""
        margin = (logs or {}).get("rewards/margins")
        if state.global_step == 1 and margin is not None and abs(float(margin)) > self.tolerance:
            raise BadInput(
                f"the reward margin at step 0 is {float(margin):.4g}, not 0: the reference "
                "log-probs are not those of the model that training starts from"
            )
