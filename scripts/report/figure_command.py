"""What the command line of every figure does."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.files import write_text
from scripts.report.arguments import parser, results_of
from scripts.report.headline import leading
from scripts.report.notes import seed_note, version_notes
from scripts.report.results import Results
from scripts.report.style import mark, save, use_style
from scripts.report.text import markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


def write_figure(
    description: str,
    frame: "Callable[[Results], DataFrame]",
    draw: "Callable[[DataFrame], Figure]",
    notes: "Callable[[Results], list[str]]" = lambda results: [],
    argv: list[str] | None = None,
    every_trial: bool = False,
) -> int:
    """Write a figure as PDF and PNG, and its caption as Markdown; return 0.

    Raise BadInput, and write nothing, if a file of the plan is missing or unreadable.

    Parameters
    ----------
    description
        What the command line does; its first sentence is the figure's title.
    frame, draw
        What makes a tidy frame of the results, and what draws that frame.
    notes
        What a reader must know of the metrics that are drawn.
    every_trial
        Draw any number of trials; otherwise of very many the leading ones.
    """
    options = parser(description)
    for form in ("pdf", "png"):
        options.add_argument(f"--{form}", type=Path, required=True, help=f"the {form} to write")
    options.add_argument("--md", type=Path, help="the caption to write")
    arguments = options.parse_args(argv)
    use_style()
    results = results_of(arguments)
    results, left_out = (results, []) if every_trial else leading(results)
    figure = draw(frame(results))
    title = " — ".join(filter(None, (arguments.mark, _title(description))))
    texts = [
        *left_out,
        *notes(results),
        seed_note(results.models),
        *version_notes(results, results.models),
    ]
    if arguments.mark:
        mark(figure, arguments.mark)
    save(figure, arguments.pdf, arguments.png, title)
    if arguments.md:
        lines = [f"**{markdown(title)}**", "", *(f"- {markdown(text)}" for text in texts)]
        write_text(arguments.md, "\n".join([*lines, ""]))
    return 0


def _title(description: str) -> str:
    """Return the first paragraph on one line."""
    return " ".join(description.split("\n\n")[0].split())
