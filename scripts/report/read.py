"""Reading what the stages before have left: the plan, and the files in its folders."""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from statistics import fmean
from typing import Any

from scripts.common import methods
from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_jsonl, read_rows
from scripts.common.methods import LOOKUP_LABEL as LOOKUP
from scripts.common.metrics import METRICS, metric
from scripts.common.states import FAILED, IS_DONE, NOT_SCORED, STALE, State, one_line, start_failed

RUN = re.compile(r"^([^/]+)/seed-(-?\d+)$")
"""A trial's folder below `trials/`."""

METHODS = methods.LABELS
"""What people call each method, in the order in which a model goes through them."""
TRAINED = tuple(methods.METHODS)

WILSON, BY_GROUP = "wilson", "group bootstrap"
INTERVALS = {WILSON: "Wilson", BY_GROUP: "by group"}
"""What tables call the methods of an interval."""
JACKKNIFE = "group jackknife"
JACKKNIFED = {JACKKNIFE: "jackknife"}
"""The same of counts of what differs, which have no other interval."""

HEADLINES = tuple(
    name
    for name, one in METRICS.items()
    if one.mean and any(name in method.headlines for method in methods.METHODS.values())
)
"""The figures that a reader looks at first."""

LABELS = {name: metric.label for name, metric in METRICS.items()}
"""What people call a figure."""


def label_of(key: str) -> str:
    """Returns what people call a figure."""
    return metric(key).label


SET_FIGURES = tuple(name for name, metric in METRICS.items() if metric.home == "answers")
"""The figures of answers: each belongs to one set of prompts."""


@dataclass(frozen=True)
class Figure:
    """A measured figure. One that does not apply to a model has no value.

    Of a trial with several seeds it is the mean over them.
    """

    value: float | None = None
    sd: float | None = None
    """The standard deviation over seeds; None for one."""
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
class Comparison:
    """What the paired tests of an experiment's models say; read when it is asked for."""

    root: Path
    experiment: str
    title: str

    @property
    def tests(self) -> list[dict[str, Any]]:
        """Every test: two models, a figure, the difference, p-values."""
        return self._file.at("tests")

    @property
    def leading(self) -> list[dict[str, Any]]:
        """For each method and figure which trial leads, and whether a test tells it apart."""
        return self._file.at("leading")

    def says(self, key: str) -> Any:
        """Returns what else the file says."""
        return self._file.at(key)

    def leads(self, method: str, name: str, key: str, set_name: str | None) -> bool:
        """Tells whether a trial leads its method in a figure, apart from the runner-up."""
        return (method, name, key, set_name) in self._apart

    @cached_property
    def _apart(self) -> set[tuple[str, str, str, str | None]]:
        keys = ("method", "leading", "metric", "set")
        return {tuple(one[key] for key in keys) for one in self.leading if one["apart"]}

    @cached_property
    def _file(self) -> Document:
        return document(self.root / "comparisons" / f"{self.experiment}.json", read_json)


def document(path: Path, read: Callable[[Path], Any]) -> Document:
    """Returns what a file holds. Raises BadInput where it is missing or unreadable."""
    try:
        return Document(str(path), read(path))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: {error}") from None


@dataclass(frozen=True)
class Subject:
    """A trial with all its seeds or with one, an experiment's base, or the lookup of its pairs.

    A file is read when it is asked for.
    """

    root: Path
    folder: str
    """Where its metrics.json lies."""
    name: str
    experiment: str
    title: str
    method: str
    runs: tuple[str, ...] = ()
    """The folders of its seeds; none of what is no trial."""
    comparison: Comparison | None = None
    """The experiment's."""
    undone: Mapping[str, State] = field(default_factory=dict, hash=False, compare=False)
    """By folder what became of all of the plan that is not done: this subject or another."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that its figures come from."""
        return self.runs or (self.folder,)

    @property
    def undone_folder(self) -> str | None:
        """The first of its folders that is not done."""
        return next((folder for folder in self.folders if folder in self.undone), None)

    @property
    def state(self) -> State:
        """What became of it; if it is not done, it has no files, and no figure has a value."""
        return self.undone.get(self.undone_folder, IS_DONE)

    @property
    def done(self) -> bool:
        """Whether it has the files that figures come from."""
        return self.undone_folder is None

    @property
    def label(self) -> str:
        """What people call it."""
        return LOOKUP if self.method == "lookup" else self.name

    @property
    def seeds(self) -> list[int]:
        """Its seeds; none of what is no trial."""
        return [int(run.rsplit("-", 1)[1]) for run in self.runs]

    @property
    def seed(self) -> int | None:
        """Its seed, where it has one alone."""
        return self.seeds[0] if len(self.runs) == 1 else None

    def each_seed(self) -> list["Subject"]:
        """Returns the trial once a seed, each with its own figures."""
        return [replace(self, folder=run, runs=(run,)) for run in self.runs]

    def leads(self, key: str, set_name: str | None = None) -> bool | None:
        """Tells whether a trial leads its method in a figure, apart from the runner-up.

        None of what is no trial.
        """
        if self.method not in TRAINED or not self.done or self.comparison is None:
            return None
        return self.comparison.leads(self.method, self.name, key, set_name)

    @property
    def selected_on_reported(self) -> bool:
        """Whether the split that its adapter was selected on is that of its held-out figures."""
        if self.method not in TRAINED:
            return False
        kind = "pairs" if self.method == "dpo" else "completions"
        selected_on = self._metrics.content.get("selected_on")
        return selected_on is not None and selected_on == self._metrics.at("held_out", kind)

    @property
    def sets(self) -> list[str]:
        """The sets of prompts that it answered."""
        return [] if self.method == "lookup" else list(self._metrics.at("sets"))

    def measured(self, set_name: str | None = None) -> list[str]:
        """Returns the figures of a set of prompts, or without one those of pairs and rows."""
        above = ("metrics",) if set_name is None else ("sets", set_name, "metrics")
        return list(self._metrics.at(*above))

    def figure(self, key: str, set_name: str | None = None) -> Figure:
        """Returns a figure of `metrics.json`, without a value where it does not apply.

        Parameters
        ----------
        set_name
            The set of prompts that the figure belongs to; none for pairs and held-out loss.
        """
        asked = (key, set_name)
        if asked not in self._figures:
            self._figures[asked] = self._figure(key, set_name)
        return self._figures[asked]

    def _figure(self, key: str, set_name: str | None) -> Figure:
        above = ("metrics",) if set_name is None else ("sets", set_name, "metrics")
        if (set_name is not None and set_name not in self.sets) or (
            key not in self._metrics.at(*above)
        ):
            return Figure()
        place = f"{self._metrics.place}: {'.'.join((*above, key))}"
        found = Document(place, {"sd": None} | self._metrics.at(*above, key))
        one = metric(key)
        return Figure(
            *(found.at(part) for part in ("value", "sd", "n", "groups")),
            unit=one.unit,
            intervals=found.at("intervals"),
            definition=one.defined(found.content, self.method),
        )

    def answering(self, set_name: str) -> dict[str, Any]:
        """Returns how a set of prompts was answered."""
        return self._metrics.at("sets", set_name, "settings")

    def left_out(self, set_name: str) -> int:
        """Returns how many of a set's items are not scored, since they stand in the SFT rows."""
        return self._metrics.at("sets", set_name, "left_out")

    def answers(self, set_name: str) -> list[dict[str, Any]]:
        """Returns the rows of `generations.parquet` that answer a set of prompts."""
        return [row for row in self._generations.content if row["set"] == set_name]

    def items(self, key: str) -> dict[str, float]:
        """Returns a figure's score of each item by id, from `items.parquet`; empty without it.

        Of figures of pairs and completions, which belong to no set of prompts; of several seeds
        those of the first.
        """
        return {
            row["id"]: row["score"]
            for row in self._items.content
            if row["metric"] == key and row["set"] is None
        }

    def setting(self, *keys: str) -> Any:
        """Returns what `trial.json` says that was trained; None for what is no trial."""
        return self._trial.at(*keys) if self.method in TRAINED and self.done else None

    def outcome(self, *keys: str) -> Any:
        """Returns what `train.json` says about the training; None for what is no trial.

        Of several seeds the mean of numbers, and of anything else what all of them say, or None.
        """
        if self.method not in TRAINED or not self.done:
            return None
        return _together([train.at(*keys) for train in self._trains])

    def scoring(self, key: str) -> Any:
        """Returns what `score.json` says of scoring, as `outcome` does; None for a lookup."""
        if self.method == "lookup" or not self.done:
            return None
        return _together([score.at(key) for score in self._scores])

    @property
    def versions(self) -> dict[str, str] | None:
        """The packages that it was trained with; None for what is not trained here."""
        if self.method in ("base", "lookup") or not self.done:
            return None
        return _together([train.at("versions") for train in self._trains])

    def history(self, key: str) -> list[tuple[int, float]]:
        """Returns the steps at which `history.jsonl` has a value for the key, and the values.

        Of several seeds the means at the steps that all of them have.
        """
        if not self.done:
            return []
        found = [
            {line.at("step"): line.at(key) for line in lines if line.content.get(key) is not None}
            for lines in self._histories
        ]
        first, *others = found
        if not others:
            return list(first.items())
        shared = [step for step in first if all(step in one for one in others)]
        return [(step, fmean(one[step] for one in found)) for step in shared]

    @cached_property
    def _figures(self) -> dict[tuple[str, str | None], Figure]:
        """What was asked for: every form of a table asks again."""
        return {}

    @cached_property
    def _metrics(self) -> Document:
        if not self.done:
            return Document(self.state.word, {"metrics": {}, "sets": {}})
        return document(self.root / self.folder / "metrics.json", read_json)

    @cached_property
    def _generations(self) -> Document:
        if not self.done:
            return Document(self.state.word, [])
        return self._of_seeds("generations.parquet", read_rows)[0]

    @cached_property
    def _items(self) -> Document:
        if not self.done:
            return Document(self.state.word, [])
        return self._of_seeds("items.parquet", read_rows)[0]

    @cached_property
    def _trial(self) -> Document:
        return document(self.root / self.runs[0] / "trial.json", read_json)

    @cached_property
    def _trains(self) -> list[Document]:
        return self._of_seeds("train.json", read_json)

    @cached_property
    def _scores(self) -> list[Document]:
        return self._of_seeds("score.json", read_json)

    @cached_property
    def _histories(self) -> list[list[Document]]:
        return [
            [
                Document(f"{whole.place}, entry {number}", line)
                for number, line in enumerate(whole.content, start=1)
            ]
            for whole in self._of_seeds("history.jsonl", read_jsonl)
        ]

    def _of_seeds(self, name: str, read: Callable[[Path], Any]) -> list[Document]:
        """Returns a file of each seed, or of what is no trial."""
        return [document(self.root / run / name, read) for run in self.runs or (self.folder,)]


def _together(values: list[Any]) -> Any:
    """Returns what seeds say as one: the same if all say it, the mean of numbers, else None."""
    first, *others = values
    if all(value == first for value in others):
        return first
    numbers = all(isinstance(value, (int, float)) for value in values)
    return fmean(values) if numbers else None


PLAN_KEYS = ("experiment", "title", "base", "trials", "lookup", "shown")


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
        for run in (*chain(*part["trials"].values()), *shown):
            if not RUN.match(run):
                raise argparse.ArgumentTypeError(f"experiment {number}: not a trial/seed-0: {run}")
    return plan


def subjects_of(root: Path, plan: list[dict[str, Any]]) -> list[Subject]:
    """Returns the plan's subjects: experiment by experiment, each with its lookup last."""
    return [subject for part in plan for subject in _subjects(root, part)]


def _subjects(root: Path, part: dict[str, Any]) -> Iterator[Subject]:
    comparison = comparison_of(root, part)
    yield from base_of(root, part)
    experiment, title = part["experiment"], part["title"]
    for method, those in part["trials"].items():
        seeds: dict[str, list[str]] = {}
        for run in those:
            seeds.setdefault(RUN.match(run)[1], []).append(f"trials/{run}")
        for name, runs in seeds.items():
            folder = f"trials/{name}"
            yield Subject(root, folder, name, experiment, title, method, tuple(runs), comparison)
    if part["lookup"] is not None:
        folder = f"baselines/{part['lookup']}"
        yield Subject(root, folder, "lookup", experiment, title, "lookup")


def base_of(root: Path, part: dict[str, Any]) -> list[Subject]:
    """Returns the base of an experiment of the plan, if it is not left out."""
    if part["base"] is None:
        return []
    experiment, title = part["experiment"], part["title"]
    return [Subject(root, f"bases/{experiment}", part["base"], experiment, title, "base")]


def trial_of(root: Path, part: dict[str, Any], run: str, method: str) -> Subject:
    """Returns the trial with one seed that `{trial}/seed-{seed}` is, in an experiment."""
    name, folder = RUN.match(run)[1], f"trials/{run}"
    return Subject(root, folder, name, part["experiment"], part["title"], method, (folder,))


def comparison_of(root: Path, part: dict[str, Any]) -> Comparison:
    """Returns the paired tests of an experiment of the plan."""
    return Comparison(root, part["experiment"], part["title"])


def comparisons_of(subjects: Iterable[Subject]) -> list[Comparison]:
    """Returns the paired tests of each experiment whose trials are among the subjects."""
    found = {it.experiment: it.comparison for it in subjects if it.comparison is not None}
    return list(found.values())


def parse_states(text: str) -> dict[str, State]:
    """Returns by folder what became of each subject that is not done.

    The text is a JSON object of folders; each has a list of the word and, where a trial failed
    because its start did, the start's folder. Raises argparse.ArgumentTypeError for anything else.
    """
    try:
        found = json.loads(text)
        return {folder: State(word, None, *start) for folder, (word, *start) in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"not a JSON object of states: {error}") from None


def with_states(root: Path, subjects: list[Subject], states: dict[str, State]) -> list[Subject]:
    """Returns the subjects with what became of them; one that the states lack is done.

    Where the base is not done, nothing of its experiment is compared.
    """
    undone = {folder: _explained(root / folder, state) for folder, state in states.items()}
    return [
        replace(
            subject,
            undone=undone,
            comparison=None if f"bases/{subject.experiment}" in undone else subject.comparison,
        )
        for subject in subjects
    ]


def _explained(folder: Path, state: State) -> State:
    """Returns a state with the reason of a failure."""
    if state.word != FAILED:
        return state
    if state.start:
        return replace(state, reason=start_failed(state.start))
    left = document(folder / "work" / "failed.json", read_json)
    return replace(state, reason=one_line(left.at("reason")))


def log_of(subject: Subject, logs: Path) -> Path | None:
    """Returns the log to look into for what failed, fell silent or is not scored."""
    names = {FAILED: "train.log", STALE: "train.log", NOT_SCORED: "score.log"}
    name = names.get(subject.state.word)
    return name and logs / (subject.state.start or subject.undone_folder) / name


def by_experiment(subjects: Iterable[Subject]) -> dict[str, list[Subject]]:
    """Returns the subjects of each experiment, in the order given."""
    found: dict[str, list[Subject]] = {}
    for subject in subjects:
        found.setdefault(subject.experiment, []).append(subject)
    return found
