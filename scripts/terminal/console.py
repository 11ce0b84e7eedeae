"""The terminal that tables are printed to."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

WIDTH = 100


def terminal(**options: Any) -> "Console":
    """Returns the terminal, or, where the output goes into a file, one of a hundred columns."""
    from rich.console import Console

    console = Console(**options)
    return console if console.is_terminal else Console(width=WIDTH, **options)
