"""The figure of before and after: a row for each model of an experiment, a panel for each figure.

    python -m scripts.report.before_after --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf before_after.pdf --png before_after.png
"""

from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.report.figure_command import write_figure
from scripts.report.read import Subject, by_experiment
from scripts.report.style import (
    ROW,
    axis_label,
    canvas,
    draw_rows,
    empty,
    mark,
    names_of,
    row_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

FIGURES = ("held_out_loss", "exact_match", "bleu", "stop_rate")


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    panels = [
        members
        for members in by_experiment(subjects).values()
        if any(_has(subject, key) for subject in members for key in FIGURES)
    ]
    if not panels:
        return empty("No model has a held-out loss or generations.")
    drawn = [subject for members in panels for subject in members]
    keys = [key for key in FIGURES if any(_has(subject, key) for subject in drawn)]
    sizes = [len(members) + 0.6 for members in panels]
    figure = canvas(0.6 + sum(ROW * size + 0.85 for size in sizes))
    grid = figure.subplots(len(panels), len(keys), squeeze=False, height_ratios=sizes)
    lines = []
    for row, members in zip(grid, panels, strict=True):
        for axes, key in zip(row, keys, strict=True):
            lines += _mark_base(axes, members, key)
            _draw_panel(axes, members, key)
        row[0].set_yticklabels(names_of(members))
        row[0].set_title(members[0].title)
    row_legend(figure, drawn, *lines[:1])
    return figure


def _has(subject: Subject, key: str) -> bool:
    return subject.figure(key).value is not None


def _mark_base(axes: "Axes", members: list[Subject], key: str) -> list["Line2D"]:
    return [
        mark(axes, member.figure(key).value, "base's value")
        for member in members
        if member.method == "base" and _has(member, key)
    ]


def _draw_panel(axes: "Axes", members: list[Subject], key: str) -> None:
    draw_rows(axes, members, key)
    axes.set_yticklabels([])
    axes.set_xlabel(axis_label(key, [subject.figure(key) for subject in members]))
    if any(_has(subject, key) for subject in members):
        axes.locator_params(axis="x", nbins=4)
    else:
        axes.set_xticks([])


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG; returns 0."""
    return write_figure(draw, __doc__, argv)


if __name__ == "__main__":
    run(main)
