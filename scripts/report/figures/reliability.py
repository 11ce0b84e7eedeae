"""Calibration: how often the chosen completion wins where its margin is that sure of it.

    python -m scripts.report.figures.reliability --root results/demo \\
        --plan '[{"experiment": …}, …]' --pdf reliability.pdf --png reliability.png \\
        --md reliability.md
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
    FAINT,
    INK,
    LOOKS,
    THIN,
    empty,
    panels_of,
    say_absent,
    tiles,
    write_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from pandas import DataFrame

BINS, LOWEST = 10, 0.5
"""Bins of equal width, from the confidence of a guess to 1."""
STRIP = 0.3
"""How high the bar of a bin with every pair would be."""
PANEL = 1.9
"""Inches that a row of panels takes."""


def frame(results: Results) -> "DataFrame":
    """Return a row for each run of a preference trial and bin of confidence that has pairs.

    `bin` counts from 0; a bin holds its lower bound, and the last holds 1 too. `n` pairs,
    `confidence` their mean sigmoid(|margin|), `right` the share with a margin above 0, ties half,
    with `low` and `high` by Wilson. A run that is not scored on pairs has one row without a bin.
    """
    from numpy import exp

    pairs = pair_scores(results, "margin")
    margin = pairs["margin"]
    pairs["confidence"] = 1 / (1 + exp(-margin.abs()))
    place = (pairs["confidence"] - LOWEST) / (1 - LOWEST) * BINS
    pairs["bin"] = place.clip(upper=BINS - 1).floordiv(1)
    pairs["right"] = (margin > 0) + 0.5 * (margin == 0)
    runs = ["experiment", "title", "method", "model", "seed", "name", "state"]
    bins = pairs.groupby([*runs, "bin"], sort=False, dropna=False, as_index=False).agg(
        n=("margin", "count"), confidence=("confidence", "mean"), right=("right", "mean")
    )
    bounds = [
        wilson(right * n, n) if n else (None, None)
        for right, n in zip(bins["right"], bins["n"], strict=True)
    ]
    return bins.assign(low=[low for low, _ in bounds], high=[high for _, high in bounds])


def calibration_error(bins: "DataFrame") -> float:
    """Return the expected calibration error of a run: |right - confidence|, weighted by pairs.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3.
    """
    off = (bins["right"] - bins["confidence"]).abs() * bins["n"]
    return float(off.sum() / bins["n"].sum())


def draw(bins: "DataFrame") -> "Figure":
    """Return the figure."""
    runs = panels_of(bins, "experiment", "model", "seed")
    if not bins["n"].any():
        return empty("No preference trial is scored on pairs.")
    labels = "Confidence: σ(|margin|)", "Share that is right"
    figure, panels = tiles(bins.drop_duplicates(["experiment", "name"]), PANEL, *labels, lines=1)
    for axes, run_ in zip(panels, runs, strict=True):
        _draw_panel(axes, run_)
    return figure


def _draw_panel(axes: "Axes", bins: "DataFrame") -> None:
    if not bins["n"].any():
        say_absent(axes, "not scored on pairs", bins)
        return
    bins, pairs = bins.sort_values("bin"), bins["n"].sum()
    color, marker = LOOKS[bins["method"].iloc[0]]
    axes.plot([LOWEST, 1], [LOWEST, 1], color=INK, linewidth=0.8, linestyle=DOTTED, zorder=1)
    width = (1 - LOWEST) / BINS
    middles, heights = LOWEST + (bins["bin"] + 0.5) * width, STRIP * bins["n"] / pairs
    axes.bar(middles, heights, width * 0.9, color="#d0d0d0", zorder=1)
    for middle, height, n in zip(middles, heights, bins["n"], strict=True):
        axes.text(middle, height + 0.02, f"{n:,}", ha="center", va="bottom", color=FAINT,
                  fontsize=5.5, rotation=90)  # fmt: skip
    axes.plot(bins["confidence"], bins["right"], color=color, marker=marker, linewidth=1.0,
              zorder=4, clip_on=False)  # fmt: skip
    axes.plot([bins["confidence"]] * 2, [bins["low"], bins["high"]], color=INK, linewidth=THIN,
              marker="_", markersize=3.5, zorder=3)  # fmt: skip
    write_above(axes, f"ECE {calibration_error(bins):.3f}, n = {pairs:,}")
    axes.set(xlim=(LOWEST, 1), ylim=(0, 1.02), yticks=[0, 0.25, 0.5, 0.75, 1])


def notes(results: Results) -> list[str]:
    """Return what must be known of the figure."""
    return [
        *metric_notes(results, results.models, "margin"),
        "Confidence: σ(|margin|), the probability that Bradley and Terry's model gives the "
        "completion with the higher implicit reward. Right: the margin is above 0; a tie is half.",
        "Ten bins of equal width from 0.5 to 1; a point lies at its bin's mean confidence, a grey "
        "bar and the number on it say how many pairs the bin has. Dotted: perfect calibration.",
        "ECE: expected calibration error, |share that is right - mean confidence| weighted by "
        "pairs (Guo et al. 2017).",
        f"Interval of each bin: {WILSON_NOTE}",
    ]


def main(argv: list[str] | None = None) -> int:
    """Write the figure as PDF and PNG, and its caption; return 0."""
    return write_figure(__doc__, frame, draw, notes, argv)


if __name__ == "__main__":
    run(main)
