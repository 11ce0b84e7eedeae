"""Hyperparameters: the headline metric against each one that trials differ in.

    python -m scripts.report.figures.sensitivity --root results/demo \\
        --plan '[{"experiment": …}, …]' --pdf sensitivity.pdf --png sensitivity.png \\
        --md sensitivity.md
"""

from itertools import pairwise
from math import ceil, log10
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.common.methods import LABELS
from scripts.report.figure_command import write_figure
from scripts.report.headline import headline_notes, headlines
from scripts.report.hyperparameters import differing, is_numeric
from scripts.report.results import Results
from scripts.report.style import (
    Look,
    axis_label,
    canvas,
    empty,
    legend_height,
    looks,
    name_legend,
    panels_of,
    plot_trials,
)
from scripts.report.text import power

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec
    from pandas import DataFrame

ACROSS = 3
"""How many panels stand side by side."""
PANEL = 1.9
"""Inches that a row of panels takes at least."""
STEP, SPREAD = 5.0, 22.0
"""Points between trials at the same value, and at most from the first to the last."""
WIDE, LONGEST = 24, 32
"""How many characters fit below a panel, and how many of a word when it is turned."""
MOST_TICKS = 6
"""Up to so many values are each written on the axis; of more, matplotlib chooses."""


def frame(results: Results) -> "DataFrame":
    """Return each trial with its headline metric, once for each hyperparameter.

    Only hyperparameters with two or more values among the trials of an experiment and method.
    `at` is the value, `text` what people read, `logarithmic` how its axis is scaled.
    """
    from pandas import DataFrame, concat

    trials = headlines(results).dropna(subset=["value"])
    settings = results.settings.set_index("folder")
    parts = [DataFrame(columns=[*trials, "hyperparameter", "at", "text", "logarithmic"])]
    for block in panels_of(trials, "experiment", "method"):
        for parameter in differing(settings.loc[[runs[0] for runs in block["runs"]]]):
            at = parameter.values.to_numpy()
            made = block.assign(
                hyperparameter=parameter.label, at=at, logarithmic=parameter.logarithmic
            ).dropna(subset=["at"])
            parts.append(made.assign(text=made["at"].map(parameter.show)))
    return concat(parts, ignore_index=True)


def draw(trials: "DataFrame") -> "Figure":
    """Return the figure."""
    blocks = panels_of(trials, "experiment", "method")
    if not blocks:
        return empty("No two trials of an experiment differ in a hyperparameter and are scored.")
    heights = [
        max(PANEL * ceil(it["hyperparameter"].nunique() / ACROSS), legend_height(it["model"]))
        for it in blocks
    ]
    figure = canvas(sum(heights))
    grid = figure.add_gridspec(len(blocks), 1, height_ratios=heights)
    for place, block in zip(grid, blocks, strict=True):
        _draw_block(place, block)
    return figure


def _draw_block(place: "SubplotSpec", block: "DataFrame") -> None:
    parameters, styles = panels_of(block, "hyperparameter"), looks(block["model"])
    # The legend has a column of its own: beside one row it would make the others narrower.
    left, right = place.subgridspec(1, 2, width_ratios=[40, 1])
    rows = ceil(len(parameters) / ACROSS)
    panels = list(left.subgridspec(rows, ACROSS).subplots(squeeze=False, sharey=True).flat)
    for panel, parameter in zip(panels, parameters, strict=False):
        _draw_panel(panel, parameter, styles)
    for panel in panels[len(parameters) :]:
        panel.set_visible(False)
    first = block.iloc[0]
    for panel in panels[::ACROSS]:
        panel.set_ylabel(axis_label(first["metric"], first["set"]))
    panels[0].set_title(f"{first['title']}: {LABELS[first['method']]}")
    beside = panels[0].figure.add_subplot(right, frame_on=False, xticks=[], yticks=[])
    name_legend(beside, styles)


def _draw_panel(axes: "Axes", trials: "DataFrame", styles: dict[str, Look]) -> None:
    """Draw trials at their values, those at the same value side by side."""
    axes.set_xlabel(trials["hyperparameter"].iloc[0])
    distinct = trials.drop_duplicates("at")
    if is_numeric(list(distinct["at"])):
        trials = trials.assign(at=trials["at"].astype(float))
        _set_numbers(axes, distinct.sort_values("at"))
    else:
        places = {value: place for place, value in enumerate(distinct["at"])}
        trials = trials.assign(at=trials["at"].map(places))
        labels = [shorten(text, LONGEST, placeholder=" …") for text in distinct["text"]]
        axes.set_xticks(range(len(labels)), labels, **_turned(labels, 1 / len(labels)))
        axes.set_xlim(-0.6, len(labels) - 0.4)
    same = trials.groupby("at", sort=False)["at"]
    size = same.transform("size")
    step = (SPREAD / size).clip(upper=STEP)
    aside = step * (same.cumcount() - (size - 1) / 2)
    plot_trials(axes, trials.assign(aside=aside), "at", styles)


def _set_numbers(axes: "Axes", values: "DataFrame") -> None:
    """Set up an axis of ascending numbers: each is written where they are few, with room beside."""
    from matplotlib.ticker import NullFormatter, NullLocator

    numbers, labels = [float(it) for it in values["at"]], list(values["text"])
    logarithmic = values["logarithmic"].iloc[0] and numbers[0] > 0
    places = [log10(it) for it in numbers] if logarithmic else numbers
    low, high = places[0], places[-1]
    room = 0.2 * (high - low)
    ends = (low - room, high + room)
    if logarithmic:
        axes.set_xscale("log")
        ends = (10 ** ends[0], 10 ** ends[1])
    axes.set_xlim(ends)
    if len(numbers) <= MOST_TICKS:
        gap = min(b - a for a, b in pairwise(places)) / (high - low)
        axes.set_xticks(numbers, labels, **_turned(labels, gap / 1.4))
        axes.xaxis.set_minor_locator(NullLocator())
    elif logarithmic:
        # matplotlib's own writes formulas, which the style leaves as they are.
        axes.xaxis.set_major_formatter(lambda value, _: power(value))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _turned(labels: list[str], share: float) -> dict[str, Any]:
    """Return how labels are written: turned where the longest does not fit.

    Parameters
    ----------
    share
        The part of the panel's width that the label with the least room has.
    """
    if max(map(len, labels)) < WIDE * share:
        return {}
    return {"rotation": 30, "ha": "right", "rotation_mode": "anchor", "fontsize": 6.5}


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    drawn = frame(results)[["experiment", "method"]].drop_duplicates()
    return [
        *headline_notes(results.only(results.models.merge(drawn))),
        "A panel for each hyperparameter in which the trials of an experiment and method differ; "
        "trials may differ in several at once, so that no panel alone shows a cause.",
        "Trials with the same value stand side by side.",
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv, every_trial=True)


if __name__ == "__main__":
    run(main)
