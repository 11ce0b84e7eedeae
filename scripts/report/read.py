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
from scripts.common.files import read_json, read_jsonl, read_rows

RUN = re.compile(r"^([^/]+)/seed-(-?\d+)$")
"""A trial's folder below `trials/`."""

METHODS = {"base": "base", "sft": "SFT", "dpo": "DPO", "lookup": "lookup"}
"""What people call each method, in the order in which a model goes through them."""
TRAINED = ("sft", "dpo")

LOOKUP = "win counts in train, no model"
"""What people call the baseline that looks up which completion won more pairs of train."""

WILSON, BY_GROUP = "wilson", "group bootstrap"
INTERVALS = {WILSON: "Wilson", BY_GROUP: "by group"}
"""What tables call the methods of an interval."""

LABELS = {
    "held_out_loss": "Held-out loss",
    "bleu": "BLEU",
    "exact_match": "Exact match",
    "stop_rate": "Stop rate",
    "generated_tokens": "Generated tokens",
    "kl": "KL from the reference",
    "kl_per_token": "KL per token",
    "win_rate": "Win rate",
    "win_rate_length_controlled": "Win rate at equal lengths",
    "judge_disagreement": "Judge's disagreement",
    "train_loss": "Train loss",
    "preference_loss": "Preference loss",
    "preference_accuracy": "Preference accuracy",
    "policy_accuracy": "Policy accuracy",
    "reference_accuracy": "Reference accuracy",
    "margin": "Reward margin",
    "chosen_logp": "Chosen log-prob",
    "rejected_logp": "Rejected log-prob",
    "chosen_change": "Change of chosen log-prob",
    "rejected_change": "Change of rejected log-prob",
    "chosen_fell": "Chosen fell",
    "policy_token_accuracy": "Policy accuracy per token",
    "length_difference": "Length difference",
    "calibration_error": "Calibration error",
    "perplexity": "Perplexity",
    "sacrebleu": "sacreBLEU",
    "chrf": "chrF2",
    "rouge_l": "ROUGE-L",
    "exact_match_strict": "Strict exact match",
    "distinct_1": "Distinct-1",
    "distinct_2": "Distinct-2",
    "self_bleu": "Self-BLEU",
    "answer_words": "Answer words",
    "title_length": "Title length",
    "title_only": "Title only",
    "question": "Question",
    "how_to": "How-to",
    "explanatory": "Explanatory",
}
"""What people call a figure."""

SET_FIGURES = (
    "bleu", "exact_match", "stop_rate", "generated_tokens", "kl", "kl_per_token", "win_rate",
    "win_rate_length_controlled", "judge_disagreement",
)  # fmt: skip
"""The figures of answers: each belongs to one set of prompts."""


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
    """A trial with one seed, an experiment's base model, or the lookup of its pairs.

    A file is read when it is asked for.
    """

    root: Path
    folder: str
    name: str
    experiment: str
    title: str
    method: str
    seed: int | None

    @property
    def label(self) -> str:
        """What people call it."""
        return LOOKUP if self.method == "lookup" else self.name

    @property
    def sets(self) -> list[str]:
        """The sets of prompts that it answered."""
        return [] if self.method == "lookup" else list(self._metrics.at("sets"))

    def figure(self, key: str, set_name: str | None = None) -> Figure:
        """Returns a figure of `metrics.json`, without a value where it does not apply.

        Parameters
        ----------
        set_name
            The set of prompts that the figure belongs to; none for pairs and held-out loss.
        """
        above = ("figures",) if set_name is None else ("sets", set_name, "figures")
        if (set_name is not None and set_name not in self.sets) or (
            key not in self._metrics.at(*above)
        ):
            return Figure()
        place = f"{self._metrics.place}: {'.'.join((*above, key))}"
        found = Document(place, self._metrics.at(*above, key))
        return Figure(**{part.name: found.at(part.name) for part in fields(Figure)})

    def answering(self, set_name: str) -> dict[str, Any]:
        """Returns how a set of prompts was answered."""
        return self._metrics.at("sets", set_name, "settings")

    def left_out(self, set_name: str) -> int:
        """Returns how many of a set's items are not scored, since they stand in the SFT rows."""
        return self._metrics.at("sets", set_name, "left_out")

    def answers(self, set_name: str) -> list[dict[str, Any]]:
        """Returns the rows of `generations.parquet` that answer a set of prompts."""
        return [row for row in self._generations.content if row["set"] == set_name]

    def setting(self, *keys: str) -> Any:
        """Returns what `trial.json` says that was trained; None for what is no trial."""
        return self._trial.at(*keys) if self.method in TRAINED else None

    def outcome(self, *keys: str) -> Any:
        """Returns what `train.json` says about the training; None for what is no trial."""
        return self._train.at(*keys) if self.method in TRAINED else None

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
    def _generations(self) -> Document:
        return self._document("generations.parquet", read_rows)

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


PLAN_KEYS = ("experiment", "title", *METHODS, "shown")


def parse_plan(text: str) -> list[dict[str, Any]]:
    """Returns the plan's experiments. Raises argparse.ArgumentTypeError for anything else.

    Each has its name, its title, `base` (the model's name, or null where the base is left out),
    `sft` and `dpo` (lists of `{trial}/seed-{seed}`), `lookup` (the folder below `baselines/`, or
    null) and `shown` (for sets of prompts the trials whose answers are shown). So short, a
    thousand trials fit into one argument of a command line.
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
        shown = [run for runs in part["shown"].values() for run in runs]
        for run in (*part["sft"], *part["dpo"], *shown):
            if not RUN.match(run):
                raise argparse.ArgumentTypeError(f"experiment {number}: not a trial/seed-0: {run}")
    return plan


def subjects_of(root: Path, plan: list[dict[str, Any]]) -> list[Subject]:
    """Returns the plan's subjects: experiment by experiment, each with its lookup last."""
    return [subject for part in plan for subject in _subjects(root, part)]


def _subjects(root: Path, part: dict[str, Any]) -> Iterator[Subject]:
    yield from base_of(root, part)
    for method in TRAINED:
        yield from (trial_of(root, part, run, method) for run in part[method])
    if part["lookup"] is not None:
        folder = f"baselines/{part['lookup']}"
        yield Subject(root, folder, "lookup", part["experiment"], part["title"], "lookup", None)


def base_of(root: Path, part: dict[str, Any]) -> list[Subject]:
    """Returns the base of an experiment of the plan, if it is not left out."""
    if part["base"] is None:
        return []
    experiment, title = part["experiment"], part["title"]
    return [Subject(root, f"bases/{experiment}", part["base"], experiment, title, "base", None)]


def trial_of(root: Path, part: dict[str, Any], run: str, method: str) -> Subject:
    """Returns the trial that `{trial}/seed-{seed}` is, in an experiment of the plan."""
    name, seed = RUN.match(run).groups()
    experiment, title = part["experiment"], part["title"]
    return Subject(root, f"trials/{run}", name, experiment, title, method, int(seed))


def by_experiment(subjects: Iterable[Subject]) -> dict[str, list[Subject]]:
    """Returns the subjects of each experiment, in the order given."""
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        found.setdefault(subject.experiment, []).append(subject)
    return found
