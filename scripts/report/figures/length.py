"""Lengths: does a completion get a reward for being long?

    python -m scripts.report.figures.length --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf length.pdf --png length.png --md length.md
"""

from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.wilson import wilson
from scripts.report.figure_command import write_figure
from scripts.report.headline import pair_scores
from scripts.report.notes import WILSON_NOTE, metric_notes
from scripts.report.results import Results
from scripts.report.style import (
    DOTTED,
    INK,
    LOOKS,
    empty,
    panels_of,
    say_absent,
    tiles,
    write_above,
)
from scripts.report.text import DASH, decimals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame, Series

MARGIN, DIFFERENCE = "margin", "length_difference"
PANEL = 1.8
"""Inches that a row of panels takes."""


def frame(results: Results) -> "DataFrame":
    """Return the pairs of each run of a preference trial: margin and length_difference, in tokens.

    Chosen minus rejected. A run whose items lack one of the two has rows without it.
    """
    return pair_scores(results, MARGIN, DIFFERENCE)


def rank_correlation(pairs: "DataFrame") -> tuple[float, float] | None:
    """Return Spearman's ρ and its two-sided p; None where one side does not vary.

    https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.spearmanr.html: p by Student's
    t, pairs taken as independent.
    """
    if len(pairs) < 3 or pairs[[DIFFERENCE, MARGIN]].nunique().min() < 2:
        return None
    from scipy.stats import spearmanr

    found = spearmanr(pairs[DIFFERENCE], pairs[MARGIN])
    return float(found.statistic), float(found.pvalue)


def accuracy(margins: "Series") -> tuple[float, tuple[float, float]] | None:
    """Return the share of margins above 0, ties half, and its interval; None of no pairs."""
    if margins.empty:
        return None
    right = float((margins > 0).sum() + 0.5 * (margins == 0).sum())
    return right / len(margins), wilson(right, len(margins))


def draw(pairs: "DataFrame") -> "Figure":
    """Return the figure."""
    if not pairs[MARGIN].notna().any():
        return empty("No preference trial is scored on pairs.")
    runs = panels_of(pairs, "experiment", "model", "seed")
    labels = "Length difference (tokens)", "Reward margin"
    figure, panels = tiles(pairs.drop_duplicates(["experiment", "name"]), PANEL, *labels, lines=3)
    for axes, run_ in zip(panels, runs, strict=True):
        _draw_panel(axes, run_)
    return figure


def _draw_panel(axes: "Axes", pairs: "DataFrame") -> None:
    import seaborn

    lacks = [name for name in (MARGIN, DIFFERENCE) if pairs[name].isna().all()]
    if lacks:
        say_absent(axes, f"items.parquet has no {lacks[0]}", pairs)
        return
    pairs = pairs.dropna(subset=[MARGIN, DIFFERENCE])
    color, marker = LOOKS[pairs["method"].iloc[0]]
    labels = {"xlabel": axes.get_xlabel(), "ylabel": axes.get_ylabel()}
    for level in (axes.axhline, axes.axvline):
        level(0, color=INK, linewidth=0.8, linestyle=DOTTED, zorder=1)
    seaborn.regplot(
        pairs, x=DIFFERENCE, y=MARGIN, ci=None, fit_reg=pairs[DIFFERENCE].nunique() > 1, ax=axes,
        truncate=True, marker=marker, color=color, line_kws={"color": INK, "linewidth": 1.4},
        scatter_kws={"s": 9, "alpha": 0.45, "edgecolors": "none"},
    )  # fmt: skip
    axes.set(**labels)
    write_above(
        axes,
        f"{_correlation(pairs)}, n = {len(pairs):,}",
        f"longer {_accuracy(pairs.loc[pairs[DIFFERENCE] > 0, MARGIN])}",
        f"shorter {_accuracy(pairs.loc[pairs[DIFFERENCE] < 0, MARGIN])}",
    )


def _correlation(pairs: "DataFrame") -> str:
    found = rank_correlation(pairs)
    if found is None:
        return f"ρ {DASH}"
    rho, p = found
    return f"ρ {decimals(2)(rho)} ({'p < 0.001' if p < 0.001 else f'p = {p:.3f}'})"


def _accuracy(margins: "Series") -> str:
    found = accuracy(margins)
    if found is None:
        return f"{DASH} of 0"
    share, (low, high) = found
    return f"{share:.2f} [{low:.2f}, {high:.2f}] of {len(margins):,}"


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    return [
        *metric_notes(results, results.models, MARGIN),
        "A point is a pair: tokens of the chosen completion minus those of the rejected one, and "
        "its margin. Line: least squares. ρ: Spearman's, its p two-sided, pairs taken as "
        "independent.",
        "Longer, shorter: the share of the pairs whose chosen completion is longer (shorter) than "
        "the rejected one that have a margin above 0, ties half. Pairs of equal length are in "
        "neither.",
        WILSON_NOTE,
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv)


if __name__ == "__main__":
    run(main)
