"""The figure of before and after: a row for each model of an experiment, a panel for each figure.

A figure of answers has a panel for each set of prompts.

    python -m scripts.report.before_after --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf before_after.pdf --png before_after.png --md before_after.md
"""

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.report.columns import METHOD_NOTES, Line, figure_notes, set_notes, sets_with
from scripts.report.figure_command import write_figure
from scripts.report.read import BY_GROUP, WILSON, Figure, Subject, by_experiment
from scripts.report.style import (
    ROW,
    axis_label,
    canvas,
    draw_rows,
    empty,
    guide,
    names_of,
    row_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

OWN, KNOWN, ANSWERED = "held_out_loss", ("exact_match", "bleu"), "stop_rate"
"""The figures of a model, of a set of prompts with known answers, and of any set."""
ACROSS = 5
"""So many panels stand beside each other at most."""
DECORATION = 0.95
"""Inches that the title and the labels of a row of panels take."""


@dataclass(frozen=True)
class Panel:
    """A figure of each model; of a set of prompts where the figure belongs to one."""

    key: str
    lines: list[Line]
    label: str

    @property
    def figures(self) -> list[Figure]:
        return [line.figure(self.key) for line in self.lines]

    @property
    def subjects(self) -> list[Subject]:
        return [line.subject for line in self.lines]


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    drawn = [_panels(members) for members in by_experiment(_models(subjects)).values()]
    blocks = [block for panels in drawn for block in _rows(panels)]
    if not blocks:
        return empty("No model has a held-out loss or generations.")
    heights = [ROW * (len(block[0].lines) + 0.6) + DECORATION for block in blocks]
    figure = canvas(0.5 + sum(heights))
    grid = figure.add_gridspec(len(blocks), 1, height_ratios=heights)
    guides = []
    for place, block in zip(grid, blocks, strict=True):
        row = place.subgridspec(1, len(block)).subplots(squeeze=False)[0]
        for axes, panel in zip(row, block, strict=True):
            guides += _mark_base(axes, panel)
            _draw_panel(axes, panel, narrow=len(block) > len(KNOWN) + 2)
        row[0].set_yticklabels(names_of(block[0].subjects))
        row[0].set_title(block[0].subjects[0].title)
    row_legend(figure, [it for block in blocks for it in block[0].subjects], *guides[:1])
    return figure


def _models(subjects: list[Subject]) -> list[Subject]:
    return [subject for subject in subjects if subject.method != "lookup"]


def _rows(panels: list[Panel]) -> list[list[Panel]]:
    """Returns the panels in rows of about equal length."""
    rows = ceil(len(panels) / ACROSS)
    width = ceil(len(panels) / rows) if rows else 1
    return [panels[start : start + width] for start in range(0, len(panels), width)]


def _panels(members: list[Subject]) -> list[Panel]:
    """Returns the panels of an experiment: held-out loss, then set by set.

    How often a model stops is drawn where there is one set, or no answer is known: for more there
    is no room, and the table summary has it.
    """
    known = sets_with(members, KNOWN)
    sets = known or sets_with(members, [ANSWERED])
    keys = [*(KNOWN if known else ()), *([ANSWERED] if len(sets) == 1 or not known else [])]
    wanted = [(OWN, None), *((key, name) for name in sets for key in keys)]
    panels = []
    for key, name in wanted:
        lines = [Line(member, name) for member in members]
        figures = [line.figure(key) for line in lines]
        if any(found.value is not None for found in figures):
            label = axis_label(key, figures, name if len(sets) > 1 else None)
            panels.append(Panel(key, lines, label))
    if not panels and not all(member.done for member in members):
        # Their states stand there.
        panels.append(Panel(OWN, [Line(it, None) for it in members], axis_label(OWN, [])))
    return panels


def _mark_base(axes: "Axes", panel: Panel) -> list["Line2D"]:
    return [
        guide(axes, found.value, "base's value")
        for subject, found in zip(panel.subjects, panel.figures, strict=True)
        if subject.method == "base" and found.value is not None
    ]


def _draw_panel(axes: "Axes", panel: Panel, narrow: bool) -> None:
    draw_rows(axes, panel.subjects, panel.figures)
    axes.set_yticklabels([])
    axes.set_xlabel(panel.label)
    axes.locator_params(axis="x", nbins=2 if narrow else 4)
    if narrow:
        axes.tick_params(axis="x", labelsize=6)


def notes(subjects: list[Subject]) -> list[str]:
    """Returns what must be known of the figure."""
    models, keys = _models(subjects), (OWN, *KNOWN, ANSWERED)
    return [
        *figure_notes(models, keys),
        *set_notes(models, keys),
        METHOD_NOTES[WILSON],
        METHOD_NOTES[BY_GROUP],
    ]


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG, and its caption; returns 0."""
    return write_figure(draw, __doc__, argv, notes)


if __name__ == "__main__":
    run(main)
