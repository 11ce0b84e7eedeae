"""What a running trial says: lines in its log, and a file for whoever watches a sweep.

And that it is lost, when its loss is.
"""

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
"""Seconds between two writings of progress.json, if nothing is logged in between."""


class ProgressLines(TrainerCallback):
    """Writes one line to stderr whenever the trainer logs."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.first = 0

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Starts the clock, and says where training goes on from."""
        self.start = time.monotonic()
        self.first = state.global_step
        if self.first:
            print(
                f"step {self.first}/{state.max_steps}: goes on from a checkpoint",
                file=sys.stderr,
                flush=True,
            )

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Prints step, losses and the time that is left at the pace so far."""
        shown = {key: logs[key] for key in ("loss", "eval_loss") if key in (logs or {})}
        if not shown:
            return
        step, steps = state.global_step, state.max_steps
        passed, done = time.monotonic() - self.start, step - self.first
        left = f", {passed / done * (steps - step):.0f} s left" if done else ""
        losses = ", ".join(f"{name} {float(loss):.4f}" for name, loss in shown.items())
        print(f"step {step}/{steps}: {losses}{left}", file=sys.stderr, flush=True)


class LostLoss(TrainerCallback):
    """Ends a training at the first logged loss that is no number: every later one would be."""

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Raises BadInput for such a loss."""
        for name in ("loss", "eval_loss"):
            loss = float((logs or {}).get(name, 0))
            if not math.isfinite(loss):
                raise BadInput(
                    f"step {state.global_step} of {state.max_steps}: found {name} {loss}, allowed "
                    "is a finite number: try a lower learning rate, or a longer warm-up"
                )


class ProgressFile(TrainerCallback):
    """Keeps a trial's progress.json up to date: at each log, and else at most once a second."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = path
        self.clock = clock
        self.started = clock()
        self.first = 0
        self.earlier = 0.0
        self.written = -math.inf
        self.logged: Row = {"loss": None, "accuracy": None}

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Starts the clock and writes what is done already: nothing, or up to a checkpoint."""
        self.started = self.clock()
        self.first = state.global_step
        self._write(state)

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Row | None = None, **_: Any
    ) -> None:
        """Takes loss and accuracy of the pairs, and writes."""
        for name, key in (("loss", "loss"), ("accuracy", "rewards/accuracies")):
            if key in (logs or {}):
                self.logged[name] = _finite(logs[key])
        self._write(state)

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Writes, if that is a while ago."""
        self._write_again(state)

    def on_substep_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Writes, if that is a while ago: a step of many batches may take minutes."""
        self._write_again(state)

    def on_prediction_step(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Writes, if that is a while ago: an evaluation may take minutes."""
        self._write_again(state)

    def kept(self) -> Row:
        """Returns what was logged last and the seconds so far, for a checkpoint."""
        seconds = self.earlier + self.clock() - self.started
        return {"logged": self.logged, "seconds": round(seconds, 3)}

    def restore(self, kept: Row) -> None:
        """Takes them back."""
        self.logged, self.earlier = kept["logged"], kept["seconds"]

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
    """Returns a logged value, or nothing for one that JSON does not have."""
    return float(value) if math.isfinite(float(value)) else None
