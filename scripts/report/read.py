"""Reading what the stages before have left: the plan, and the files in its folders."""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_jsonl

RUN = re.compile(r"^([^/]+)/seed-(-?\d+)$")
"""A trial's folder below `trials/`."""

METHODS = {"base": "base", "sft": "SFT", "dpo": "DPO"}
"""What people call each method, in the order in which a model goes through them."""

WILSON, BY_GROUP = "wilson", "group bootstrap"
INTERVALS = {WILSON: "Wilson", BY_GROUP: "by group"}
"""What tables call the methods of an interval."""

LABELS = {
    "held_out_loss": "Held-out loss",
    "bleu": "BLEU",
    "exact_match": "Exact match",
    "stop_rate": "Stop rate",
    "generated_tokens": "Generated tokens",
    "train_loss": "Train loss",
    "preference_loss": "Preference loss",
    "preference_accuracy": "Preference accuracy",
    "policy_accuracy": "Policy accuracy",
    "reference_accuracy": "Reference accuracy",
    "margin": "Reward margin",
    "chosen_logp": "Chosen log-prob",
}
"""What people call a figure."""


@dataclass(frozen=True)
class Figure:
    """A measured figure. One that does not apply to a model has no value."""

    value: float | None = None
    n: int | None = None
    groups: int | None = None
    unit: str = ""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    definition: str = ""

    def interval(self, method: str) -> tuple[float | None, float | None]:
        """Returns the bounds by one method, or two times None."""
        low, high = self.intervals.get(method, (None, None))
        return low, high


@dataclass(frozen=True)
class Document:
    """What a file holds, or a line of it, with the place to name when something is missing."""

    place: str
    content: Any

    def at(self, *keys: str) -> Any:
        """Returns what stands below the keys. Raises BadInput where one of them is missing."""
        found = self.content
        for key in keys:
            if not isinstance(found, dict) or key not in found:
                raise BadInput(f"{self.place}: has no {'.'.join(keys)}")
            found = found[key]
        return found


@dataclass(frozen=True)
class Subject:
    """A trial with one seed, or an experiment's base model. A file is read when it is asked for."""

    root: Path
    folder: str
    name: str
    experiment: str
    title: str
    method: str
    seed: int | None

    def figure(self, key: str) -> Figure:
        """Returns a figure of `metrics.json`, without a value where it does not apply."""
        if key not in self._metrics.at("figures"):
            return Figure()
        found = Document(f"{self._metrics.place}: figures.{key}", self._metrics.at("figures", key))
        return Figure(**{part.name: found.at(part.name) for part in fields(Figure)})

    def setting(self, *keys: str) -> Any:
        """Returns what `trial.json` says that was trained; None for a base model."""
        return None if self.method == "base" else self._trial.at(*keys)

    def outcome(self, key: str) -> Any:
        """Returns what `train.json` says about the training; None for a base model."""
        return None if self.method == "base" else self._train.at(key)

    def history(self, key: str) -> list[tuple[int, float]]:
        """Returns the steps at which `history.jsonl` has a value for the key, and the values."""
        return [
            (line.at("step"), line.at(key))
            for line in self._history
            if line.content.get(key) is not None
        ]

    @cached_property
    def _metrics(self) -> Document:
        return self._document("metrics.json", read_json)

    @cached_property
    def _trial(self) -> Document:
        return self._document("trial.json", read_json)

    @cached_property
    def _train(self) -> Document:
        return self._document("train.json", read_json)

    @cached_property
    def _history(self) -> list[Document]:
        whole = self._document("history.jsonl", read_jsonl)
        return [
            Document(f"{whole.place}, entry {number}", line)
            for number, line in enumerate(whole.content, start=1)
        ]

    def _document(self, name: str, read: Callable[[Path], Any]) -> Document:
        path = self.root / self.folder / name
        try:
            return Document(str(path), read(path))
        except FileNotFoundError:
            raise BadInput(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise BadInput(f"{path}: {error}") from None


PLAN_KEYS = ("experiment", "title", *METHODS)


def parse_plan(text: str) -> list[dict[str, Any]]:
    """Returns the plan's experiments. Raises argparse.ArgumentTypeError for anything else.

    Each has its name, its title, `base` (the model's name, or null where the base is left out),
    and `sft` and `dpo`: lists of `{trial}/seed-{seed}`. So short, a thousand trials fit into one
    argument of a command line.
    """
    try:
        plan = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(plan, list):
        raise argparse.ArgumentTypeError("not a list of experiments")
    for number, part in enumerate(plan, start=1):
        if not isinstance(part, dict) or set(part) != set(PLAN_KEYS):
            keys = ", ".join(PLAN_KEYS)
            raise argparse.ArgumentTypeError(f"experiment {number} needs exactly the keys {keys}")
        for run in (*part["sft"], *part["dpo"]):
            if not RUN.match(run):
                raise argparse.ArgumentTypeError(f"experiment {number}: not a trial/seed-0: {run}")
    return plan


def subjects_of(root: Path, plan: list[dict[str, Any]]) -> list[Subject]:
    """Returns the plan's subjects: experiment by experiment, and in each base, SFT, DPO."""
    return [subject for part in plan for subject in _subjects(root, part)]


def _subjects(root: Path, part: dict[str, Any]) -> Iterator[Subject]:
    experiment, title = part["experiment"], part["title"]
    if part["base"] is not None:
        folder = f"bases/{experiment}"
        yield Subject(root, folder, part["base"], experiment, title, "base", None)
    for method in ("sft", "dpo"):
        for run in part[method]:
            name, seed = RUN.match(run).groups()
            yield Subject(root, f"trials/{run}", name, experiment, title, method, int(seed))


def by_experiment(subjects: Iterable[Subject]) -> dict[str, list[Subject]]:
    """Returns the subjects of each experiment, in the order given."""
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        found.setdefault(subject.experiment, []).append(subject)
    return found
