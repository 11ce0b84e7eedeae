"""What a running trial says: its progress, in its log and in a file, and if it goes wrong."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from scripts.common.cli import BadInput
from scripts.common.files import Row, write_json
from scripts.common.states import progress
from scripts.train.processes import all_of, is_first
from scripts.train.signs import Watch

if TYPE_CHECKING:
    from scripts.train.layouts import LaidOutTrainer

EVERY = 1.0
"""Seconds between two writes of progress.json, if nothing is logged in between."""
NAMED = 32
"""Rows of a step that a message names at most."""


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


class SignCheck(TrainerCallback):
    """Look for signs that training goes wrong, print them, and stop where the trial asks for it.

    A loss that is not finite ends every training, since all later ones would not be either. A sign
    of `stop_when` ends it after a checkpoint, from which it resumes once the sign is not named.
    """

    def __init__(self, trainer: "LaidOutTrainer", stop_when: Iterable[str] = ()) -> None:
        self.trainer = trainer
        self.watch = Watch(trainer.reward_scale, chosen_tokens(trainer))
        self.stop_when = set(stop_when)
        self.said: dict[str, str] = {}
        """What was printed when a sign that holds appeared."""

    def signs(self) -> list[Row]:
        """Return the signs that hold."""
        return self.watch.signs()

    def state_dict(self) -> Row:
        """Return what a resumed training needs."""
        return {"watch": self.watch.state_dict(), "said": self.said}

    def load_state_dict(self, state_dict: Row) -> None:
        """Load what `state_dict` returned."""
        self.watch.load_state_dict(state_dict["watch"])
        self.said = state_dict["said"]

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Stop a training again that was stopped for a sign and resumes as it was."""
        self._stop()

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Raise BadInput for a non-finite loss; look for signs of a single step."""
        # A sum since the last log: the first step that is not finite makes it so.
        lost = [it for it in all_of(float(self.trainer._tr_loss)) if not math.isfinite(it)]
        if lost:
            self._end("loss", lost[0], state, f"; {self.trainer.step_rows(NAMED)}")
        self.watch.stepped(state.global_step, self.trainer.gradient)
        self._say(state, control)

    def on_log(
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: Row | None = None,
        **_: Any,
    ) -> None:
        """Raise BadInput for a non-finite loss of an evaluation; look for signs."""
        loss = float((logs or {}).get("eval_loss", 0))
        if not math.isfinite(loss):
            self._end("eval_loss", loss, state)
        self.watch.logged(state.global_step, logs or {})
        self._say(state, control)

    def on_save(self, *args: Any, **kwargs: Any) -> None:
        """Stop the training if it was to be stopped: there is a checkpoint now."""
        self._stop()

    def at_end(self, gains: dict[str, float], state: TrainerState, keeps_best: bool) -> list[Row]:
        """Return the signs that hold at the end, of the adapter that is kept.

        Parameters
        ----------
        gains
            How much each module's adapter adds to its output.
        """
        self.watch.ended(state.global_step, gains)
        best = state.best_global_step
        if keeps_best and best:
            kept = (it for it in state.log_history if it["step"] == best and "eval_loss" in it)
            self.watch.kept_best(best, next(kept))
        self._say(state, TrainerControl())
        return self.signs()

    def _end(self, name: str, loss: float, state: TrainerState, rows: str = "") -> None:
        raise BadInput(
            f"step {state.global_step} of {state.max_steps}: found {name} {loss}, allowed is a "
            f"finite number: try a lower learning rate, or a longer warm-up{rows}"
        )

    def _say(self, state: TrainerState, control: TrainerControl) -> None:
        """Print which signs appeared or passed, and ask for a checkpoint if one of them stops."""
        holding = self.watch.holding
        where = f"step {state.global_step}/{state.max_steps}"
        for key in [it for it in self.said if it not in holding]:
            del self.said[key]
            self._print(f"{where}: {key.partition('/')[0]} has passed")
        for key, found in holding.items():
            if key in self.said:
                continue
            self.said[key] = f"{where}: {found['sign']}: {found['text']}"
            if found["sign"] in self.stop_when:
                self.said[key] += f"; {self.trainer.step_rows(NAMED)}"
                control.should_save = True
            self._print(self.said[key])

    def _print(self, line: str) -> None:
        if is_first():
            print(line, file=sys.stderr, flush=True)

    def _stop(self) -> None:
        for key, found in self.watch.holding.items():
            if found["sign"] in self.stop_when:
                raise BadInput(
                    f"{self.said[key]}; stop_when names {found['sign']}: without it, training "
                    "resumes from there"
                )


def chosen_tokens(trainer: "LaidOutTrainer") -> dict[str, float]:
    """Return the mean tokens of a chosen completion of the rows that have one."""
    datasets = {"train": trainer.train_dataset, "valid": trainer.eval_dataset}
    return {
        rows: sum(map(len, dataset["chosen_ids"])) / len(dataset)
        for rows, dataset in datasets.items()
        if dataset is not None and "chosen_ids" in dataset.column_names
    }


class ProgressFile(TrainerCallback):
    """Write a trial's progress.json at each log, and otherwise at most once a second."""

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float] = time.time,
        signs: Callable[[], list[Row]] = list,
    ) -> None:
        self.path = path
        self.signs = signs
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
            signs=self.signs(),
            **self.logged,
        )
        write_json(self.path, found)


def _finite(value: Any) -> float | None:
    """Return a logged value, or None for one that JSON cannot hold."""
    return float(value) if math.isfinite(float(value)) else None
