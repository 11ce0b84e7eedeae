"""What a figure's command line does; apart from a table's, which a new style must not remake."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from scripts.common.files import write_text
from scripts.report.caption import caption_of
from scripts.report.command import parse, planned
from scripts.report.headline import leading
from scripts.report.read import Subject
from scripts.report.style import mark, save, use_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def no_notes(subjects: list[Subject]) -> list[str]:
    """Returns nothing: a figure's seeds and versions are stated without its notes."""
    return []


def write_figure(
    draw: Callable[[list[Subject]], "Figure"],
    description: str,
    argv: list[str] | None,
    notes: Callable[[list[Subject]], list[str]] = no_notes,
    every_trial: bool = False,
) -> int:
    """Draws a figure and writes it as PDF and PNG, and its caption as Markdown; returns 0.

    Raises BadInput, and writes nothing, if a file of the plan is missing or unreadable.

    Parameters
    ----------
    description
        What the command line does; its first sentence says what the figure shows.
    notes
        What a reader must know of the figures that are drawn.
    every_trial
        Whether any number of trials can be drawn; else of very many the leading ones are.
    """
    arguments = parse(description, ("pdf", "png"), argv, optional=["md"])
    use_style()
    subjects = planned(arguments)
    subjects, left_out = (subjects, []) if every_trial else leading(subjects)
    figure = draw(subjects)
    texts = [*left_out, *notes(subjects)]
    caption = caption_of(description, subjects, texts, arguments.mark)
    if arguments.mark:
        mark(figure, arguments.mark)
    save(figure, arguments.pdf, arguments.png, caption.title)
    if arguments.md:
        write_text(arguments.md, caption.text())
    return 0
