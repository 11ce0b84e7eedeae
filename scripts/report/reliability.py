"""The figure of the calibration: how often the chosen one wins where its margin is that sure of it.

    python -m scripts.report.reliability --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf reliability.pdf --png reliability.png --md reliability.md
"""

from dataclasses import dataclass
from math import exp
from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.wilson import wilson
from scripts.report.columns import METHOD_NOTES, figure_notes
from scripts.report.figure_command import write_figure
from scripts.report.read import WILSON, Subject, by_experiment
from scripts.report.render import count, decimals
from scripts.report.style import (
    DOTTED,
    FAINT,
    INK,
    METHOD_LOOKS,
    THIN,
    empty,
    say_absent,
    tiles,
    write_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

KEY = "margin"
BINS = 10
LOWEST = 0.5
"""The confidence of who guesses."""
STRIP = 0.3
"""How high the bar of a bin with every pair would be."""
PANEL = 1.9
"""Inches that a row of panels takes."""


@dataclass(frozen=True)
class Bin:
    """The pairs of which a model is about as sure."""

    n: int
    confidence: float
    """The mean over its pairs."""
    correct: float
    """How many it has right; ties count half."""

    @property
    def accuracy(self) -> float:
        return self.correct / self.n


def confidence(margin: float) -> float:
    """Returns how sure a margin is of the completion that it prefers, from 0.5 to 1.

    The probability that Bradley and Terry's model gives it: sigmoid(|margin|).
    """
    return 1 / (1 + exp(-abs(margin)))


def bins_of(margins: list[float]) -> list[Bin | None]:
    """Returns the ten bins of equal width from 0.5 to 1; None where a bin has no pair.

    A bin holds its lower bound; the last holds 1, too. A margin of 0 is a tie.
    """
    members: list[list[float]] = [[] for _ in range(BINS)]
    for margin in margins:
        place = int((confidence(margin) - LOWEST) / (1 - LOWEST) * BINS)
        members[min(place, BINS - 1)].append(margin)
    return [_bin(found) if found else None for found in members]


def _bin(margins: list[float]) -> Bin:
    correct = sum(0.5 if margin == 0 else float(margin > 0) for margin in margins)
    return Bin(len(margins), sum(map(confidence, margins)) / len(margins), correct)


def calibration_error(bins: list[Bin | None]) -> float:
    """Returns the expected calibration error: |accuracy - confidence|, weighted by pairs.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, equation 3.
    """
    found = [it for it in bins if it is not None]
    off = sum(it.n * abs(it.accuracy - it.confidence) for it in found)
    return off / sum(it.n for it in found)


# ------------------------------------------------------------------------------------- the figure


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    experiments = [
        members
        for members in by_experiment(_trials(subjects)).values()
        if any(member.items(KEY) for member in members)
    ]
    if not experiments:
        return empty("No preference trial is scored on pairs.")
    labels = "Confidence: σ(|margin|)", "Share that is right"
    figure, panels = tiles(experiments, PANEL, *labels, lines=1)
    for axes, trial in panels:
        _draw_panel(axes, trial)
    return figure


def _trials(subjects: list[Subject]) -> list[Subject]:
    """Returns the preference trials, once a seed."""
    return [run for subject in subjects if subject.method == "dpo" for run in subject.each_seed()]


def _draw_panel(axes: "Axes", trial: Subject) -> None:
    margins = list(trial.items(KEY).values())
    if not margins:
        say_absent(axes, "not scored on pairs")
        return
    bins = bins_of(margins)
    axes.plot([LOWEST, 1], [LOWEST, 1], color=INK, linewidth=0.8, linestyle=DOTTED, zorder=1)
    _draw_counts(axes, bins, len(margins))
    _draw_bins(axes, [found for found in bins if found is not None])
    error = decimals(3)(calibration_error(bins))
    write_above(axes, f"ECE {error}, n = {count(len(margins))}")
    axes.set(xlim=(LOWEST, 1), ylim=(0, 1.02), yticks=[0, 0.25, 0.5, 0.75, 1])


def _draw_bins(axes: "Axes", bins: list[Bin]) -> None:
    look = METHOD_LOOKS["dpo"]
    places = [found.confidence for found in bins]
    axes.plot(places, [found.accuracy for found in bins], color=look.color, marker=look.marker,
              linewidth=1.0, zorder=4)  # fmt: skip
    for place, found in zip(places, bins, strict=True):
        low, high = wilson(found.correct, found.n)
        axes.plot([place, place], [low, high], color=INK, linewidth=THIN, marker="_",
                  markersize=3.5, zorder=3)  # fmt: skip


def _draw_counts(axes: "Axes", bins: list[Bin | None], pairs: int) -> None:
    """Draws below how the pairs lie in the bins, and writes how many each has."""
    width = (1 - LOWEST) / BINS
    for place, found in enumerate(bins):
        if found is not None:
            middle, height = LOWEST + (place + 0.5) * width, STRIP * found.n / pairs
            axes.bar(middle, height, width * 0.9, color="#d0d0d0", zorder=1)
            axes.text(middle, height + 0.02, count(found.n), ha="center", va="bottom", color=FAINT,
                      fontsize=5.5, rotation=90)  # fmt: skip


def notes(subjects: list[Subject]) -> list[str]:
    """Returns what must be known of the figure."""
    return [
        *figure_notes(_trials(subjects), [KEY]),
        "Confidence: σ(|margin|), the probability that Bradley and Terry's model gives the "
        "completion with the higher implicit reward. Right: the margin is above 0; a tie is half.",
        "Ten bins of equal width from 0.5 to 1; a point lies at its bin's mean confidence, a grey "
        "bar and the number on it say how many pairs the bin has. Dotted: perfect calibration.",
        "ECE: expected calibration error, |share that is right - mean confidence| weighted by "
        "pairs (Guo et al. 2017).",
        f"Interval of each bin: {METHOD_NOTES[WILSON]}",
    ]


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG, and its caption; returns 0."""
    return write_figure(draw, __doc__, argv, notes)


if __name__ == "__main__":
    run(main)
