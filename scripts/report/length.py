"""The figure of the lengths: does a completion get a reward for being long?

    python -m scripts.report.length --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf length.pdf --png length.png --md length.md
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.common.wilson import wilson
from scripts.report.columns import METHOD_NOTES, figure_notes
from scripts.report.figure_command import write_figure
from scripts.report.read import WILSON, Subject, by_experiment
from scripts.report.render import count, decimals, shown, shown_interval
from scripts.report.style import (
    DOTTED,
    INK,
    METHOD_LOOKS,
    empty,
    say_absent,
    tiles,
    write_above,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

MARGIN, DIFFERENCE = "margin", "length_difference"
PANEL = 1.8
"""Inches that a row of panels takes."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of completions, each by how much longer the chosen one is, and by its margin."""

    differences: list[float]
    """Tokens of chosen minus those of rejected."""
    margins: list[float]

    def where(self, longer: bool) -> list[float]:
        """Returns the margins of the pairs whose chosen completion is longer, or is shorter."""
        sign = 1 if longer else -1
        pairs = zip(self.differences, self.margins, strict=True)
        return [margin for difference, margin in pairs if sign * difference > 0]

    def line(self) -> tuple[float, float] | None:
        """Returns slope and intercept by least squares; None where all lengths are alike."""
        if len(set(self.differences)) < 2:
            return None
        from scipy.stats import linregress

        fitted = linregress(self.differences, self.margins)
        return float(fitted.slope), float(fitted.intercept)

    def rank_correlation(self) -> tuple[float, float] | None:
        """Returns Spearman's ρ and its two-sided p; None where one side does not vary.

        https://docs.scipy.org/doc/scipy/reference/generated/scipy.stats.spearmanr.html: p by
        Student's t, pairs taken as independent.
        """
        if min(len(set(self.differences)), len(set(self.margins))) < 2 or len(self.margins) < 3:
            return None
        from scipy.stats import spearmanr

        found = spearmanr(self.differences, self.margins)
        return float(found.statistic), float(found.pvalue)


def pairs_of(trial: Subject) -> Pairs | None:
    """Returns a trial's pairs, or None where its items lack margins or differences of length."""
    margins, differences = trial.items(MARGIN), trial.items(DIFFERENCE)
    shared = [item for item in margins if item in differences]
    if not shared:
        return None
    return Pairs([differences[it] for it in shared], [margins[it] for it in shared])


def accuracy_of(margins: list[float]) -> tuple[float, tuple[float, float]] | None:
    """Returns the share of margins above 0, ties half, and its interval; None of no pairs."""
    if not margins:
        return None
    right = sum(0.5 if margin == 0 else float(margin > 0) for margin in margins)
    return right / len(margins), wilson(right, len(margins))


# ------------------------------------------------------------------------------------- the figure


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    experiments = [
        members
        for members in by_experiment(_trials(subjects)).values()
        if any(member.items(MARGIN) for member in members)
    ]
    if not experiments:
        return empty("No preference trial is scored on pairs.")
    labels = "Length difference (tokens)", "Reward margin"
    figure, panels = tiles(experiments, PANEL, *labels, lines=3)
    for axes, trial in panels:
        _draw_panel(axes, trial)
    return figure


def _trials(subjects: list[Subject]) -> list[Subject]:
    """Returns the preference trials, once a seed."""
    return [run for subject in subjects if subject.method == "dpo" for run in subject.each_seed()]


def _draw_panel(axes: "Axes", trial: Subject) -> None:
    pairs = pairs_of(trial)
    if pairs is None:
        lacks = DIFFERENCE if trial.items(MARGIN) else MARGIN
        say_absent(axes, f"items.parquet has no {lacks}")
        return
    look = METHOD_LOOKS["dpo"]
    for level in (axes.axhline, axes.axvline):
        level(0, color=INK, linewidth=0.8, linestyle=DOTTED, zorder=1)
    axes.scatter(pairs.differences, pairs.margins, s=9, color=look.color, marker=look.marker,
                 alpha=0.45, linewidth=0, zorder=2)  # fmt: skip
    _draw_line(axes, pairs)
    write_above(
        axes,
        f"{_correlation(pairs)}, n = {count(len(pairs.margins))}",
        *(f"{word} {_accuracy(pairs.where(longer))}"
          for word, longer in (("longer", True), ("shorter", False))),
    )  # fmt: skip


def _draw_line(axes: "Axes", pairs: Pairs) -> None:
    fitted = pairs.line()
    if fitted is not None:
        slope, intercept = fitted
        ends = [min(pairs.differences), max(pairs.differences)]
        axes.plot(ends, [intercept + slope * end for end in ends], color=INK, linewidth=1.4,
                  zorder=3)  # fmt: skip


def _correlation(pairs: Pairs) -> str:
    found = pairs.rank_correlation()
    if found is None:
        return f"ρ {shown(None, str)}"
    rho, p = found
    return f"ρ {decimals(2)(rho)} ({'p < 0.001' if p < 0.001 else f'p = {p:.3f}'})"


def _accuracy(margins: list[float]) -> str:
    found = accuracy_of(margins)
    if found is None:
        return f"{shown(None, str)} of 0"
    share, interval = found
    show = decimals(2)
    return f"{show(share)} {shown_interval(interval, show)} of {count(len(margins))}"


def notes(subjects: list[Subject]) -> list[str]:
    """Returns what must be known of the figure."""
    return [
        *figure_notes(_trials(subjects), [MARGIN]),
        "A point is a pair: tokens of the chosen completion minus those of the rejected one, and "
        "its margin. Line: least squares. ρ: Spearman's, its p two-sided, pairs taken as "
        "independent.",
        "Longer, shorter: the share of the pairs whose chosen completion is longer "
        "(shorter) than the rejected one that have a margin above 0, ties half. Pairs of one "
        "length are in neither.",
        METHOD_NOTES[WILSON],
    ]


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG, and its caption; returns 0."""
    return write_figure(draw, __doc__, argv, notes)


if __name__ == "__main__":
    run(main)
