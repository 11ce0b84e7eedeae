"""The terminal that pages are printed to, and the look of their tables."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scripts.common.cli import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 100
"""The columns of a page that goes into a file or a pipe."""


def terminal(width: int = WIDTH) -> "Console":
    """Return the terminal, or, where the output goes into a file, one of so many columns.

    Texts are printed as they are, without markup. Their control characters, which could move the
    cursor, turn text around or make the terminal answer, are printed as escapes.
    """
    from rich.console import Console
    from rich.segment import Segment

    class Terminal(Console):
        def render(self, *words: Any, **options: Any) -> Iterable[Segment]:
            for text, style, control in super().render(*words, **options):
                yield Segment(text if control else printable(text), style, control)

    plain: Any = {"highlight": False, "markup": False, "emoji": False}
    console = Terminal(**plain)
    return console if console.is_terminal else Terminal(width=width, **plain)


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
