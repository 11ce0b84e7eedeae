"""What a running trial says."""

import sys
import time
from typing import Any

from transformers import TrainerCallback, TrainerState

from scripts.common.files import Row


class ProgressLines(TrainerCallback):
    """Writes one line to stderr whenever the trainer logs."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Prints step, losses and the time that is left at the pace so far."""
        shown = {key: logs[key] for key in ("loss", "eval_loss") if key in (logs or {})}
        if not shown:
            return
        step, steps = state.global_step, state.max_steps
        passed = time.monotonic() - self.start
        left = f", {passed / step * (steps - step):.0f} s left" if step else ""
        losses = ", ".join(f"{name} {float(loss):.4f}" for name, loss in shown.items())
        print(f"step {step}/{steps}: {losses}{left}", file=sys.stderr, flush=True)
