"""Before and after: a row for each model of an experiment, a panel for each metric.

A metric of answers has a panel for each set of prompts.

    python -m scripts.report.figures.before_after --root results/demo \\
        --plan '[{"experiment": …}, …]' --pdf before_after.pdf --png before_after.png \\
        --md before_after.md
"""

from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.methods import BASE, LOOKUP
from scripts.report.figure_command import write_figure
from scripts.report.headline import OF_ANSWERS, measured, sets_with
from scripts.report.notes import INTERVAL_NOTES, metric_notes, set_notes
from scripts.report.results import Results
from scripts.report.style import (
    ROW,
    axis_label,
    canvas,
    draw_rows,
    empty,
    guide,
    in_rows,
    panels_of,
    row_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from pandas import DataFrame

OWN, ANY = "held_out_loss", "stop_rate"
"""The metrics of a model, and of a set of prompts that has none of OF_ANSWERS."""
ACROSS = 5
"""How many panels stand side by side at most."""
NARROW = 5
"""So many panels side by side have small numbers on their axes."""
DECORATION = 0.95
"""Inches that the title and the labels of a row of panels take."""


def frame(results: Results) -> "DataFrame":
    """Return each model in each panel of its experiment, in the order of the panels.

    `metric` and `set` tell the panels apart, `sets` is how many sets of prompts are drawn.
    """
    from pandas import concat

    models = results.models[results.models["method"] != LOOKUP]
    parts = [measured(results, models.head(0), OWN).assign(sets=0)]
    for _, members in models.groupby("experiment", sort=False):
        names = list(OF_ANSWERS)
        sets = sets_with(results, members, *names)
        if not sets:
            names = [ANY]
            sets = sets_with(results, members, ANY)
        places = [(OWN, None), *((name, set_name) for set_name in sets for name in names)]
        panels = [measured(results, members, *place).assign(sets=len(sets)) for place in places]
        drawn = [panel for panel in panels if panel["value"].notna().any()]
        # Where nothing is measured yet, the states of what is not done.
        undone = panels[:1] if (members["state"] != "done").any() else []
        parts += drawn or undone
    return concat(parts, ignore_index=True)


def draw(models: "DataFrame") -> "Figure":
    """Return the figure."""
    rows = [
        row
        for members in panels_of(models, "experiment")
        for row in in_rows(panels_of(members, "metric", "set"), ACROSS)
    ]
    if not rows:
        return empty("No model has a held-out loss or generations.")
    heights = [ROW * (len(row[0]) + 0.6) + DECORATION for row in rows]
    figure = canvas(0.5 + sum(heights))
    grid = figure.add_gridspec(len(rows), 1, height_ratios=heights)
    guides: list[Line2D] = []
    for place, row in zip(grid, rows, strict=True):
        drawn = place.subgridspec(1, len(row)).subplots(squeeze=False)[0]
        for axes, panel in zip(drawn, row, strict=True):
            guides += _draw_panel(axes, panel, narrow=len(row) >= NARROW)
            axes.tick_params(axis="y", labelleft=axes is drawn[0])
        drawn[0].set_title(row[0]["title"].iloc[0])
    row_legend(figure, models["method"], *guides[:1])
    return figure


def _draw_panel(axes: "Axes", panel: "DataFrame", narrow: bool) -> "list[Line2D]":
    """Draw a panel and return the line at the base's value, if it has one."""
    base = panel.loc[panel["method"] == BASE, "value"].dropna()
    line = [guide(axes, value, "base's value") for value in base]
    draw_rows(axes, panel)
    several = panel["sets"].iloc[0] > 1
    axes.set_xlabel(axis_label(panel["metric"].iloc[0], panel["set"].iloc[0] if several else None))
    axes.locator_params(axis="x", nbins=2 if narrow else 4)
    if narrow:
        axes.tick_params(axis="x", labelsize=6)
    return line


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    names = list(dict.fromkeys(frame(results)["metric"]))
    return [
        *metric_notes(results, results.models, *names),
        *set_notes(results, results.models, *names),
        *INTERVAL_NOTES,
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv)


if __name__ == "__main__":
    run(main)
