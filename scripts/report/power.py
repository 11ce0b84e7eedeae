"""The figure of the power: how many groups would tell the two leading trials apart.

A panel for each method and figure that a reader looks at first. It takes the observed difference
for the true one, and groups like those that were measured.

    python -m scripts.report.power --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf power.pdf --png power.png
"""

from dataclasses import dataclass
from math import ceil, floor
from statistics import NormalDist
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.report.figure_command import write_figure
from scripts.report.read import (
    HEADLINES,
    METHODS,
    Comparison,
    Subject,
    comparisons_of,
    label_of,
)
from scripts.report.render import count
from scripts.report.style import BLUE, DOTTED, FAINT, INK, canvas, empty

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas
    from numpy import ndarray

POWER, LEVEL = 0.8, 0.05
ACROSS, PANEL = 3, 1.95
"""Panels beside each other, and the inches that a row of them takes."""
POINTS = 120
FEWEST, MOST = 2, 1e7
"""Fewer groups have no deviation; beyond so many a difference is as good as none."""


@dataclass(frozen=True)
class Rivals:
    """The two leading trials of a method in a figure."""

    title: str
    method: str
    test: dict[str, Any]

    @property
    def name(self) -> str:
        """What the panel is about."""
        of_set = f", {self.test['set']}" if self.test["set"] else ""
        return f"{label_of(self.test['metric'])}{of_set} ({METHODS[self.method]})"

    @property
    def groups(self) -> int:
        return self.test["groups"]

    @property
    def effect(self) -> float | None:
        """The difference in standard deviations of what a group adds to it.

        None where there is no difference, or nothing that it could be measured by.
        """
        difference, deviation = self.test["difference"], self.test["group_deviation"]
        return abs(difference) / deviation if difference and deviation else None


def power_of(effect: float, groups: "float | ndarray") -> "float | ndarray":
    """Returns the chance that a two-sided test at 5 % of so many groups shows an effect.

    Normal approximation of the paired test of the groups' differences.
    """
    from statsmodels.stats.power import normal_power

    return normal_power(effect, groups, LEVEL, alternative="two-sided", sigma=1.0)


def groups_needed(effect: float) -> int | None:
    """Returns the fewest groups, two at least, with a power of 80 % at 5 %; None beyond MOST.

    Statsmodels' solver does not converge on large effects, so that its power is searched from the
    one-tailed solution, next to which it lies.
    """
    normal = NormalDist()
    needed = ((normal.inv_cdf(1 - LEVEL / 2) + normal.inv_cdf(POWER)) / effect) ** 2
    if needed > MOST:
        return None
    groups = max(FEWEST, floor(needed) - 1)
    while power_of(effect, groups) < POWER:
        groups += 1
    return groups


def rivals_of(comparison: Comparison) -> list[Rivals]:
    """Returns the two leading trials of each method in each figure that is looked at first."""
    found = []
    for one in comparison.leading:
        pair = {one["leading"], one["runner_up"]}
        place = {key: one[key] for key in ("metric", "set", "method")} | {"kind": "trials"}
        for test in comparison.tests:
            if place.items() <= test.items() and {test["a"], test["b"]} == pair:
                found.append(Rivals(comparison.title, one["method"], test))
    firsts = [rivals for rivals in found if rivals.test["metric"] in HEADLINES]
    return sorted(firsts, key=lambda rivals: HEADLINES.index(rivals.test["metric"]))


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    panels = [rivals for it in comparisons_of(subjects) for rivals in rivals_of(it)]
    if not panels:
        return empty("No two trials of a method are compared.")
    rows = ceil(len(panels) / ACROSS)
    figure = canvas(PANEL * rows + 0.35)
    grid = figure.subplots(rows, ACROSS, squeeze=False, sharey=True)
    for place, axes in enumerate(grid.flat):
        if place < len(panels):
            _draw_panel(axes, panels[place])
        else:
            axes.set_visible(False)
    for row in grid:
        row[0].set_ylabel("Power")
    figure.supxlabel(
        "If the observed difference of the two leading trials is the true one.\nDot: the groups "
        "that there are. Diamond: those that 80 % power at 5 % needs.",
        x=0.01, ha="left", fontsize=7, color=INK,
    )  # fmt: skip
    return figure


def _draw_panel(axes: "Axes", rivals: Rivals) -> None:
    test = rivals.test
    axes.set_title("\n".join([*wrap(rivals.title, 34), *wrap(rivals.name, 34)]), fontsize=7.5)
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("Groups")
    axes.axhline(POWER, color=FAINT, linewidth=0.8, linestyle=DOTTED, zorder=1)
    needed = groups_needed(rivals.effect) if rivals.effect else None
    if needed is None:
        unknown = test["difference"] and not test["group_deviation"]
        text = "not to be estimated" if unknown else "no difference to be found"
        axes.set_xticks([])
    else:
        text = f"80 % needs {count(needed)}"
        _draw_curve(axes, rivals, needed)
    pair = f"{test['a']} − {test['b']}: {test['difference']:+.3f}".replace("-0", "−0")
    axes.text(0.97, 0.06, "\n".join([*wrap(pair, 34), f"{count(rivals.groups)} groups, {text}"]),
              transform=axes.transAxes, ha="right", va="bottom", fontsize=6.5, color=INK,
              bbox={"facecolor": "white", "linewidth": 0, "pad": 1, "alpha": 0.85})  # fmt: skip


def _draw_curve(axes: "Axes", rivals: Rivals, needed: int) -> None:
    """Draws power over groups, and marks how many there are and how many are needed."""
    from matplotlib.ticker import LogLocator
    from numpy import geomspace

    low, high = min(rivals.groups, needed) / 3, max(rivals.groups, needed) * 3
    groups = geomspace(max(2, low), high, POINTS)
    axes.plot(groups, power_of(rivals.effect, groups), color=BLUE)
    here = power_of(rivals.effect, rivals.groups)
    axes.axvline(rivals.groups, color=FAINT, linewidth=0.8, zorder=1)
    axes.plot([rivals.groups], [here], marker="o", color=INK)
    axes.plot([needed], [power_of(rivals.effect, needed)], marker="D", color=INK,
              markerfacecolor="white")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axes.xaxis.set_major_formatter(lambda value, _: count(round(value)))
    axes.minorticks_off()


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG; returns 0."""
    return write_figure(draw, __doc__, argv, every_trial=True)


if __name__ == "__main__":
    run(main)
