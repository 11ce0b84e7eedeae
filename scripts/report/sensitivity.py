"""The figure of the hyperparameters: the headline figure against each one that trials differ in.

    python -m scripts.report.sensitivity --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf sensitivity.pdf --png sensitivity.png --md sensitivity.md
"""

from itertools import pairwise
from math import ceil, log10
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.report.figure_command import write_figure
from scripts.report.headline import Block, blocks_of, bounds, headline_notes
from scripts.report.hyperparameters import Hyperparameter, differing, is_numeric
from scripts.report.read import METHODS, Subject
from scripts.report.style import (
    ENTRIES,
    ENTRY,
    axis_label,
    canvas,
    empty,
    looks,
    name_legend,
    plot_point,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.gridspec import SubplotSpec

ACROSS = 3
"""So many panels stand beside each other."""
PANEL = 1.9
"""Inches that a row of panels takes at least."""
STEP, SPREAD = 5.0, 22.0
"""Points between trials at the same value, and at most from the first to the last."""
WIDE = 24
"""So many characters stand below a panel."""
MOST_TICKS = 6
"""So many values are each written on the axis; of more, matplotlib chooses."""


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    drawn = [(block, found) for block in blocks_of(subjects) if (found := _differing(block))]
    if not drawn:
        return empty("No two trials of an experiment differ in a hyperparameter and are scored.")
    heights = [_height(block, parameters) for block, parameters in drawn]
    figure = canvas(sum(heights))
    grid = figure.add_gridspec(len(drawn), 1, height_ratios=heights)
    for place, (block, parameters) in zip(grid, drawn, strict=True):
        _draw_block(place, block, parameters)
    return figure


def _differing(block: Block) -> list[Hyperparameter]:
    return differing([trial for trial, _ in block.measured])


def _height(block: Block, parameters: list[Hyperparameter]) -> float:
    legend = 0.5 + ENTRY * min(ENTRIES, len(block.names))
    return max(PANEL * ceil(len(parameters) / ACROSS), legend)


def _draw_block(place: "SubplotSpec", block: Block, parameters: list[Hyperparameter]) -> None:
    rows, styles = ceil(len(parameters) / ACROSS), looks(block.names)
    # The legend has a column of its own: beside one row it would make the others narrower.
    left, right = place.subgridspec(1, 2, width_ratios=[40, 1])
    panels = list(left.subgridspec(rows, ACROSS).subplots(squeeze=False, sharey=True).flat)
    for panel, parameter in zip(panels, parameters, strict=False):
        _draw_panel(panel, block, parameter, styles)
    for panel in panels[len(parameters) :]:
        panel.set_visible(False)
    for panel in panels[::ACROSS]:
        panel.set_ylabel(axis_label(block.key, block.figures, block.set))
    first = block.trials[0]
    panels[0].set_title(f"{first.title}: {METHODS[first.method]}")
    beside = panels[0].figure.add_subplot(right, frame_on=False, xticks=[], yticks=[])
    name_legend(beside, styles)


def _draw_panel(axes: "Axes", block: Block, parameter: Hyperparameter, styles: dict) -> None:
    values = parameter.values([trial for trial, _ in block.measured])
    numeric = is_numeric(values)
    _set_axis(axes, parameter, values)
    at: dict[Any, list] = {}
    for trial, found in block.measured:
        value = parameter.read(trial)
        if value is not None:
            at.setdefault(value, []).append((trial, found))
    for value, members in at.items():
        step = min(STEP, SPREAD / len(members))
        for number, (trial, found) in enumerate(members):
            aside = step * (number - (len(members) - 1) / 2)
            x = value if numeric else values.index(value)
            plot_point(axes, x, found, bounds(found), styles[trial.name], aside)


def _set_axis(axes: "Axes", parameter: Hyperparameter, values: list[Any]) -> None:
    """Sets the axis up: each value where there are few, with room at both ends."""
    from matplotlib.ticker import NullFormatter, NullLocator

    axes.set_xlabel(parameter.label)
    if not is_numeric(values):
        labels = [shorten(parameter.show(value), 24, placeholder=" …") for value in values]
        axes.set_xticks(range(len(values)), labels, **_turned(labels, 1 / len(values)))
        axes.set_xlim(-0.6, len(values) - 0.4)
        return
    scale = log10 if parameter.logarithmic and values[0] > 0 else float
    low, high = scale(values[0]), scale(values[-1])
    room = 0.2 * (high - low)
    if scale is log10:
        axes.set_xscale("log")
        axes.set_xlim(10 ** (low - room), 10 ** (high + room))
    else:
        axes.set_xlim(low - room, high + room)
    if len(values) <= MOST_TICKS:
        labels = [parameter.show(value) for value in values]
        gaps = [(scale(b) - scale(a)) / (high - low) for a, b in pairwise(values)]
        axes.set_xticks(values, labels, **_turned(labels, min(gaps) / 1.4))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _turned(labels: list[str], share: float) -> dict[str, Any]:
    """Returns how labels are written: turned where the longest does not fit.

    Parameters
    ----------
    share
        Of the panel's width, what the label that has least has.
    """
    if max(map(len, labels)) < WIDE * share:
        return {}
    return {"rotation": 30, "ha": "right", "rotation_mode": "anchor", "fontsize": 6.5}


def notes(subjects: list[Subject]) -> list[str]:
    """Returns what must be known of the figure."""
    blocks = [block for block in blocks_of(subjects) if _differing(block)]
    return [
        *headline_notes(blocks),
        "A panel for each hyperparameter in which the trials of an experiment and method differ; "
        "trials differ in several at once, so that a panel alone tells no cause.",
        "Trials with the same value stand side by side.",
    ]


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG, and its caption; returns 0."""
    return write_figure(draw, __doc__, argv, notes, every_trial=True)


if __name__ == "__main__":
    run(main)
