"""The figure of the differences: what tuning changed against the base and against the start.

A row for each trial, a panel for each figure that a reader looks at first.

    python -m scripts.report.forest --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf forest.pdf --png forest.png
"""

from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.report.differences import Line, lines_of
from scripts.report.figure_command import write_figure
from scripts.report.read import HEADLINES, Comparison, Subject, comparisons_of, label_of
from scripts.report.style import BLUE, GREY, INK, ROW, THIN, canvas, empty, guide

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from matplotlib.lines import Line2D

KEYS = ("policy_accuracy", *HEADLINES)
"""The base has no implicit reward, so that it is met by the raw accuracy."""
KINDS = {"base": "against the base", "start": "against the start"}
COLORS, MARKERS, OFFSETS = (
    {"base": GREY, "start": BLUE},
    {"base": "o", "start": "D"},
    {"base": -0.17, "start": 0.17},
)
ACROSS = 4
"""So many panels stand beside each other at most."""
DECORATION = 0.85
"""Inches that the title and the labels of a block take."""
SHOWN, NOT_SHOWN = "shown after Holm's correction", "not shown"


@dataclass(frozen=True)
class Panel:
    """A figure's differences to the base and to starts, of one set of prompts where it has one."""

    key: str
    set: str | None
    lines: list[Line]

    @property
    def label(self) -> str:
        parts = [f"Δ {label_of(self.key)}", f"({self.set})" if self.set else ""]
        return "\n".join(filter(None, parts))


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    blocks = [
        (comparison, panels[start : start + ACROSS])
        for comparison in comparisons_of(subjects)
        for panels in [panels_of(comparison, {it.name for it in subjects})]
        for start in range(0, len(panels), ACROSS)
    ]
    if not blocks:
        return empty("No trial is compared with a base or a start.")
    rows = [_trials(subjects, panels) for _, panels in blocks]
    heights = [ROW * 1.3 * (len(names) + 0.6) + DECORATION for names in rows]
    figure = canvas(0.45 + sum(heights))
    across = max(len(panels) for _, panels in blocks)
    grid = figure.subplots(len(blocks), across, squeeze=False, height_ratios=heights)
    for row, (comparison, panels), names in zip(grid, blocks, rows, strict=True):
        for axes, panel in zip_longest(row, panels):
            _draw_panel(axes, panel, names)
        row[0].set_yticks(range(len(names)), names)
        row[0].set_title(comparison.title)
    _draw_legend(figure, {line.at("kind") for _, panels in blocks for it in panels
                          for line in it.lines})  # fmt: skip
    return figure


def panels_of(comparison: Comparison, names: set[str]) -> list[Panel]:
    """Returns the panels of an experiment's trials of these names, in the order in which its
    figures are looked at.
    """
    lines = [
        line
        for line in lines_of([comparison])
        if line.at("kind") in KINDS and line.at("a") in names
    ]
    places = dict.fromkeys((line.at("metric"), line.at("set")) for line in lines)
    return [
        Panel(figure, of_set, [it for it in lines if (it.at("metric"), it.at("set")) == place])
        for key in KEYS
        for place in places
        for figure, of_set in [place]
        if figure == key
    ]


def _trials(subjects: list[Subject], panels: list[Panel]) -> list[str]:
    """Returns the trials that are drawn, in the plan's order."""
    drawn = {line.at("a") for panel in panels for line in panel.lines}
    return [name for name in dict.fromkeys(it.name for it in subjects) if name in drawn]


def _draw_panel(axes: "Axes", panel: Panel | None, names: list[str]) -> None:
    """Draws the differences; hides a place that has none."""
    if panel is None:
        axes.set_visible(False)
        return
    guide(axes, 0.0, "no difference")
    met = Counter(line.at("a") for line in panel.lines)
    for line in panel.lines:
        apart = OFFSETS[line.at("kind")] if met[line.at("a")] > 1 else 0.0
        _draw_difference(axes, names.index(line.at("a")) + apart, line)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [""] * len(names))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(panel.label)
    axes.locator_params(axis="x", nbins=4)


def _draw_difference(axes: "Axes", place: float, line: Line) -> None:
    """Draws a difference: filled where the corrected test shows it."""
    kind = line.at("kind")
    color = COLORS[kind]
    if line.at("interval") is not None:
        axes.plot(line.at("interval"), [place, place], color=color, linewidth=THIN + 0.3)
    axes.plot([line.at("difference")], [place], linestyle="", marker=MARKERS[kind], color=color,
              markerfacecolor=color if line.holds else "white", markersize=4.2)  # fmt: skip


def _draw_legend(figure: "Canvas", kinds: set[str]) -> None:
    from matplotlib.lines import Line2D

    def entry(marker: str, color: str, face: str, label: str) -> "Line2D":
        return Line2D([], [], linestyle="", marker=marker, color=color, markerfacecolor=face,
                      label=label)  # fmt: skip

    handles = [
        entry(MARKERS[kind], COLORS[kind], COLORS[kind], text)
        for kind, text in KINDS.items()
        if kind in kinds
    ]
    handles += [entry("o", INK, INK, SHOWN), entry("o", INK, "white", NOT_SHOWN)]
    handles.append(Line2D([], [], color=INK, linewidth=THIN + 0.3, label="95 % interval"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles),
                  columnspacing=1.2, handletextpad=0.5)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG; returns 0."""
    return write_figure(draw, __doc__, argv)


if __name__ == "__main__":
    run(main)
