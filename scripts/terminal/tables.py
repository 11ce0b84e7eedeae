"""Prints a run's tables to the terminal and says where tables, figures and the page lie.

python -m scripts.terminal.tables results/demo
"""

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput, run
from scripts.provenance.record import SUFFIX

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid

Row = dict[str, str]

# What a terminal has room for; the files hold every column.
COLUMNS = {
    "sft": ("trial", "seeds", "r", "held_out_loss", "set", "exact_match"),
    "dpo": ("trial", "seeds", "r", "preference_loss", "preference_accuracy"),
}


def main(argv: list[str] | None = None) -> int:
    """Prints; returns 0. Raises BadInput where the folder holds no tables."""
    parser = argparse.ArgumentParser(prog="python -m scripts.terminal.tables", description=__doc__)
    parser.add_argument("results", type=Path, help="the results folder")
    folder = parser.parse_args(argv).results
    tables = sorted((folder / "tables").glob("*.csv"))
    if not tables:
        raise BadInput(f"{folder}/tables: no tables; a finished run makes them")

    from scripts.terminal.console import terminal

    console = terminal()
    for path in tables:
        if path.stem in COLUMNS:
            console.print(path.with_suffix(".md"), soft_wrap=True)
            console.print(grid(path))
    show_places(console, folder)
    return 0


def grid(path: Path) -> "Grid":
    """Returns a table of the columns that matter most, each figure with its interval."""
    from rich import box
    from rich.table import Table as Grid

    with open(path, encoding="utf-8", newline="") as lines:
        rows = telling(list(csv.DictReader(lines)), COLUMNS[path.stem][-1])
    columns = [name for name in COLUMNS[path.stem] if any(name in row for row in rows)]
    mark = next((row["mark"] for row in rows if row.get("mark")), None)
    table = Grid(box=box.SIMPLE_HEAD, title=mark)
    for name in columns:
        justify = "left" if name in ("trial", "set") else "right"
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*(cell(row, name) for name in columns))
    return table


def telling(rows: list[Row], figure: str) -> list[Row]:
    """Returns the rows less those without a figure that another row of the same trial has."""
    having = {row["trial"] for row in rows if row.get(figure)}
    return [row for row in rows if row.get(figure) or row["trial"] not in having]


def cell(row: Row, name: str) -> str:
    """Returns a figure rounded, with its first interval in brackets, or the text as it is."""
    bounds = [
        float(text)
        for key, text in row.items()
        if key.startswith(f"{name}_") and key.endswith(("_low", "_high")) and text
    ]
    if bounds:
        return f"{float(row[name]):.2f} [{bounds[0]:.2f}, {bounds[1]:.2f}]"
    return rounded(row[name]) or "–"


def rounded(text: str) -> str:
    """Returns a decimal number with two decimals, small ones as they are, else the text."""
    try:
        value = float(text)
    except ValueError:
        return text
    return text if value == int(value) or abs(value) < 0.01 else f"{value:.2f}"


def show_places(console: "Console", folder: Path) -> None:
    """Prints the folders of tables and figures with what is in them, and the page."""
    for kind in ("tables", "figures"):
        files = [path for path in (folder / kind).iterdir() if not path.name.endswith(SUFFIX)]
        names = sorted({path.stem for path in files})
        forms = sorted({path.suffix[1:] for path in files})
        where = f"{folder / kind}/: {', '.join(names)} ({', '.join(forms)})"
        console.print(where, soft_wrap=True)
    page = folder / "report.html"
    if page.exists():
        console.print(f"{page}: all of it in one page, with every answer", soft_wrap=True)


if __name__ == "__main__":
    run(main)
