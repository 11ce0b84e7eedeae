"""The hyperparameters in which trials differ, for a figure that sets results against them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.report.objectives import KEYS as OBJECTIVE
from scripts.report.objectives import objective
from scripts.report.text import missing, power, short

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Row = dict[str, Any]

TOLD_APART = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
    "gradient_accumulation_steps", "beta", *OBJECTIVE,
)  # fmt: skip
"""Settings of the trainer that stand in a hyperparameter of their own."""
NO_EFFECT = ("logging_steps", "eval_strategy", "eval_steps", "gradient_checkpointing")
"""Settings of the trainer that say what is written down, or how memory is spent."""


@dataclass(frozen=True)
class Hyperparameter:
    """A setting of trials: what it is called, and its value of each, None without one."""

    label: str
    values: "Series"
    logarithmic: bool = False
    show: Callable[[Any], str] = short

    @property
    def distinct(self) -> list[Any]:
        """The distinct values: numbers ascending, words in the trials' order."""
        found = list(dict.fromkeys(value for value in self.values if not missing(value)))
        return sorted(found) if is_numeric(found) else found


def is_numeric(values: Iterable[Any]) -> bool:
    """Return True if the values can lie on an axis of numbers."""
    return all(isinstance(it, (int, float)) and not isinstance(it, bool) for it in values)


def differing(settings: "DataFrame") -> list[Hyperparameter]:
    """Return the hyperparameters of which the trials have two values or more.

    Parameters
    ----------
    settings
        Rows of the frame `settings`, of one experiment and method.
    """
    from pandas import Series

    rows = settings.to_dict("records")

    def made(label: str, value: Callable[[Row], Any], **more: Any) -> Hyperparameter:
        values = Series([value(row) for row in rows], index=settings.index, dtype=object)
        return Hyperparameter(label, values, **more)

    def named(label: str, key: str, **more: Any) -> Hyperparameter:
        return made(label, lambda row: _plain(row.get(key)), **more)

    further = [
        key for name in settings.columns if (key := name.removeprefix("trainer.")) != name
        and key not in (*TOLD_APART, *NO_EFFECT)
    ]  # fmt: skip
    found = [
        named("Learning rate", "trainer.learning_rate", logarithmic=True, show=power),
        named("β", "trainer.beta"),
        made("Objective", objective, show=str),
        named("LoRA r", "lora.r"),
        named("LoRA α", "lora.lora_alpha"),
        named("LoRA dropout", "lora.lora_dropout"),
        made("LoRA modules", lambda row: modules(row).replace("_proj", ""), show=str),
        made("Epochs", _epochs),
        made("Steps at most", _max_steps),
        made("Batch", batch),
        *(
            named(key.replace("_", " ").capitalize(), f"trainer.{key}", show=_say)
            for key in further
        ),
        made("Start", _start, show=str),
        named("Data", "dataset", show=str),
    ]
    return [it for it in found if len(it.distinct) > 1]


def modules(row: Row) -> str:
    """Return the modules that LoRA adapts."""
    found = row["lora.target_modules"]
    return " ".join(found) if isinstance(found, list) else found


def batch(row: Row) -> int | None:
    """Return how many rows a step of the optimizer learns from."""
    sizes = [
        row["trainer.per_device_train_batch_size"], row["trainer.gradient_accumulation_steps"],
    ]  # fmt: skip
    return None if any(map(missing, sizes)) else sizes[0] * sizes[1]


def start(row: Row) -> str | None:
    """Return the trial that a trial starts from, or None where it starts from the base."""
    found = row.get("start")
    return found.removeprefix("trials/").split("/")[0] if isinstance(found, str) else None


def _plain(value: Any) -> Any:
    """Return a value that can be told from others: numbers and words as they are."""
    return value if isinstance(value, (int, float, str)) or value is None else str(value)


def _say(value: Any) -> str:
    return short(value) if is_numeric([value]) else str(value)


def _max_steps(row: Row) -> int | None:
    steps = row["trainer.max_steps"]
    return steps if steps > 0 else None


def _epochs(row: Row) -> float | None:
    """Return the epochs of a trial that ends by them."""
    return None if _max_steps(row) else row["trainer.num_train_epochs"]


def _start(row: Row) -> str | None:
    """Return what a trial starts from, and how; None for a method that has no start."""
    if "start" not in row or (isinstance(row["start"], float) and missing(row["start"])):
        return None
    name = start(row)
    return f"{name}, {row['start_as']}" if name else "base"
