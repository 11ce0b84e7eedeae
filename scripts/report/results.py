"""What a run left, as pandas frames: every table and figure is made from these.

Each frame is read once, when it is asked for. A model is a trial with all its seeds, an
experiment's base, or the lookup of its pairs; a run is a trial with one seed. The columns
`experiment`, `method`, `model` and `seed` tell a row's model from all others; the seed is missing
where a row is over all seeds, or of no trial. What is not done has a state, and rows in `models`
only.

In a frame of settings or outcomes a null of the file is None, and NaN is a key that it lacks.
"""

import argparse
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput
from scripts.common.files import damaged, read_json, read_jsonl, read_object
from scripts.common.methods import BASE, LOOKUP, LOOKUP_LABEL
from scripts.common.states import DONE, FAILED, NOT_SCORED, STALE, State, one_line, start_failed

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Row = dict[str, Any]

RUN = re.compile(r"^([^/]+)/seed-(-?\d+)$")
"""A run's folder below `trials/`."""
SHOWN = "shown"
"""The method of a trial of which only the answers are read."""

MODEL = ["experiment", "method", "model", "seed"]
"""The columns that tell a model from all others."""
METRIC = ["value", "sd", "n", "groups"]
INTERVALS = {
    "wilson": "Wilson",
    "group bootstrap": "by group",
    "group jackknife": "jackknife",
}
"""The methods of intervals, and what tables call them."""
BOUNDS = [f"{name.replace(' ', '_')}_{end}" for name in INTERVALS for end in ("low", "high")]
PLAN_KEYS = ("experiment", "title", "base", "trials", "lookup", "shown")


def parse_plan(text: str) -> list[Row]:
    """Return the plan's experiments. Raise argparse.ArgumentTypeError for anything else.

    Each has its name, its title, `base` (the model's name, or null where the base is left out),
    `trials` (by method lists of `{trial}/seed-{seed}`), `lookup` (the folder below `baselines/`, or
    null) and `shown` (by set of prompts the runs whose answers are shown). It is this short so that
    a thousand trials fit into one argument of a command line.
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
        for runs in (*part["trials"].values(), *part["shown"].values()):
            for run in runs:
                if not RUN.match(run):
                    text = f"experiment {number}: not a trial/seed-0: {run}"
                    raise argparse.ArgumentTypeError(text)
    return plan


def parse_states(text: str) -> dict[str, State]:
    """Return by folder what has become of each model or run that is not done.

    The text is a JSON object of folders; each has a list of the word and, where a trial failed
    because its start did, the start's folder. Raise argparse.ArgumentTypeError for anything else.
    """
    try:
        found = json.loads(text)
        return {folder: State(word, None, *start) for folder, (word, *start) in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise argparse.ArgumentTypeError(f"not a JSON object of states: {error}") from None


def read(path: Path, reader: Callable[[Path], Any]) -> Any:
    """Return what a file holds. Raise BadInput where it is missing, or holds something else."""
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    with open(path, "rb"):
        pass
    try:
        return reader(path)
    except BadInput:
        raise
    except (OSError, ValueError) as error:
        raise damaged(path, error) from None


def at(content: Any, place: Path | str, *keys: str) -> Any:
    """Return what stands below the keys. Raise BadInput where one of them is missing."""
    for key in keys:
        if not isinstance(content, dict) or key not in content:
            raise BadInput(f"{place}: has no {'.'.join(keys)}")
        content = content[key]
    return content


def read_parquet(path: Path) -> "DataFrame":
    """Return a Parquet file as a frame."""
    from pandas import read_parquet

    return read_parquet(path)


class Results:
    """What the models of a plan left in a results folder.

    Parameters
    ----------
    states
        By folder what is not done, if it is not awaited.
    logs
        The folder of logs, named where a job failed.
    """

    def __init__(
        self,
        root: Path,
        plan: list[Row],
        states: Mapping[str, State] | None = None,
        logs: Path = Path("logs"),
    ) -> None:
        self.root, self.plan, self.logs = root, plan, logs
        self.states = {
            folder: _explained(root / folder, state) for folder, state in (states or {}).items()
        }
        self.titles: dict[str, str] = {part["experiment"]: part["title"] for part in plan}

    # ------------------------------------------------------------------------------ what is planned

    @cached_property
    def models(self) -> "DataFrame":
        """A row for each model, in the plan's order, and experiment by experiment.

        Columns: experiment, title, model, method, seed, folder (where its metrics.json lies),
        label, seeds and runs (lists, empty unless it is a trial), state, reason, log, undone (the
        first of its folders that is not done, or None).
        """
        return self._planned(row for part in self.plan for row in _models(part))

    @cached_property
    def each_seed(self) -> "Results":
        """The same results, whose models are the runs of trials, each with its own metrics."""
        found = Results(self.root, self.plan, logs=self.logs)
        rows = [
            row | {"runs": [run], "seeds": [_seed(run)], "folder": run, "seed": _seed(run)}
            for row in self.models.to_dict("records")
            for run in row["runs"]
        ]
        found.states = self.states
        found.models = found._planned(rows)
        return found

    def only(self, models: "DataFrame") -> "Results":
        """Return the same results, of these of the models alone."""
        found = Results(self.root, self.plan, logs=self.logs)
        found.states, found.models, found._documents = self.states, models, self._documents
        return found

    def _planned(self, rows: Iterable[Row]) -> "DataFrame":
        """Return planned rows with what has become of each."""
        from pandas import DataFrame

        found: list[Row] = []
        for row in rows:
            folders = row["runs"] or [row["folder"]]
            undone = next((folder for folder in folders if folder in self.states), None)
            state = self.states[undone] if undone else State(DONE)
            found.append(
                {key: row.get(key) for key in _PLANNED}
                | {"state": state.word, "reason": state.reason, "undone": undone}
                | {"log": self._log(undone, state)}
            )
        columns = [*_PLANNED, "state", "reason", "undone", "log"]
        return DataFrame(found, columns=columns, dtype=object).astype({"seed": "Int64"})

    def _log(self, folder: str | None, state: State) -> str | None:
        """Return the log to read for what failed, is stale or is not scored."""
        names = {FAILED: "train.log", STALE: "train.log", NOT_SCORED: "score.log"}
        if folder is None or state.word not in names:
            return None
        return (self.logs / (state.start or folder) / names[state.word]).as_posix()

    @property
    def done(self) -> "DataFrame":
        """The models that are done."""
        return self.models[self.models["undone"].isna()]

    # ------------------------------------------------------------------------------------ measured

    @cached_property
    def metrics(self) -> "DataFrame":
        """A row for each model, set of prompts and metric; of several seeds their mean.

        Columns: experiment, method, model, seed, set (None for metrics of pairs and completions, or
        the dataset of a mixture),
        metric, value, sd (over seeds; missing for one), n, groups, the bounds of each interval
        (`wilson_low`, …), signature and detail (what completes the definition).
        """
        from pandas import DataFrame

        found: list[Row] = []
        for row in self._rows():
            path = self.root / row["folder"] / "metrics.json"
            content = self._document(path)
            own = {key: row[key] for key in MODEL}
            places: list[tuple[str, ...]] = [
                (), *((key, name) for key in ("sets", "parts") for name in content.get(key, {}))
            ]  # fmt: skip
            for place in places:
                name, above = place[-1] if place else None, (*place, "metrics")
                for metric, measured in at(content, path, *above).items():
                    where = f"{path}: {'.'.join((*above, metric))}"
                    # Only a trial's metrics have a deviation over seeds.
                    given = {"sd": None} | measured
                    values = {key: at(given, where, key) for key in METRIC}
                    bounds = {
                        f"{kind.replace(' ', '_')}_{end}": bound
                        for kind, ends in at(given, where, "intervals").items()
                        for end, bound in zip(("low", "high"), ends, strict=True)
                    }
                    found.append(
                        own | {"set": name, "metric": metric} | values | bounds
                        | {key: given.get(key) for key in _OF_METRIC}
                    )  # fmt: skip
        columns = [*MODEL, "set", "metric", *METRIC, *BOUNDS, *_OF_METRIC]
        types = dict.fromkeys(("value", "sd", *BOUNDS), "float64")
        types |= dict.fromkeys(("seed", "n", "groups"), "Int64")
        return DataFrame(found, columns=columns, dtype=object).astype(types)

    @cached_property
    def sets(self) -> "DataFrame":
        """A row for each model and set of prompts that it answered.

        Columns: those of a model, set, settings (how it was answered, a dictionary), left_out
        (items that are not scored, as they stand in the rows of training).
        """
        from pandas import DataFrame

        found = [
            {key: row[key] for key in MODEL}
            | {"set": name}
            | {key: at(self._metrics_of(row), path, "sets", name, key) for key in _OF_SET}
            for row in self.done.to_dict("records")
            for path in [self.root / row["folder"] / "metrics.json"]
            for name in self._metrics_of(row).get("sets", {})
        ]
        columns = [*MODEL, "set", *_OF_SET]
        return DataFrame(found, columns=columns, dtype=object).astype({"seed": "Int64"})

    @cached_property
    def splits(self) -> "DataFrame":
        """A row for each trial, with held_out and selected_on.

        `held_out` has by kind of rows the split that metrics are of; `selected_on` is the split on
        which the best evaluation selected the adapter, or None.
        """
        from pandas import DataFrame

        found = [
            {key: row[key] for key in MODEL}
            | {key: self._metrics_of(row).get(key) for key in ("held_out", "selected_on")}
            for row in self.done.to_dict("records")
            if row["runs"]
        ]
        columns = [*MODEL, "held_out", "selected_on"]
        return DataFrame(found, columns=columns, dtype=object).astype({"seed": "Int64"})

    def _metrics_of(self, row: Row) -> Row:
        return self._document(self.root / row["folder"] / "metrics.json")

    def _document(self, path: Path) -> Any:
        """Return what a JSON file holds, which is read once."""
        if path not in self._documents:
            self._documents[path] = read(path, read_object)
        return self._documents[path]

    @cached_property
    def _documents(self) -> dict[Path, Any]:
        return {}

    # ------------------------------------------------------------------------------ how it was made

    @cached_property
    def settings(self) -> "DataFrame":
        """A row for each trial: its trial.json, with keys such as `trainer.learning_rate`.

        Of several seeds that of the first, as they differ in the seed only.
        """
        trials = [row | {"folder": row["runs"][0]} for row in self._rows() if row["runs"]]
        return self._flattened(trials, "trial.json")

    @cached_property
    def runs(self) -> "DataFrame":
        """A row for each run of a trial: its train.json, with keys such as `step_zero.loss`."""
        return self._flattened(self.each_seed._rows(), "train.json")

    @cached_property
    def scores(self) -> "DataFrame":
        """A row for each base and each run: its score.json."""
        bases = [row for row in self._rows() if row["method"] == BASE]
        return self._flattened([*bases, *self.each_seed._rows()], "score.json")

    @cached_property
    def outcomes(self) -> "DataFrame":
        """A row for each trial: its train.json over all seeds.

        Of numbers that differ the mean, of anything else what all seeds say, or None.
        """
        from pandas import DataFrame

        runs = {row["folder"]: row for row in self.runs.to_dict("records")}
        names = [it for it in self.runs.columns if it not in (*MODEL, "folder", "file")]
        found = [
            {key: row[key] for key in MODEL}
            | {name: _together([runs[run][name] for run in row["runs"]]) for name in names}
            | {"file": runs[row["runs"][0]]["file"]}
            for row in self._rows()
            if row["runs"]
        ]
        columns = [*MODEL, "file", *names]
        return DataFrame(found, columns=columns, dtype=object).astype({"seed": "Int64"})

    @cached_property
    def signs(self) -> "DataFrame":
        """A row for each sign that a run went wrong, in training and then in evaluation.

        Columns: those of a model, sign, note (whether it is only to be known), text, step (since
        when, in training), set (of prompts).
        """
        from pandas import DataFrame

        runs = self.each_seed._rows()
        found = [
            {key: row[key] for key in MODEL} | sign
            for row in runs
            for sign in self._document(self.root / row["folder"] / "train.json").get("signs", [])
        ]
        found += [
            {key: row[key] for key in MODEL} | sign
            for row in self._rows()
            if row["runs"]
            for sign in self._metrics_of(row).get("signs", [])
        ]
        columns = [*MODEL, "sign", "note", "text", "step", "set"]
        return DataFrame(found, columns=columns, dtype=object)

    def _rows(self) -> list[Row]:
        return self.done.to_dict("records")

    def _flattened(self, models: list[Row], name: str) -> "DataFrame":
        """Return a JSON file of each model's folder in a row, and the columns folder and file."""
        from pandas import DataFrame

        found = [
            _flat(self._document(self.root / row["folder"] / name))
            | {key: row[key] for key in (*MODEL, "folder")}
            | {"file": str(self.root / row["folder"] / name)}
            for row in models
        ]
        own = [*MODEL, "folder", "file"]
        names = dict.fromkeys([*own, *(name for row in found for name in row if name != "name")])
        frame = DataFrame(found, columns=list(names), dtype=object)
        return frame.astype({"seed": "Int64"})

    @cached_property
    def history(self) -> "DataFrame":
        """A row for each line of each run's history.jsonl; the columns are those of the file."""
        return self._of_runs("history.jsonl", _read_history)

    # --------------------------------------------------------------------------------------- items

    @cached_property
    def answers(self) -> "DataFrame":
        """A row for each answer of each run and base: the rows of generations.parquet."""
        return self._of_runs("generations.parquet", read_parquet, bases=True)

    @cached_property
    def items(self) -> "DataFrame":
        """A row for each item's score in a metric, of each run and base: items.parquet."""
        return self._of_runs("items.parquet", read_parquet, bases=True)

    def _of_runs(
        self, name: str, reader: Callable[[Path], "DataFrame"], bases: bool = False
    ) -> "DataFrame":
        """Return a file of every run, and of every base if asked for, one below the other."""
        from pandas import DataFrame, concat

        own = [*MODEL, "folder"]
        models = [row for row in self._rows() if bases and row["method"] == BASE]
        parts = [
            read(self.root / row["folder"] / name, reader).assign(**{key: row[key] for key in own})
            for row in [*models, *self.each_seed._rows()]
        ]
        if not parts:
            return DataFrame(columns=own)
        joined = concat(parts, ignore_index=True).astype({"seed": "Int64"})
        return joined[[*own, *(it for it in joined.columns if it not in own)]]

    # --------------------------------------------------------------------------------- comparisons

    @cached_property
    def comparisons(self) -> dict[str, Row]:
        """By experiment the file of its paired tests, for those that have trials.

        Where the base is not done, nothing of its experiment is compared.
        """
        compared = {
            part["experiment"]: self.root / "comparisons" / f"{part['experiment']}.json"
            for part in self.plan
            if any(part["trials"].values()) and f"bases/{part['experiment']}" not in self.states
        }
        return {name: self._document(path) for name, path in compared.items()}

    @cached_property
    def tests(self) -> "DataFrame":
        """A row for each paired test.

        Columns: experiment, title, and those of the file; its `interval` is in interval_low and
        interval_high, its `seeds` in seeds_a and seeds_b.
        """
        from pandas import DataFrame

        found = [
            {"experiment": name, "title": self.titles[name]}
            | {key: value for key, value in test.items() if key not in ("interval", "seeds")}
            | dict(zip(("interval_low", "interval_high"), test["interval"] or (None, None),
                       strict=True))
            | dict(zip(("seeds_a", "seeds_b"), test["seeds"], strict=True))
            for name, content in self.comparisons.items()
            for test in self._of_comparison(name, content, "tests")
        ]  # fmt: skip
        return DataFrame(found, columns=["experiment", "title", *_OF_TEST], dtype=object)

    @cached_property
    def leading(self) -> "DataFrame":
        """A row for each method, set and metric of an experiment: which trial leads, and how far.

        `apart` says whether the paired test against the runner-up shows a difference.
        """
        from pandas import DataFrame

        found = [
            {"experiment": name} | one
            for name, content in self.comparisons.items()
            for one in self._of_comparison(name, content, "leading")
        ]
        return DataFrame(found, columns=["experiment", *_OF_LEADING], dtype=object)

    def _of_comparison(self, name: str, content: Row, key: str) -> list[Row]:
        return at(content, self.root / "comparisons" / f"{name}.json", key)


_PLANNED = (
    "experiment", "title", "model", "method", "seed", "folder", "label", "seeds", "runs",
)  # fmt: skip
_OF_METRIC = ("signature", "detail")
_OF_SET = ("settings", "left_out")
_OF_TEST = [
    "kind", "method", "set", "metric", "a", "b", "value_a", "value_b", "difference", "interval_low",
    "interval_high", "p", "holm", "n", "groups", "seeds_a", "seeds_b", "test", "group_deviation",
    "shown",
]  # fmt: skip
_OF_LEADING = ["method", "set", "metric", "leading", "runner_up", "holm", "apart"]


def taken(frame: "DataFrame", *columns: str, optional: tuple[str, ...] = ()) -> "DataFrame":
    """Return columns of a frame of settings or outcomes, and those that tell its rows apart.

    Optional are those that only some methods have. Raise BadInput where a file lacks another key.
    """
    for column in columns:
        if column not in frame.columns:
            if len(frame) and column not in optional:
                raise BadInput(f"{frame['file'].iloc[0]}: has no {column}")
            frame = frame.assign(**{column: None})
        lacks = frame[frame[column].map(lambda it: isinstance(it, float) and it != it)]
        if len(lacks) and column not in optional:
            raise BadInput(f"{lacks['file'].iloc[0]}: has no {column}")
    return frame[[*MODEL, *columns]]


def one(frame: "DataFrame", **wanted: Any) -> "Series | None":
    """Return the first row that has these values, if any has."""
    for column, value in wanted.items():
        frame = frame[frame[column].isna() if value is None else frame[column] == value]
    return frame.iloc[0] if len(frame) else None


# ------------------------------------------------------------------------------------ a plan's part


def _models(part: Row) -> list[Row]:
    """Return the models of an experiment of the plan: base, trials, lookup."""
    own = {"experiment": part["experiment"], "title": part["title"]}
    found: list[tuple[str, str, str, list[str]]] = []
    if part["base"] is not None:
        found.append((BASE, part["base"], f"bases/{part['experiment']}", []))
    for method, runs in part["trials"].items():
        trials: dict[str, list[str]] = {}
        for run in runs:
            trials.setdefault(_trial(run), []).append(f"trials/{run}")
        found += [(method, name, f"trials/{name}", them) for name, them in trials.items()]
    trained = {run for runs in part["trials"].values() for run in runs}
    shown = dict.fromkeys(run for runs in part["shown"].values() for run in runs)
    found += [(SHOWN, _trial(it), f"trials/{it}", [f"trials/{it}"]) for it in shown
              if it not in trained]  # fmt: skip
    if part["lookup"] is not None:
        found.append((LOOKUP, LOOKUP, f"baselines/{part['lookup']}", []))
    return [
        own
        | {"method": method, "model": name, "folder": folder, "runs": runs}
        | {"label": LOOKUP_LABEL if method == LOOKUP else name, "seeds": list(map(_seed, runs))}
        for method, name, folder, runs in found
    ]


def _trial(run: str) -> str:
    return run.rsplit("/", 1)[0]


def _seed(run: str) -> int:
    return int(run.rsplit("/seed-", 1)[1])


def _explained(folder: Path, state: State) -> State:
    """Return a state with the reason of a failure."""
    if state.word != FAILED:
        return state
    if state.start:
        return State(state.word, start_failed(state.start), state.start)
    place = folder / "work" / "failed.json"
    return State(state.word, one_line(at(read(place, read_json), place, "reason")))


# ------------------------------------------------------------------------------------------- files


def _flat(content: Row, above: str = "") -> Row:
    """Return nested dictionaries as one, with dots between keys."""
    found: Row = {}
    for key, value in content.items():
        nested = isinstance(value, dict) and value
        found |= _flat(value, f"{above}{key}.") if nested else {f"{above}{key}": value}
    return found


def _read_history(path: Path) -> "DataFrame":
    from pandas import DataFrame

    return DataFrame(read_jsonl(path))


def _together(values: Sequence[Any]) -> Any:
    """Return what seeds say as one: the same if all say it, the mean of numbers, else None."""
    first, *others = values
    if all(value == first for value in others):
        return first
    numbers = all(isinstance(value, (int, float)) for value in values)
    return fmean(values) if numbers else None
