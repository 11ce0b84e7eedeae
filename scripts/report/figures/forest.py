"""Differences: what tuning changed against the base and against the start.

A row for each trial, a panel for each metric that matters to it.

    python -m scripts.report.figures.forest --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf forest.pdf --png forest.png --md forest.md
"""

from itertools import zip_longest
from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.metrics import metric
from scripts.report.figure_command import write_figure
from scripts.report.headline import MAIN
from scripts.report.notes import metric_notes
from scripts.report.results import Results
from scripts.report.style import (
    BLUE,
    GREY,
    INK,
    ROW,
    THIN,
    canvas,
    empty,
    guide,
    in_rows,
    panels_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

RAW = "policy_accuracy"
"""The base has no implicit reward, so that its accuracy is that of its log-probs."""
KINDS = {"base": ("against the base", GREY, "o", -0.17),
         "start": ("against the start", BLUE, "D", 0.17)}  # fmt: skip
"""The models that a trial is compared with: label, colour, marker, and how far off its row."""
ACROSS = 4
"""How many panels stand side by side at most."""
DECORATION = 0.85
"""Inches that the title and the labels of a block take."""


def frame(results: Results) -> "DataFrame":
    """Return the tests of a trial (a) against its base or start (b) in the main metrics.

    In the order of the experiments, metrics, sets and trials. `row` counts the trials of an
    experiment; `both` is True where the trial is compared with base and start.
    """
    places = {name: place for place, name in enumerate([RAW, *MAIN])}
    tests = results.tests
    tests = tests[tests["kind"].isin(KINDS) & tests["metric"].isin(places)]
    trials = (
        results.models[["experiment", "model"]].rename(columns={"model": "a"}).drop_duplicates()
    )
    order = trials.reset_index(drop=True).reset_index(names="order")
    found = tests.merge(order, on=["experiment", "a"])
    found["place"] = found["metric"].map(places)
    found = found.sort_values(["place"], kind="stable").drop(columns="place")
    found["row"] = found.groupby("experiment")["order"].rank("dense").astype(int) - 1
    key = ["experiment", "metric", "set", "a"]
    found["both"] = found.groupby(key, dropna=False)["kind"].transform("nunique") > 1
    numbers = ["difference", "interval_low", "interval_high"]
    return found.astype(dict.fromkeys(numbers, float))


def draw(tests: "DataFrame") -> "Figure":
    """Return the figure."""
    blocks = [
        row
        for members in panels_of(tests, "experiment")
        for row in in_rows(panels_of(members, "metric", "set"), ACROSS)
    ]
    if not blocks:
        return empty("No trial is compared with a base or a start.")
    names = [_trials(tests, block[0]) for block in blocks]
    heights = [ROW * 1.3 * (len(those) + 0.6) + DECORATION for those in names]
    figure = canvas(0.45 + sum(heights))
    across = max(map(len, blocks))
    grid = figure.subplots(len(blocks), across, squeeze=False, height_ratios=heights)
    for row, block, those in zip(grid, blocks, names, strict=True):
        for axes, panel in zip_longest(row, block):
            if panel is None:
                axes.set_visible(False)
            else:
                _draw_panel(axes, panel, len(those))
        row[0].set_yticks(range(len(those)), those)
        row[0].set_title(block[0]["title"].iloc[0])
    _draw_legend(figure, set(tests["kind"]))
    return figure


def _trials(tests: "DataFrame", panel: "DataFrame") -> list[str]:
    """Return the trials of a panel's experiment by their rows."""
    own = tests[tests["experiment"] == panel["experiment"].iloc[0]]
    return list(own.sort_values("row")["a"].drop_duplicates())


def _draw_panel(axes: "Axes", panel: "DataFrame", rows: int) -> None:
    """Draw the differences, filled where the corrected test shows one."""
    guide(axes, 0.0, "no difference")
    for kind, part in panel.groupby("kind", sort=False):
        _, color, marker, aside = KINDS[str(kind)]
        at = part["row"] + part["both"] * aside
        axes.hlines(at, part["interval_low"], part["interval_high"], color=color,
                    linewidth=THIN + 0.3)  # fmt: skip
        for shown, fill in ((True, color), (False, "white")):
            those = part["shown"] == shown
            axes.plot(part["difference"][those], at[those], linestyle="", marker=marker,
                      color=color, markerfacecolor=fill, markersize=4.2)  # fmt: skip
    axes.set_ylim(rows - 0.4, -0.6)
    axes.set_yticks(range(rows), [""] * rows)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    name, set_name = panel["metric"].iloc[0], panel["set"].iloc[0]
    axes.set_xlabel(f"Δ {metric(name).label}" + (f"\n({set_name})" if set_name else ""))
    axes.locator_params(axis="x", nbins=4)


def _draw_legend(figure: "Figure", kinds: set[str]) -> None:
    from matplotlib.lines import Line2D

    entries = [
        (marker, color, color, label)
        for kind, (label, color, marker, _) in KINDS.items()
        if kind in kinds
    ]
    entries += [
        ("o", INK, INK, "shown after Holm's correction"),
        ("o", INK, "white", "not shown"),
    ]
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=color, markerfacecolor=face, label=label)
        for marker, color, face, label in entries
    ]
    handles.append(Line2D([], [], color=INK, linewidth=THIN + 0.3, label="95 % interval"))
    figure.legend(handles=handles, loc="outside upper left", ncols=len(handles),
                  columnspacing=1.2, handletextpad=0.5)  # fmt: skip


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    return metric_notes(results, results.models, *dict.fromkeys(frame(results)["metric"]))


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv)


if __name__ == "__main__":
    run(main)
