"""One cell of a table: which metric of which models it shows, and the rows it was computed from."""

import csv
import glob
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows
from scripts.common.metrics import METRICS
from scripts.provenance.record import Job, Part, maker

Row = dict[str, str]

KEYS = (
    "experiment", "trial", "method", "seed", "set", "metric", "a", "b", "our_trial", "protocol",
    "kind", "interval_method", "id",
)  # fmt: skip
"""The columns that distinguish the rows of a table."""
MODELS = ("trial", "a", "b", "our_trial")
"""The columns that name a model."""
VALUES = ("value", "difference", "value_a")
"""The column with the value, in tables that have one row per metric."""
SUFFIXES = (
    "_sd", "_n", "_groups", "_best", "_wilson_low", "_wilson_high", "_group_bootstrap_low",
    "_group_bootstrap_high",
)  # fmt: skip
"""What follows a metric's name in the names of its other columns."""
KINDS = {"demonstrations": "completions", "pairs": "pairs", "answers": "sets"}
"""What `read` in metrics.json calls the rows of a metric, by the metric's home."""
SCORED = {
    "completions.parquet": "completions",
    "pairs.parquet": "pairs",
    "generations.parquet": "sets",
    "verdicts.parquet": "sets",
}
"""Files that `measure` reads from a model's own folder, by the kind of rows that they score."""


@dataclass(frozen=True)
class Behind:
    """The items from which a model's metric was computed."""

    file: str
    """The canonical rows, relative to the results."""
    ids: list[str]
    groups: list[str]
    """The group of each item."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    row: Row
    column: str
    metric: str | None
    """The metric's name; None for a setting, or for what training or scoring took."""
    models: dict[str, Part]
    """The metrics.json of each model of the row, by the model's folder in the results."""
    results: Path

    @property
    def label(self) -> str:
        """The columns that distinguish its row, with their values."""
        return _label(self.row, KEYS)

    @property
    def kind(self) -> str | None:
        """The kind of rows that the metric was computed from, as `read` names it."""
        if self.metric is None:
            return None
        sets = [
            model.get("sets", {}).get(self.row.get("set"), {}) for model in self.models.values()
        ]
        in_set = any(self.metric in answers.get("metrics", {}) for answers in sets)
        return "sets" if in_set else KINDS[METRICS[self.metric].home]

    @property
    def set(self) -> str | None:
        """The set of prompts whose answers the metric is of; a row may name one without need."""
        return self.row.get("set") if self.kind == "sets" else None

    @property
    def read(self) -> dict[str, str]:
        """The canonical rows behind the metric, relative to the results, by the model's folder."""
        found = {folder: _read(model, self.kind, self.set) for folder, model in self.models.items()}
        return {folder: file for folder, file in found.items() if file}

    def leads_to(self, job: Job, part: Part) -> bool:
        """Return True if the path from the cell to its sources goes through an input of a job."""
        file = part["file"]
        if job.rule == "table" and self.row.get("a"):
            return file.endswith(f"comparisons/{self.row['experiment']}.json")
        if job.rule in ("table", "compare"):
            return self._is_of_models(file)
        if job.rule not in ("measure", "score") or self.metric is None:
            return True
        rows = set(self.read.values())
        if file.startswith("tokens/"):
            tokenized = job.maker(part)
            made_from = {it["file"] for it in tokenized.inputs} if tokenized else rows
            return any(it in made_from and Path(it).name == Path(file).name for it in rows)
        if file.startswith("references/"):
            return self.kind == "pairs"
        if job.rule == "score":
            return True
        overlaps = {_read(model, "overlaps", self.set) for model in self.models.values()}
        return SCORED.get(Path(file).name) == self.kind or file in rows | overlaps

    def _is_of_models(self, file: str) -> bool:
        """Return True if a file belongs to one of the models and may hold the value."""
        # The names of published files begin with the folder that they were published in.
        if not any(f"/{folder}/" in f"/{file}" for folder in self.models):
            return False
        measured = Path(file).name in ("metrics.json", "items.parquet", "generations.parquet")
        return measured == (self.metric is not None)

    def behind(self) -> list[Behind]:
        """Return the items behind the metric of each model; those that seeds share, once."""
        found: list[Behind] = []
        for folder, file in self.read.items():
            path = self.results / folder / "items.parquet"
            every = read_rows(path) if path.is_file() else []
            every = [row for row in every if row["set"] == self.set]
            rows = [row for row in every if row["metric"] == self.metric]
            if not rows:
                # A metric of a whole set, such as BLEU, has no score for each item.
                rows = [row for row in every if KINDS[METRICS[row["metric"]].home] == self.kind]
            groups = {row["id"]: row["group"] for row in rows}
            behind = Behind(file, list(groups), list(groups.values()))
            if groups and behind not in found:
                found.append(behind)
        return found


def find_cell(table: Path, row: str, column: str) -> Cell:
    """Return the cell that a row and a column name.

    Parameters
    ----------
    table
        The table's CSV file.
    row
        A trial, and where that is not enough an experiment, a set, a seed, …, in any order.
    column
        A column of the CSV, or a metric if the table has one row per metric. Spaces and capitals do
        not matter.

    Raises
    ------
    BadInput
        If there is no such cell, or more than one; the message lists those that exist.
    """
    job = maker(table)
    if job is None:
        raise BadInput(f"{table}: no provenance beside it names it")
    rows, name = _in_column(table, _rows_of(table), column)
    found = [one for one in rows if _is_named(one, row)]
    if not found:
        allowed = dict.fromkeys(_label(one, ("experiment", *MODELS)) for one in rows)
        raise BadInput(f"{table}: has no row {row!r} in {column!r}; allowed: {'; '.join(allowed)}")
    results = _results_of(job)
    cells = [_cell(one, name, results) for one in found]
    if len({(cell.row.get(name), tuple(cell.models), cell.set) for cell in cells}) > 1:
        several = "; ".join(dict.fromkeys(_label(one, KEYS) for one in found))
        raise BadInput(f"{table}: {row!r} is more than one row; say which of: {several}")
    return cells[0]


def _rows_of(table: Path) -> list[Row]:
    if table.suffix != ".csv":
        raise BadInput(f"{table}: only a table's CSV has cells")
    with open(table, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        raise BadInput(f"{table}: has no rows")
    return rows


def _in_column(table: Path, rows: list[Row], column: str) -> tuple[list[Row], str]:
    """Return the rows that have the column, and its name in the CSV."""
    wanted = _plain(column)
    named = {_plain(name): name for name in rows[0]}
    if wanted in named:
        return rows, named[wanted]
    value = next((name for name in VALUES if name in rows[0]), None)
    chosen = [row for row in rows if value and _plain(row.get("metric", "")) == wanted]
    if value and chosen:
        return chosen, value
    metrics = dict.fromkeys(row["metric"] for row in rows if value and row.get("metric"))
    allowed = [name for name in rows[0] if name not in KEYS and not name.endswith(SUFFIXES)]
    raise BadInput(f"{table}: has no column {column!r}; allowed: {', '.join([*metrics, *allowed])}")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _is_named(row: Row, words: str) -> bool:
    """Return True if each word is a value of the row, or the name of a column, among `KEYS`."""
    values = [row[name] for name in KEYS if row.get(name)]
    names = {_plain(word) for value in values for word in value.split()}
    names |= {f"seed_{row['seed']}"} if row.get("seed") else set()
    asked = [_plain(word) for word in re.split(r"[\s,;/=:]+", words) if _plain(word)]
    return all(word in names or word in KEYS for word in asked)


def _label(row: Row, names: tuple[str, ...]) -> str:
    return " ".join(f"{name} {row[name]}" for name in names if row.get(name))


def _cell(row: Row, column: str, results: Path) -> Cell:
    models = dict(_models_of(row, results))
    if not models:
        raise BadInput(f"{results}: has no metrics.json of the row {_label(row, KEYS)}")
    places = [it for model in models.values() for it in (model, *model.get("sets", {}).values())]
    known = {name for place in places for name in place.get("metrics", {})}
    if row.get("metric"):
        metric = row["metric"]
    else:
        begins = [name for name in known if column == name or column.startswith(f"{name}_")]
        metric = max(begins, key=len, default="")
    return Cell(row, column, metric if metric in known else None, models, results)


def _models_of(row: Row, results: Path) -> Iterator[tuple[str, Part]]:
    """Yield the folder and metrics.json of each model of a row.

    A trial has its own folder, in which its seeds are aggregated, and one for each seed.
    """
    experiment, seed = row.get("experiment"), row.get("seed")
    for name in dict.fromkeys(row[column] for column in MODELS if row.get(column)):
        trial = f"trials/{glob.escape(name)}"
        runs = f"{trial}/seed-{seed or '*'}"
        found = list(_measured(results, trial, runs)) or list(_measured(results, "bases/*"))
        for folder, model in found:
            if model["name"] == name and experiment in (None, model["experiment"]):
                yield folder, model
        for folder, model in _measured(results, "baselines/*"):
            # A baseline belongs to every experiment whose models are scored on its pairs.
            if model["name"] == name and _pairs_of(experiment, results) == _read(model, "pairs"):
                yield folder, model


def _measured(results: Path, *folders: str) -> Iterator[tuple[str, Part]]:
    for pattern in folders:
        for path in sorted(results.glob(f"{pattern}/metrics.json")):
            yield path.parent.relative_to(results).as_posix(), read_json(path)


def _pairs_of(experiment: str | None, results: Path) -> str | None:
    """Return the canonical rows of the pairs on which an experiment's models are scored."""
    models = (model for _, model in _measured(results, "bases/*", "trials/*/seed-*"))
    own = (_read(model, "pairs") for model in models if model["experiment"] == experiment)
    return next(filter(None, own), None)


def _read(model: Part, kind: str | None, set_name: str | None = None) -> str | None:
    """Return the rows of a kind that a model's metrics were computed from, or None."""
    found = model.get("read", {}).get(kind)
    return found.get(set_name) if isinstance(found, dict) else found


def _results_of(job: Job) -> Path:
    """Return the results that a table was made from; those of a published run lie elsewhere."""
    for part in job.inputs:
        path = str(job.at(part))
        found = re.match(r"(.*)/(trials|bases|baselines|comparisons)/", path)
        if found:
            return Path(found[1])
    return Path(job.results)
