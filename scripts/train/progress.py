"""Progress of a running trial, in its log and in a file; and its end if the loss is not finite."""

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerState

from scripts.common.cli import BadInput
from scripts.common.files import Row, write_json
from scripts.common.states import progress

EVERY = 1.0
"""Seconds between two writes of progress.json, if nothing is logged in between."""


class ProgressLines(TrainerCallback):
    """Print one line to stderr whenever the trainer logs."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.first = 0

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Start the clock, and print the step from which training resumes."""
        self.start = time.monotonic()
        self.first = state.global_step
        if self.first:
            print(
                f"step {self.first}/{state.max_steps}: resumes from a checkpoint",
                file=sys.stderr,
                flush=True,
            )

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Print step, losses and the time left at the pace so far."""
        found = logs or {}
        shown = {key: found[key] for key in ("loss", "eval_loss") if key in found}
        if not shown:
            return
        step, steps = state.global_step, state.max_steps
        passed, done = time.monotonic() - self.start, step - self.first
        left = f", {passed / done * (steps - step):.0f} s left" if done else ""
        losses = ", ".join(f"{name} {float(loss):.4f}" for name, loss in shown.items())
        print(f"step {step}/{steps}: {losses}{left}", file=sys.stderr, flush=True)


class LossCheck(TrainerCallback):
    """End training at the first non-finite loss that is logged: all later ones would be too."""

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Raise BadInput for a non-finite loss."""
        for name in ("loss", "eval_loss"):
            loss = float((logs or {}).get(name, 0))
            if not math.isfinite(loss):
                raise BadInput(
                    f"step {state.global_step} of {state.max_steps}: found {name} {loss}, allowed "
                    "is a finite number: try a lower learning rate, or a longer warm-up"
                )


class ProgressFile(TrainerCallback):
    """Write a trial's progress.json at each log, and otherwise at most once a second."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock
        self.started = clock()
        self.first = 0
        self.earlier = 0.0
        self.written = -math.inf
        self.logged: Row = {"loss": None, "accuracy": None}

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Start the clock and write the step of the checkpoint, or 0."""
        self.started = self.clock()
        self.first = state.global_step
        self._write(state)

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Write, with the loss and the accuracy on the batch's pairs."""
        for name, key in (("loss", "loss"), ("accuracy", "rewards/accuracies")):
            if logs and key in logs:
                self.logged[name] = _finite(logs[key])
        self._write(state)

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Write, if the last write was long ago."""
        self._write_again(state)

    def on_substep_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Write, if the last write was long ago: a step of many batches may take minutes."""
        self._write_again(state)

    def on_prediction_step(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Write, if the last write was long ago: an evaluation may take minutes."""
        self._write_again(state)

    def state_dict(self) -> Row:
        """Return what was logged last and the seconds so far."""
        seconds = self.earlier + self.clock() - self.started
        return {"logged": self.logged, "seconds": round(seconds, 3)}

    def load_state_dict(self, state_dict: Row) -> None:
        """Load them."""
        self.logged, self.earlier = state_dict["logged"], state_dict["seconds"]

    def _write_again(self, state: TrainerState) -> None:
        if self.clock() - self.written >= EVERY:
            self._write(state)

    def _write(self, state: TrainerState) -> None:
        self.written = self.clock()
        found = progress(
            state.global_step,
            state.max_steps,
            self.started,
            self.written,
            first=self.first,
            earlier=self.earlier,
            **self.logged,
        )
        write_json(self.path, found)


def _finite(value: Any) -> float | None:
    """Return a logged value, or None for one that JSON cannot hold."""
    return float(value) if math.isfinite(float(value)) else None
