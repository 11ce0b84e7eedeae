"""Power: how many groups would tell the two leading trials apart.

A panel for each method and metric that matters to it. It takes the observed difference for the true
one, and groups like those that were measured.

    python -m scripts.report.figures.power --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf power.pdf --png power.png --md power.md
"""

from math import ceil, floor
from statistics import NormalDist
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.common.methods import LABELS
from scripts.common.metrics import metric
from scripts.report.figure_command import write_figure
from scripts.report.headline import MAIN
from scripts.report.results import Results
from scripts.report.style import BLUE, DOTTED, FAINT, INK, canvas, empty
from scripts.report.text import change

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy import ndarray
    from pandas import DataFrame

POWER, LEVEL = 0.8, 0.05
ACROSS, PANEL = 3, 1.95
"""Panels side by side, and the inches that a row of them takes."""
POINTS = 120
FEWEST, MOST = 2, 1e7
"""Fewer groups have no deviation; a difference that needs more is as good as none."""


def power_of(effect: float, groups: "float | ndarray") -> Any:
    """Return the chance that a two-sided test at 5 % of so many groups shows an effect.

    Normal approximation of the paired test of the groups' differences.

    Parameters
    ----------
    effect
        The difference in standard deviations of what a group adds to it.
    """
    from statsmodels.stats.power import normal_power

    return normal_power(effect, groups, LEVEL, alternative="two-sided", sigma=1.0)


def groups_needed(effect: float) -> int | None:
    """Return the fewest groups, two at least, with a power of 80 % at 5 %; None beyond MOST.

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


def frame(results: Results) -> "DataFrame":
    """Return the test of the two leading trials of each method in each main metric.

    `effect` is missing where there is no difference, or nothing that it could be measured by, and
    `needed`, the groups for 80 % power, where no number of groups would do.
    """
    keys, order = ["experiment", "method", "set", "metric"], {it: at for at, it in enumerate(MAIN)}
    firsts = results.leading[results.leading["metric"].isin(MAIN)]
    tests = results.tests[results.tests["kind"] == "trials"]
    found = firsts[[*keys, "leading", "runner_up"]].merge(tests, on=keys)
    pairs = zip(found["a"], found["b"], found["leading"], found["runner_up"], strict=True)
    found = found.loc[[{a, b} == {first, second} for a, b, first, second in pairs]]
    experiments = {name: at for at, name in enumerate(results.titles)}
    found = found.assign(place=found["metric"].map(order), at=found["experiment"].map(experiments))
    found = found.sort_values(["at", "place"], kind="stable")
    effects = [
        abs(difference) / deviation if difference and deviation else None
        for difference, deviation in zip(found["difference"], found["group_deviation"], strict=True)
    ]
    return found.assign(
        effect=effects, needed=[groups_needed(effect) if effect else None for effect in effects]
    ).astype({"effect": float, "needed": "Int64"})


def draw(pairs: "DataFrame") -> "Figure":
    """Return the figure."""
    if pairs.empty:
        return empty("No two trials of a method are compared.")
    rows = ceil(len(pairs) / ACROSS)
    figure = canvas(PANEL * rows + 0.35)
    grid = figure.subplots(rows, ACROSS, squeeze=False, sharey=True)
    for axes in grid.flat[len(pairs) :]:
        axes.set_visible(False)
    for axes, pair in zip(grid.flat, pairs.to_dict("records"), strict=False):
        _draw_panel(axes, pair)
    for row in grid:
        row[0].set_ylabel("Power")
    figure.supxlabel(
        "If the observed difference of the two leading trials is the true one.\nDot: the groups "
        "that there are. Diamond: those that 80 % power at 5 % needs.",
        x=0.01, ha="left", fontsize=7, color=INK,
    )  # fmt: skip
    return figure


def _draw_panel(axes: "Axes", pair: dict[str, Any]) -> None:
    from pandas import isna

    name = f"{metric(pair['metric']).label}{', ' + pair['set'] if pair['set'] else ''}"
    title = [*wrap(pair["title"], 34), *wrap(f"{name} ({LABELS[pair['method']]})", 34)]
    axes.set_title("\n".join(title), fontsize=7.5)
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("Groups")
    axes.axhline(POWER, color=FAINT, linewidth=0.8, linestyle=DOTTED, zorder=1)
    if isna(pair["needed"]):
        unknown = pair["difference"] and not pair["group_deviation"]
        text = "cannot be estimated" if unknown else "no difference to find"
        axes.set_xticks([])
    else:
        text = f"80 % needs {pair['needed']:,}"
        _draw_curve(axes, pair["effect"], pair["groups"], pair["needed"])
    said = f"{pair['a']} − {pair['b']}: {change(3)(pair['difference'])}"
    axes.text(0.97, 0.06, "\n".join([*wrap(said, 34), f"{pair['groups']:,} groups, {text}"]),
              transform=axes.transAxes, ha="right", va="bottom", fontsize=6.5, color=INK,
              bbox={"facecolor": "white", "linewidth": 0, "pad": 1, "alpha": 0.85})  # fmt: skip


def _draw_curve(axes: "Axes", effect: float, present: int, needed: int) -> None:
    """Draw power over groups, and mark how many there are and how many are needed."""
    from matplotlib.ticker import LogLocator
    from numpy import geomspace

    groups = geomspace(max(FEWEST, min(present, needed) / 3), max(present, needed) * 3, POINTS)
    axes.plot(groups, power_of(effect, groups), color=BLUE)
    axes.axvline(present, color=FAINT, linewidth=0.8, zorder=1)
    axes.plot([present], [power_of(effect, present)], marker="o", color=INK)
    axes.plot([needed], [power_of(effect, needed)], marker="D", color=INK, markerfacecolor="white")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axes.xaxis.set_major_formatter(lambda value, _: f"{round(value):,}")
    axes.minorticks_off()


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, argv=argv, every_trial=True)


if __name__ == "__main__":
    run(main)
