"""What a figure's command line does; apart from a table's, which a new style must not remake."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from scripts.report.command import parse, planned
from scripts.report.read import Subject
from scripts.report.style import mark, save, use_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figure(
    draw: Callable[[list[Subject]], "Figure"], description: str, argv: list[str] | None
) -> int:
    """Draws a figure and writes it as PDF and PNG; returns 0.

    Raises BadInput, and writes nothing, if a file of the plan is missing or unreadable.
    """
    arguments = parse(description, ("pdf", "png"), argv)
    use_style()
    figure = draw(planned(arguments))
    if arguments.mark:
        mark(figure, arguments.mark)
    save(figure, arguments.pdf, arguments.png)
    return 0
