"""The terminal that pages are printed to, and the look of their tables."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
"""The columns of a page that goes into a file or a pipe."""


def terminal() -> "Console":
    """Return the terminal, or, where the output goes into a file, one of `WIDTH` columns."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=WIDTH, highlight=False)


def grid(columns: Iterable[str], words: Iterable[str] = (), title: str | None = None) -> "Table":
    """Return an empty table: words stand on the left and may be folded, numbers on the right."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for name in columns:
        if name in words:
            table.add_column(name, overflow="fold")
        else:
            table.add_column(name, justify="right", no_wrap=True)
    return table


def number(value: float | None, form: str) -> str:
    """Return a number in a format of Python's, or a dash where there is none."""
    return "–" if value is None else format(value, form)
