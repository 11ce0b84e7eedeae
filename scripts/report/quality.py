"""The figure of cost and quality: seconds of training against the headline figure, by trial.

    python -m scripts.report.quality --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf quality.pdf --png quality.png --md quality.md
"""

from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.report.columns import said_once
from scripts.report.figure_command import write_figure
from scripts.report.headline import Block, blocks_of, bounds, headline_notes
from scripts.report.read import METHODS, Subject
from scripts.report.style import (
    ENTRIES,
    ENTRY,
    INK,
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
    from matplotlib.lines import Line2D

PANEL = 2.2
"""Inches that a panel takes at least."""
ROOM = 1.25
"""The axis of seconds goes so many times beyond the first and the last trial."""

Point = tuple[float, float]
"""Seconds of training and the headline figure of a trial."""


def front_of(block: Block) -> list[Point]:
    """Returns the Pareto front: the trials to which none is both as fast and as good, and better
    in one of the two. From the fastest to the best.
    """
    points = [(_seconds(trial), found.value) for trial, found in block.measured]
    fastest_first = sorted(points, key=lambda point: point[0])
    front: list[Point] = []
    for seconds, value in fastest_first:
        # Of trials that took the same time, only the best can be on the front.
        if any(other[0] == seconds and block.better(other[1], value) for other in points):
            continue
        if not front or block.better(value, front[-1][1]):
            front.append((seconds, value))
    return front


def _seconds(trial: Subject) -> float:
    return trial.outcome("seconds")


# ------------------------------------------------------------------------------------- the figure


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    blocks = blocks_of(subjects)
    if not blocks:
        return empty("No trial is scored.")
    heights = [max(PANEL, 0.7 + ENTRY * (min(ENTRIES, len(it.names)) + 1)) for it in blocks]
    figure = canvas(sum(heights))
    grid = figure.subplots(len(blocks), squeeze=False, height_ratios=heights)
    for axes, block in zip(grid.flat, blocks, strict=True):
        _draw_panel(axes, block)
    return figure


def _draw_panel(axes: "Axes", block: Block) -> None:
    styles = looks(block.names)
    for trial, found in block.measured:
        plot_point(axes, _seconds(trial), found, bounds(found), styles[trial.name])
    first = block.trials[0]
    axes.set_title(f"{first.title}: {METHODS[first.method]}")
    axes.set_xlabel("Training (seconds)")
    axes.set_ylabel(axis_label(block.key, block.figures, block.set))
    _set_seconds(axes, [_seconds(trial) for trial, _ in block.measured])
    name_legend(axes, styles, _draw_front(axes, front_of(block)))


def _set_seconds(axes: "Axes", seconds: list[float]) -> None:
    """Makes the axis of seconds logarithmic, with numbers as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator

    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / ROOM, max(seconds) * ROOM)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))


def _draw_front(axes: "Axes", front: list[Point]) -> "Line2D":
    """Draws the front as steps: so good a trial can be had from so many seconds on."""
    seconds, values = zip(*front, strict=True)
    (line,) = axes.step(
        seconds, values, where="post", color=INK, linewidth=0.9, zorder=1, label="Pareto front"
    )
    return line


def notes(subjects: list[Subject]) -> list[str]:
    """Returns what must be known of the figure."""
    blocks = blocks_of(subjects)
    trials = [trial for block in blocks for trial, _ in block.measured]
    devices = [(trial.name, str(trial.outcome("device"))) for trial in trials]
    where = f"Seconds: the training loop with its evaluations, on {said_once(devices)}."
    return [
        *headline_notes(blocks),
        "Pareto front: the trials that no other trial of their panel beats in one of time and "
        "figure without losing in the other.",
        *([where] if devices else []),
    ]


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG, and its caption; returns 0."""
    return write_figure(draw, __doc__, argv, notes, every_trial=True)


if __name__ == "__main__":
    run(main)
