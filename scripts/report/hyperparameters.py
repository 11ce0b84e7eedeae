"""The hyperparameters of trials, as a figure sets results against them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.report.objectives import known, objective, trainer_of
from scripts.report.text import power, short

if TYPE_CHECKING:
    from pandas import DataFrame

TOLD_APART = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
    "gradient_accumulation_steps", "beta", "loss_type", "loss_weights", "label_smoothing",
    "use_weighting", "ld_alpha", "f_divergence_type", "f_alpha_divergence_coef", "discopop_tau",
)  # fmt: skip
"""Settings of the trainer that are part of a hyperparameter of their own."""
NO_EFFECT = (
    "logging_steps", "eval_strategy", "eval_steps", "gradient_checkpointing",
)  # fmt: skip
"""Settings of the trainer that say what is logged, or how memory is spent."""

Settings = dict[str, Any]
"""A row of the frame of settings."""


@dataclass(frozen=True)
class Hyperparameter:
    """A setting of trials, and its value for a trial: a number, a text, or None without one."""

    label: str
    read: Callable[[Settings], Any]
    logarithmic: bool = False
    show: Callable[[Any], str] = short


def _batch(trial: Settings) -> int:
    sizes = ("per_device_train_batch_size", "gradient_accumulation_steps")
    return trial[f"trainer.{sizes[0]}"] * trial[f"trainer.{sizes[1]}"]


def _modules(trial: Settings) -> str:
    found = trial["lora.target_modules"]
    return found if isinstance(found, str) else " ".join(found).replace("_proj", "")


def _steps(trial: Settings) -> int | None:
    return trial["trainer.max_steps"] if trial["trainer.max_steps"] > 0 else None


def _epochs(trial: Settings) -> float | None:
    """Return the epochs of a trial that ends by them."""
    return None if _steps(trial) else trial["trainer.num_train_epochs"]


def _start(trial: Settings) -> str | None:
    """Return the trial that a trial starts from, and how, or `base`."""
    start = trial.get("start", float("nan"))
    if isinstance(start, float):
        return None
    if start is None:
        return "base"
    name = start.removeprefix("trials/").split("/")[0]
    return f"{name}, {trial['start_as']}"


def _key(name: str) -> Callable[[Settings], Any]:
    def read(trial: Settings) -> Any:
        value = known(trial.get(name))
        return value if value is None or isinstance(value, (int, float, str)) else str(value)

    return read


BEFORE = (
    Hyperparameter("Learning rate", _key("trainer.learning_rate"), logarithmic=True, show=power),
    Hyperparameter("β", _key("trainer.beta")),
    Hyperparameter("Objective", lambda trial: objective(trainer_of(trial))),
    Hyperparameter("LoRA r", _key("lora.r")),
    Hyperparameter("LoRA α", _key("lora.lora_alpha")),
    Hyperparameter("LoRA dropout", _key("lora.lora_dropout")),
    Hyperparameter("LoRA modules", _modules),
    Hyperparameter("Epochs", _epochs),
    Hyperparameter("Steps at most", _steps),
    Hyperparameter("Batch", _batch),
)
AFTER = (Hyperparameter("Start", _start),)


def hyperparameters(settings: "DataFrame") -> list[Hyperparameter]:
    """Return the hyperparameters of trials: those with names, and what else the trainer is told."""
    told = [name.removeprefix("trainer.") for name in settings if name.startswith("trainer.")]
    further = [name for name in told if name not in (*TOLD_APART, *NO_EFFECT)]
    return [
        *BEFORE,
        *(Hyperparameter(name.replace("_", " ").capitalize(), _key(f"trainer.{name}"))
          for name in further),
        *AFTER,
    ]  # fmt: skip


def is_numeric(values: list[Any]) -> bool:
    """Return True if the values can lie on an axis of numbers."""
    return all(isinstance(it, (int, float)) and not isinstance(it, bool) for it in values)


def shown(parameter: Hyperparameter, value: Any) -> str:
    """Return a value as people read it."""
    return parameter.show(value) if is_numeric([value]) else str(value)
