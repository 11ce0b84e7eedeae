"""The hyperparameters of trials, as a figure sets results against them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scripts.report.columns import ALPHA, BATCH, DROPOUT, LEARNING_RATE, MODULES, RANK
from scripts.report.objectives import objective_column
from scripts.report.read import Subject
from scripts.report.render import Column, power, short

TOLD_APART = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
    "gradient_accumulation_steps", "beta", "loss_type", "loss_weights", "label_smoothing",
    "use_weighting", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef", "discopop_tau",
)  # fmt: skip
"""Settings of the trainer that stand in a hyperparameter of their own."""
NO_EFFECT = (
    "logging_steps", "eval_strategy", "eval_steps", "gradient_checkpointing",
)  # fmt: skip
"""Settings of the trainer that say what is written down, or how memory is spent."""


@dataclass(frozen=True)
class Hyperparameter:
    """A setting of trials: what it is called, and its value for a trial, None without one."""

    label: str
    read: Callable[[Subject], Any]
    logarithmic: bool = False
    show: Callable[[Any], str] = short

    def values(self, trials: list[Subject]) -> list[Any]:
        """Returns the distinct values of the trials: numbers ascending, words in trials' order."""
        found = [value for trial in trials if (value := self.read(trial)) is not None]
        distinct = list(dict.fromkeys(found))
        return sorted(distinct) if is_numeric(distinct) else distinct


def is_numeric(values: list[Any]) -> bool:
    """Tells whether the values can lie on an axis of numbers."""
    return all(isinstance(it, (int, float)) and not isinstance(it, bool) for it in values)


def differing(trials: list[Subject]) -> list[Hyperparameter]:
    """Returns the hyperparameters that have two or more values among the trials."""
    return [it for it in _hyperparameters(trials) if len(it.values(trials)) > 1]


def _hyperparameters(trials: list[Subject]) -> list[Hyperparameter]:
    preference = [_trainer("β", "beta"), _text("Objective", objective_column(trials))]
    return [
        Hyperparameter("Learning rate", _raw(LEARNING_RATE), logarithmic=True, show=power),
        *(preference if trials[0].method == "dpo" else []),
        Hyperparameter("LoRA r", _raw(RANK)),
        Hyperparameter("LoRA α", _raw(ALPHA)),
        Hyperparameter("LoRA dropout", _raw(DROPOUT)),
        _text("LoRA modules", MODULES),
        Hyperparameter("Epochs", _epochs),
        Hyperparameter("Steps at most", _max_steps),
        Hyperparameter("Batch", _raw(BATCH)),
        *(_trainer(key.replace("_", " ").capitalize(), key) for key in _further(trials)),
        *([Hyperparameter("Start", _start, show=str)] if trials[0].method == "dpo" else []),
    ]


def _raw(column: Column) -> Callable[[Subject], Any]:
    """Returns what reads the value of a table's column."""
    return lambda trial: column.values(trial)[0]


def _text(label: str, column: Column) -> Hyperparameter:
    return Hyperparameter(label, column.text, show=str)


def _trainer(label: str, key: str) -> Hyperparameter:
    return Hyperparameter(label, lambda trial: _plain(trial.setting("trainer").get(key)), show=_say)


def _further(trials: list[Subject]) -> list[str]:
    """Returns the trainer's other settings that have an effect, in the order of `trial.json`."""
    keys = dict.fromkeys(key for trial in trials for key in trial.setting("trainer"))
    return [key for key in keys if key not in (*TOLD_APART, *NO_EFFECT)]


def _plain(value: Any) -> Any:
    """Returns a value that can be told from others: numbers and words as they are."""
    return value if isinstance(value, (int, float, str)) or value is None else str(value)


def _say(value: Any) -> str:
    return short(value) if is_numeric([value]) else str(value)


def _epochs(trial: Subject) -> float | None:
    """Returns the epochs of a trial that ends by them."""
    return None if _max_steps(trial) else trial.setting("trainer", "num_train_epochs")


def _max_steps(trial: Subject) -> int | None:
    steps = trial.setting("trainer", "max_steps")
    return steps if steps > 0 else None


def _start(trial: Subject) -> str:
    """Returns the SFT trial that a preference trial starts from, and how, or `base`."""
    start = trial.setting("start")
    if start is None:
        return "base"
    name = start.removeprefix("trials/").split("/")[0]
    return f"{name}, {trial.setting('start_as')}"
