"""What `prefmake tables` prints: a run's main tables, and where everything else lies."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.common.files import damaged
from scripts.common.methods import METHODS
from scripts.common.metrics import METRICS
from scripts.provenance.record import SUFFIX
from scripts.terminal.console import grid, terminal

if TYPE_CHECKING:
    from rich.table import Table

Row = dict[str, str]

WORDS = ("trial", "set")
SETTINGS = ("trial", "seeds", "r")
MOST = 2
"""Metrics that a terminal has room for; the files hold all."""


def show(results: Path) -> None:
    """Print each method's table, its first metrics only. Raise BadInput where there is none."""
    tables = [path for name in METHODS if (path := results / f"tables/{name}.csv").is_file()]
    if not tables:
        raise BadInput(f"{results}/tables: no tables; a finished run makes them")
    console = terminal()
    for path in tables:
        try:
            table = main_columns(path)
        except KeyError as error:
            raise damaged(path, f"no column {error.args[0]}") from None
        except ValueError as error:
            raise damaged(path, error) from None
        console.print(path.with_suffix(".md"), soft_wrap=True)
        console.print(table)
    for kind in ("tables", "figures"):
        files = [it for it in (results / kind).glob("*.*") if not it.name.endswith(SUFFIX)]
        names, forms = sorted({it.stem for it in files}), sorted({it.suffix[1:] for it in files})
        console.print(f"{results / kind}/: {', '.join(names)} ({', '.join(forms)})", soft_wrap=True)
    if (page := results / "report.html").is_file():
        console.print(f"{page}: all of it in one page, with every answer", soft_wrap=True)


def main_columns(path: Path) -> "Table":
    """Return a method's table with its first metrics only."""
    with open(path, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    present = dict.fromkeys(name for row in rows for name in row)
    # One that has no direction describes a model and does not say how good it is.
    ranked = [it for it in METRICS.values() if it.higher_is_better is not None]
    names = [it.name for it in ranked if it.home != "training" and it.name in present][:MOST]
    of_answers = [place for place, name in enumerate(names) if METRICS[name].home == "answers"]
    if of_answers:
        names.insert(of_answers[0], "set")
    mark = next((row["mark"] for row in rows if row.get("mark")), None)
    columns = (*SETTINGS, *names)
    table = grid([name.replace("_", " ") for name in columns], WORDS, mark)
    for row in telling(rows, names):
        table.add_row(*(cell(row, name) for name in columns))
    return table


def telling(rows: list[Row], names: list[str]) -> list[Row]:
    """Return the rows less those without the last metric that another row of their trial has."""
    last = names[-1] if names else ""
    having = {row["trial"] for row in rows if row.get(last)}
    return [row for row in rows if row.get(last) or row["trial"] not in having]


def cell(row: Row, name: str) -> str:
    """Return a metric with its first interval, or the text of a setting."""
    text = row.get(name) or "–"
    if name not in METRICS or text == "–":
        return text
    sides = [key for key in row if key.startswith(f"{name}_") and key.endswith(("_low", "_high"))]
    bounds = [f"{float(row[key]):.2f}" for key in sides if row[key]][:2]
    return f"{float(text):.2f}" + (f" [{', '.join(bounds)}]" if bounds else "")
