"""One cell of a table: where its value stands, and the rows that it was computed from."""

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows
from scripts.provenance.chain import Job, maker_of
from scripts.provenance.record import Part

Row = dict[str, str]

NAMES = (
    "experiment", "trial", "method", "seed", "set", "figure", "a", "b", "our_trial", "protocol",
    "kind", "interval_method", "id",
)  # fmt: skip
"""The columns that tell one row of a table from another."""
SUBJECTS = ("trial", "a", "b", "our_trial")
"""Those that name a model."""
VALUES = ("value", "difference", "value_a")
"""Where the value stands in a table that has a row for each figure."""
OF_COMPLETIONS = ("held_out_loss", "perplexity")
KINDS = {
    "completions": ("--completions", "--completions-rows"),
    "pairs": ("--pairs", "--pairs-rows", "--reference"),
    "sets": ("--generations", "--sets-rows", "--overlaps", "--verdicts", "--prompts"),
}
"""Which options of scoring and measuring name the files of figures of each kind."""
OF_ALL = {"completions": "held_out_loss", "pairs": "policy_accuracy", "sets": "stop_rate"}
"""Of each kind a figure that has a score for every item."""
EACH_SET = {"--sets-rows": "--sets", "--prompts": "--generate"}
"""Options with a file for each set of prompts, and those that name the sets in the same order."""
OF_VALUES = (
    "_sd", "_n", "_groups", "_best", "_wilson_low", "_wilson_high", "_group_bootstrap_low",
    "_group_bootstrap_high",
)  # fmt: skip
"""What stands behind a figure's name in further columns of it."""


@dataclass(frozen=True)
class Behind:
    """The items that a figure of one model is computed from."""

    file: str
    """The canonical rows, relative to the results."""
    ids: list[str]
    groups: list[str]
    """The group of each."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    table: str
    row: Row
    column: str
    figure: str | None
    """The figure in metrics.json; None of a setting, or of what training or scoring took."""
    folders: list[str]
    """The folders of the models of its row, relative to the results."""
    results: Path = field(default_factory=Path)
    """What these are relative to."""

    @property
    def set(self) -> str | None:
        """The set of prompts that its figure belongs to."""
        return self.row.get("set") or None

    @property
    def called(self) -> str:
        """What tells its row from the others."""
        return _called(self.row, NAMES)

    @property
    def kind(self) -> str:
        """Of which rows its figure is."""
        if self.set and self.figure in _figures(self.results, self.folders, self.set):
            return "sets"
        return "completions" if self.figure in OF_COMPLETIONS else "pairs"

    def leads_to(self, job: Job, part: Part) -> bool:
        """Tells whether the cell's path goes through an input of a job."""
        if job.rule == "table" and self.row.get("a"):
            return part["file"].endswith(f"comparisons/{self.row['experiment']}.json")
        if job.rule in ("table", "compare"):
            return self._is_of_row(part["file"])
        if job.rule not in ("score", "measure") or self.figure is None:
            return True
        every = [word for it in KINDS.values() for option in it for word in job.given(option)]
        return _is_among(part, self._own_words(job)) or not _is_among(part, every)

    def _own_words(self, job: Job) -> list[str]:
        """Returns the files of the figure's kind, and set, that a job was given."""
        found = []
        for option in KINDS[self.kind]:
            words = job.given(option)
            if option in EACH_SET:
                sets = list(json.loads("".join(job.given(EACH_SET[option])) or "{}"))
                words = [word for name, word in zip(sets, words, strict=True) if name == self.set]
            found += words
        return found

    def _is_of_row(self, file: str) -> bool:
        """Tells whether a file belongs to the row's models and to the kind of the value."""
        # Of what was published, the name begins with the folder that it lies in.
        if not any(f"/{folder}/" in f"/{file}" for folder in self.folders):
            return False
        name = file.rsplit("/", 1)[1]
        of_figures = name in ("metrics.json", "items.parquet", "generations.parquet")
        return of_figures == (self.figure is not None)

    def behind(self) -> list[Behind]:
        """Returns the items of each model's figure; of several seeds, which share them, once."""
        found = []
        for folder in self.folders:
            path = self.results / folder / "items.parquet"
            if self.figure is None or not path.is_file():
                continue
            own = self.set if self.kind == "sets" else None
            every = [row for row in read_rows(path) if row["set"] == own]
            # A figure of the whole, as BLEU, has no score of its own for an item.
            rows = [row for row in every if row["figure"] == self.figure] or [
                row for row in every if row["figure"] == OF_ALL[self.kind]
            ]
            ids, groups = [row["id"] for row in rows], [row["group"] for row in rows]
            one = Behind(_rows_file(path, self.kind, own), ids, groups)
            if rows and one not in found:
                found.append(one)
        return found


def find_cell(table: Path, row: str, column: str) -> Cell:
    """Returns the cell of a table that row and column name.

    Parameters
    ----------
    table
        The table's CSV file.
    row
        What tells the row from others: a trial, and where that is not enough a set, a seed, …
    column
        A column of the CSV, or a figure where the table has a row for each; spaces and capitals
        make no difference.

    Raises
    ------
    BadInput
        When there is no such cell, or more than one; it says which there are.
    """
    rows = _read(table)
    rows, name = _in_column(table, rows, column)
    found = [one for one in rows if _is_named(one, row)]
    if not found:
        allowed = dict.fromkeys(_called(one, ("experiment", *SUBJECTS)) for one in rows)
        raise BadInput(f"{table}: has no row {row!r} in {column!r}; allowed: {'; '.join(allowed)}")
    job = maker_of(table)
    if job is None:
        raise BadInput(f"{table}: no provenance beside it names it")
    cells = [_cell(table, one, name, job) for one in found]
    if len({(cell.row.get(name), tuple(cell.folders), _set_of(cell)) for cell in cells}) > 1:
        several = "; ".join(dict.fromkeys(_called(one, NAMES) for one in found))
        raise BadInput(f"{table}: {row!r} is more than one row; say which of: {several}")
    return cells[0]


def _is_among(part: Part, words: list[str]) -> bool:
    """Tells whether a file is one of those that a command names."""
    return any(f"/{word}".endswith(f"/{part['file']}") for word in words)


def _set_of(cell: Cell) -> str | None:
    """Returns the set that a cell's value belongs to, which its row may name without need."""
    return cell.set if cell.figure and cell.kind == "sets" else None


def _read(table: Path) -> list[Row]:
    if table.suffix != ".csv":
        raise BadInput(f"{table}: only a table's CSV has cells")
    with open(table, encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _in_column(table: Path, rows: list[Row], column: str) -> tuple[list[Row], str]:
    """Returns the rows that have the column, and what the CSV calls it."""
    if not rows:
        raise BadInput(f"{table}: has no rows")
    wanted = _plain(column)
    named = {_plain(name): name for name in rows[0]}
    if wanted in named:
        return rows, named[wanted]
    value = next((name for name in VALUES if name in rows[0]), None)
    chosen = [row for row in rows if value and _plain(row.get("figure", "")) == wanted]
    if chosen:
        return chosen, value
    figures = dict.fromkeys(row["figure"] for row in rows if value and row.get("figure"))
    allowed = [name for name in rows[0] if name not in NAMES and not name.endswith(OF_VALUES)]
    raise BadInput(f"{table}: has no column {column!r}; allowed: {', '.join([*figures, *allowed])}")


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _is_named(row: Row, words: str) -> bool:
    """Tells whether each word is one of the names of a row; those of columns say nothing."""
    values = [row[name] for name in NAMES if row.get(name)]
    names = {_plain(word) for value in values for word in value.split()}
    names |= {f"seed_{row['seed']}"} if row.get("seed") else set()
    asked = [_plain(word) for word in re.split(r"[\s,;/=:]+", words) if _plain(word)]
    return all(word in names or word in NAMES for word in asked)


def _called(row: Row, names: tuple[str, ...]) -> str:
    return " ".join(f"{name} {row[name]}" for name in names if row.get(name))


def _cell(table: Path, row: Row, column: str, job: Job) -> Cell:
    folders, results = _folders(row, job)
    sets = [name for name in (row.get("set"), None) if name or name is None]
    known = {key for name in sets for key in _figures(results, folders, name)}
    figure = row.get("figure") or next(
        (
            key
            for key in sorted(known, key=len, reverse=True)
            if column == key or column.startswith(f"{key}_")
        ),
        None,
    )
    return Cell(table.name, row, column, figure if figure in known else None, folders, results)


def _folders(row: Row, job: Job) -> tuple[list[str], Path]:
    """Returns the folders of a row's models, and the results that they lie in.

    A trial's own folder, where its seeds are put together, and that of each seed.
    """
    plan = json.loads(" ".join(job.given("--plan")) or "[]")
    names = [row[name] for name in SUBJECTS if row.get(name)]
    found: list[str] = []
    for part in plan:
        if part["experiment"] != row.get("experiment", part["experiment"]):
            continue
        runs = [
            run for those in (*part["trials"].values(), *part["shown"].values()) for run in those
        ]
        for name in names:
            of_trial = [it for it in runs if it.split("/")[0] == name]
            if row.get("seed"):
                of_trial = [it for it in of_trial if it.endswith(f"/seed-{row['seed']}")]
            found += [f"trials/{name}", *(f"trials/{it}" for it in of_trial)] if of_trial else []
            if name == "lookup" and part["lookup"]:
                found.append(f"baselines/{part['lookup']}")
            elif name == part["base"] and not of_trial:
                found.append(f"bases/{part['experiment']}")
    if not found:
        raise BadInput(f"{job.path}: its plan names no model of the row {_called(row, NAMES)}")
    first = next(
        part for part in job.inputs if any(f"{folder}/" in part["file"] for folder in found)
    )
    # Of what was published, the files lie elsewhere than the table's own results.
    path = job.at(first)
    folder = next(folder for folder in found if f"{folder}/" in first["file"])
    return list(dict.fromkeys(found)), Path(str(path).split(f"{folder}/")[0])


def _figures(results: Path, folders: list[str], set_name: str | None) -> dict[str, Any]:
    """Returns the figures of the first of the models that has any."""
    for folder in folders:
        path = results / folder / "metrics.json"
        if path.is_file():
            metrics = read_json(path)
            place = metrics if set_name is None else metrics.get("sets", {}).get(set_name, {})
            return place.get("figures", {})
    return {}


def _rows_file(items: Path, kind: str, set_name: str | None) -> str:
    """Returns the canonical rows behind items, as the command that measured them names them."""
    job = maker_of(items)
    if job is None:
        return "unknown rows: no provenance"
    if job.rule == "lookup":
        return _relative(job, job.given("--test")[0])
    if kind != "sets":
        return _relative(job, job.given(KINDS[kind][1])[0])
    names = list(json.loads(job.given("--sets")[0]))
    return _relative(job, job.given("--sets-rows")[names.index(set_name)])


def _relative(job: Job, word: str) -> str:
    """Returns a file that a command names, relative to the results."""
    return next(part["file"] for part in job.inputs if _is_among(part, [word]))
