"""Cost and quality: seconds of training against the headline metric, by trial.

    python -m scripts.report.figures.quality --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf quality.pdf --png quality.png --md quality.md
"""

from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.methods import LABELS
from scripts.report.figure_command import write_figure
from scripts.report.headline import falls, headline_notes, headlines
from scripts.report.notes import said_once
from scripts.report.results import MODEL, Results, taken
from scripts.report.style import (
    INK,
    axis_label,
    canvas,
    empty,
    legend_height,
    looks,
    name_legend,
    panels_of,
    plot_trials,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from pandas import DataFrame

PANEL = 2.2
"""Inches that a panel takes at least."""
ROOM = 1.25
"""How many times the axis of seconds reaches beyond the first and the last trial."""


def frame(results: Results) -> "DataFrame":
    """Return each trial with its headline metric, the seconds that it trained, and the device.

    `on_front` is True for the Pareto front of its experiment and method: no other trial is as fast
    and as good, and better in one of the two.
    """
    trials = headlines(results).dropna(subset=["value"])
    trials = trials.merge(taken(results.outcomes, "seconds", "device"), on=MODEL)
    trials = trials.astype({"seconds": float})
    falling = trials["metric"].map(falls).astype(bool)
    worse = trials["value"].where(falling, -trials["value"])
    order = trials.assign(worse=worse).sort_values(["seconds", "worse"], kind="stable")
    block = order.groupby(["experiment", "method"], sort=False)["worse"]
    best_before = block.transform(lambda it: it.cummin().shift(fill_value=float("inf")))
    # Trials that are alike in both are on the front together.
    alike = ["experiment", "method", "seconds", "worse"]
    on_front = (order["worse"] < best_before).groupby([order[it] for it in alike]).transform("any")
    return trials.assign(on_front=on_front)


def draw(trials: "DataFrame") -> "Figure":
    """Return the figure."""
    blocks = panels_of(trials, "experiment", "method")
    if not blocks:
        return empty("No trial is scored.")
    heights = [max(PANEL, 0.6 + legend_height(it["model"])) for it in blocks]
    figure = canvas(sum(heights))
    grid = figure.subplots(len(blocks), squeeze=False, height_ratios=heights)
    for axes, block in zip(grid.flat, blocks, strict=True):
        _draw_panel(axes, block)
    return figure


def _draw_panel(axes: "Axes", trials: "DataFrame") -> None:
    first, styles = trials.iloc[0], looks(trials["model"])
    plot_trials(axes, trials, "seconds", styles)
    axes.set_title(f"{first['title']}: {LABELS[first['method']]}")
    axes.set_xlabel("Training (seconds)")
    axes.set_ylabel(axis_label(first["metric"], first["set"]))
    _set_seconds(axes, trials["seconds"].min() / ROOM, trials["seconds"].max() * ROOM)
    name_legend(axes, styles, _draw_front(axes, trials[trials["on_front"]]))


def _set_seconds(axes: "Axes", low: float, high: float) -> None:
    """Make the axis of seconds logarithmic, with numbers as people write them."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    axes.set_xscale("log")
    axes.set_xlim(low, high)
    wide = high / low > 10
    axes.xaxis.set_major_locator(
        LogLocator(subs=(1, 2, 5), numticks=12) if wide else MaxNLocator(6)
    )
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.minorticks_off()


def _draw_front(axes: "Axes", front: "DataFrame") -> "Line2D":
    """Draw the front as steps: from so many seconds on, a trial this good can be had."""
    front = front.sort_values("seconds")
    (line,) = axes.step(front["seconds"], front["value"], where="post", color=INK, linewidth=0.9,
                        zorder=1, label="Pareto front")  # fmt: skip
    return line


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    drawn = frame(results)
    devices = list(zip(drawn["model"], drawn["device"].map(str), strict=True))
    return [
        *headline_notes(results),
        "Pareto front: the trials that no other trial of their panel beats in time or metric "
        "without losing in the other.",
        *([f"Seconds: the training loop with its evaluations, on {said_once(devices)}."]
          if devices else []),
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv, every_trial=True)


if __name__ == "__main__":
    run(main)
