"""Preference accuracies: a row for each preference trial and lookup, both intervals.

    python -m scripts.report.figures.accuracy --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf accuracy.pdf --png accuracy.png --md accuracy.md
"""

from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.methods import LOOKUP, LOOKUP_LABEL, METHODS
from scripts.report.figure_command import write_figure
from scripts.report.headline import measured
from scripts.report.notes import INTERVAL_NOTES, known_pairs, lookup_notes, metric_notes
from scripts.report.results import MODEL, Results
from scripts.report.style import (
    FAINT,
    INK,
    ROW,
    axis_label,
    canvas,
    draw_rows,
    empty,
    guide,
    panels_of,
    row_legend,
)
from scripts.report.text import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

METRIC, CHANCE = "preference_accuracy", 0.5


def frame(results: Results) -> "DataFrame":
    """Return the preference trials and lookups, each with its accuracy and both intervals.

    `known` is how many pairs a lookup knows. Experiments of which nothing is scored are left out.
    """
    learn = [name for name, method in METHODS.items() if method.rows == "preferences"]
    models = results.models[results.models["method"].isin([*learn, LOOKUP])]
    found = measured(results, models, METRIC)
    known = measured(results, found[MODEL], "known_pairs")
    found["known"] = (known["value"] * known["n"].astype(float)).round()
    shown = found["value"].notna() | (found["state"] != "done")
    return found[shown.groupby(found["experiment"]).transform("any")]


def draw(models: "DataFrame") -> "Figure":
    """Return the figure."""
    if models.empty:
        return empty("No preference trial is scored on pairs.")
    panels = panels_of(models, "experiment")
    sizes = [len(panel) + 0.6 for panel in panels]
    figure = canvas(0.9 + sum(ROW * size + 0.3 for size in sizes))
    grid = figure.subplots(len(panels), squeeze=False, sharex=True, height_ratios=sizes)
    for axes, panel in zip(grid.flat, panels, strict=True):
        chance = guide(axes, CHANCE, "chance")
        draw_rows(axes, panel)
        axes.set_title(panel["title"].iloc[0])
        for right, name, show in (
            (1.06, "value", "{:.2f}"), (1.13, "n", "{:,}"), (1.22, "groups", "{:,}"),
        ):  # fmt: skip
            _write_column(axes, right, name, [shown(value, show.format) for value in panel[name]])
    grid.flat[-1].set_xlabel(axis_label(METRIC))
    row_legend(figure, models["method"], chance)
    known = models.dropna(subset=["known"])
    if len(known):
        lines = [
            f"Lookup is {LOOKUP_LABEL}: of a test pair the completion that won more pairs of "
            "train.",
            *(f"{it.title}: {known_pairs(it.known, it.n)}." for it in known.itertuples()),
        ]
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=7, color=INK)
    return figure


def _write_column(axes: "Axes", right: float, header: str, texts: list[str]) -> None:
    """Write numbers right of the rows, so many widths of the panel from its left edge."""
    place = {"transform": axes.get_yaxis_transform(), "ha": "right", "fontsize": 7}
    axes.text(right, -0.65, {"n": "pairs"}.get(header, header), va="bottom", color=FAINT, **place)
    for row, text in enumerate(texts):
        axes.text(right, row, text, va="center", color=INK, **place)


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    return [
        *metric_notes(results, results.models, METRIC),
        *lookup_notes(results, results.models),
        *INTERVAL_NOTES,
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv)


if __name__ == "__main__":
    run(main)
