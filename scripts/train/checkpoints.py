"""Checkpoints from which training resumes as if it had never stopped, to the last bit.

transformers restores the weights, the optimizer, the schedule, the random state and the data order.
What it would start at 0 again is saved here too: the running loss, TRL's running metrics and count
of tokens, and the state of the project's own callbacks. A checkpoint is whole or not there. It is
removed once its successor is whole, unless it holds the best weights.
"""

import io
import random
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors.torch import load_file, save
from torch.distributed.checkpoint.stateful import Stateful
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState

from scripts.common.files import Row, read_json
from scripts.common.folders import as_json, discard, is_whole, whole_folder, write_file
from scripts.lm.devices import check_precision, precision_of
from scripts.train.processes import (
    all_of,
    count,
    is_first,
    meet,
    rank,
    sharded_like,
    trained_weights,
    whole,
)
from scripts.train.stopping import Stop

PREFIX = "checkpoint-"
WEIGHTS, RUN = "weights.safetensors", "run.json"
OPTIMIZER, SCHEDULE, SCALER = "optimizer.pt", "scheduler.pt", "scaler.pt"
RANDOM, STATE = "rng_state.pth", "trainer_state.json"
"""transformers looks for files of these names."""


class ResumableTrainer(Trainer):
    """Write and read checkpoints; mixed into TRL's trainers.

    `train(resume_from_checkpoint=…)` resumes. The state of callbacks that are `Stateful` (they
    have `state_dict` and `load_state_dict`, here as JSON) is saved with each process's own.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resumed = 0
        """How often this training has been resumed from a checkpoint."""
        self._checkpoint: Path | None = None
        # Not earlier: transformers would reset to 0 what is restored.
        self.add_callback(_OnTrainBegin(self))

    def checkpoint_path(self, step: int) -> Path:
        """Return the folder of the checkpoint after a step."""
        return _path(self.args, step)

    # ----------------------------------------------------------------------------------- writing

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        weights = trained_weights(self.model)
        if not all(weight.isfinite().all() for weight in weights.values()):
            print("no checkpoint: some weights are not finite", file=sys.stderr)
            return
        state = self.state
        if state.best_global_step:
            state.best_model_checkpoint = str(self.checkpoint_path(state.best_global_step))
        parts = {
            WEIGHTS: save(weights),
            OPTIMIZER: as_torch(_mapped(whole, self.optimizer.state_dict())),
            SCHEDULE: as_torch(self.lr_scheduler.state_dict()),
            **_random_states(),
            # Each process has its own losses, tokens and energy.
            RUN: as_json(all_of(self.state_dict())),
            # Not save_to_json, which would sort keys, and so those of history.jsonl.
            STATE: as_json(asdict(state)),
        }
        if (scaler := getattr(self.accelerator, "scaler", None)) is not None:
            parts[SCALER] = as_torch(scaler.state_dict())
        folder = self.checkpoint_path(state.global_step)
        if not is_first():
            meet()
            return
        with whole_folder(folder) as temporary:
            for name, content in parts.items():
                write_file(temporary / name, content)
        if self.args.save_total_limit is not None:
            self._rotate({folder.name, f"{PREFIX}{state.best_global_step}"})
        meet()

    def _rotate(self, kept: set[str]) -> None:
        for folder in Path(self.args.output_dir).glob(f"{PREFIX}*"):
            if folder.name not in kept:
                discard(folder)

    def state_dict(self) -> Row:
        """Return this process's state that transformers and TRL do not save."""
        return {
            "precision": precision_of(self.model),
            "loss": float(self._tr_loss),
            "total_loss": self._total_loss_scalar,
            "last_logged": self._globalstep_last_logged,
            "metrics": {mode: dict(values) for mode, values in self._metrics.items()},
            "train_tokens": self._total_train_tokens,
            "resumed": self.resumed,
            "callbacks": {
                type(callback).__name__: callback.state_dict() for callback in self._stateful()
            },
        }

    def _stateful(self) -> list[Stateful]:
        return [it for it in self.callback_handler.callbacks if isinstance(it, Stateful)]

    # ----------------------------------------------------------------------------------- reading

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        # Into the weights as they are: PEFT would load the adapter as another one.
        saved = load_file(Path(resume_from_checkpoint, WEIGHTS))
        with torch.no_grad():
            for name, weight in self.model.named_parameters():
                if weight.requires_grad:
                    weight.copy_(sharded_like(saved.pop(name), weight))
        if saved:
            raise ValueError(f"{resume_from_checkpoint} has weights that are not trained: {saved}")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if count() == 1 or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        # transformers looks for shards here.
        saved = torch.load(Path(checkpoint, OPTIMIZER), map_location="cpu", weights_only=True)
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        for number, values in saved["state"].items():
            for name, value in values.items():
                if torch.is_tensor(value) and value.shape == weights[number].shape:
                    values[name] = sharded_like(value, weights[number])
        self.optimizer.load_state_dict(saved)
        schedule = torch.load(Path(checkpoint, SCHEDULE), weights_only=True)
        self.lr_scheduler.load_state_dict(schedule)

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)

    def _init_training_state(
        self, max_steps: int, updates: int, epochs: int, resume_from_checkpoint: Any, trial: Any
    ) -> tuple[int, int]:
        begin = super()._init_training_state(
            max_steps, updates, epochs, resume_from_checkpoint, trial
        )
        if resume_from_checkpoint is not None:
            self._checkpoint = Path(resume_from_checkpoint)
            # The evaluation at the start was done before the checkpoint.
            self.args.eval_on_start = False
            if self.state.best_global_step:
                # The folder may have moved since.
                best = self.checkpoint_path(self.state.best_global_step)
                self.state.best_model_checkpoint = str(best)
        return begin

    def begin(self) -> None:
        """Prepare for the first step, when the model is wrapped and the checkpoint is loaded."""
        if self._checkpoint is not None:
            state = read_json(self._checkpoint / RUN)[rank()]
            check_precision(self._checkpoint / RUN, state, self.model)
            self.load_state_dict(state)

    def load_state_dict(self, state_dict: Row) -> None:
        """Load what `state_dict` returned in this process."""
        self._tr_loss.fill_(state_dict["loss"])
        self._total_loss_scalar = state_dict["total_loss"]
        self._globalstep_last_logged = state_dict["last_logged"]
        for mode, values in state_dict["metrics"].items():
            self._metrics[mode].update(values)
        self._total_train_tokens = state_dict["train_tokens"]
        self.resumed = state_dict["resumed"] + 1
        for callback in self._stateful():
            callback.load_state_dict(state_dict["callbacks"][type(callback).__name__])

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        # A checkpoint of the last step: transformers would train one more.
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return
        super()._run_epoch(*args, **kwargs)


def as_torch(value: Any) -> bytes:
    """Return the bytes that torch.load reads.

    Made in memory, because torch.save to a full disk raises an error that does not say so.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _random_state() -> Row:
    """Return the state of all random generators, as transformers reads it."""
    found = {
        "python": random.getstate(),
        "numpy": numpy.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }
    if torch.cuda.is_available():
        # Each of several processes restores the generators of all GPUs.
        cuda = torch.cuda.random
        found["cuda"] = cuda.get_rng_state_all() if count() > 1 else cuda.get_rng_state()
    return found


def _random_states() -> dict[str, bytes]:
    """Return the state of every process's generators, by the file names of transformers."""
    states = all_of(as_torch(_random_state()))
    if len(states) == 1:
        return {RANDOM: states[0]}
    name = Path(RANDOM)
    return {f"{name.stem}_{place}{name.suffix}": state for place, state in enumerate(states)}


def _mapped(change: Callable[[torch.Tensor], torch.Tensor], part: Any) -> Any:
    """Return a structure of lists and dictionaries with `change` applied to each tensor."""
    if isinstance(part, dict):
        return {key: _mapped(change, value) for key, value in part.items()}
    if isinstance(part, list):
        return [_mapped(change, value) for value in part]
    return change(part) if torch.is_tensor(part) else part


def last_checkpoint(work: Path) -> Path | None:
    """Return the newest checkpoint that is whole and whose best weights are, or None."""
    found = sorted(work.glob(f"{PREFIX}*"), key=_step, reverse=True)
    for folder in found:
        if is_whole(folder):
            best = read_json(folder / STATE)["best_global_step"]
            if not best or best == _step(folder) or is_whole(work / f"{PREFIX}{best}"):
                return folder
        print(f"{folder}: damaged, and skipped", file=sys.stderr)
    return None


def _path(args: Any, step: int) -> Path:
    return Path(args.output_dir) / f"{PREFIX}{step}"


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix(PREFIX))


class _OnTrainBegin(TrainerCallback):
    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.trainer.begin()


class Saving(TrainerCallback):
    """Ask for a checkpoint every so many minutes, and for one when the trainer has to stop.

    Always after a step; at the end of an epoch after its evaluation.
    """

    def __init__(self, minutes: float, stop: Stop) -> None:
        self.seconds = 60 * minutes
        self.stop = stop
        self.saved_at = time.monotonic()
        self.saved_step = -1

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.saved_at = time.monotonic()
        self.saved_step = state.global_step

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Record that there is unsaved work."""
        self.stop.wait = True

    def on_step_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint, if it is time."""
        ends_epoch = state.epoch == int(state.epoch) or control.should_training_stop
        if not ends_epoch and self._is_due(state):
            control.should_save = True

    def on_epoch_end(
        self, args: Any, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Ask for a checkpoint, if it is time."""
        if self._is_due(state):
            control.should_save = True

    def _is_due(self, state: TrainerState) -> bool:
        # The clock of the first process counts, and a signal to any of them.
        late = all_of(time.monotonic() - self.saved_at >= self.seconds)[0]
        requested = next(filter(None, all_of(self.stop.requested)), None)
        # All processes have to decide alike. A signal that reached only this one just now counts
        # after the next step.
        if requested is not None:
            self.stop.requested = requested
        return bool(requested or late) and state.global_step != self.saved_step

    def on_save(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Restart the clock, and stop the trainer if it was asked to stop."""
        self.saved_at, self.saved_step = time.monotonic(), state.global_step
        where = f" after step {state.global_step} of {state.max_steps}"
        if _path(args, state.global_step).is_dir():
            self.stop.wait = False
            self.stop.now_if_asked(f"{where}; the next run resumes from there")
        # Non-finite weights are not written.
        self.stop.now_if_asked(
            f"{where}, of which no checkpoint was written; the next run resumes from the one before"
        )
