"""The figure of the preference accuracies: a row for each DPO trial and lookup, both intervals.

    python -m scripts.report.accuracy --root results/demo --plan '[{"experiment": …}, …]' \\
        --pdf accuracy.pdf --png accuracy.png --md accuracy.md
"""

from typing import TYPE_CHECKING

from scripts.common.cli import run
from scripts.report.columns import METHOD_NOTES, figure_notes, known_pairs, lookup_notes
from scripts.report.figure_command import write_figure
from scripts.report.read import BY_GROUP, LOOKUP, WILSON, Subject, by_experiment
from scripts.report.render import count, decimals, shown
from scripts.report.style import (
    FAINT,
    INK,
    ROW,
    axis_label,
    canvas,
    draw_rows,
    empty,
    guide,
    names_of,
    row_legend,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

KEY = "preference_accuracy"
CHANCE = 0.5


def draw(subjects: list[Subject]) -> "Canvas":
    """Returns the figure."""
    trials = [subject for subject in subjects if subject.method in ("dpo", "lookup")]
    if not trials:
        return empty("No preference trial is planned.")
    panels = [
        members
        for members in by_experiment(trials).values()
        if any(member.figure(KEY).value is not None or not member.done for member in members)
    ]
    if not panels:
        return empty("No preference trial is scored on pairs.")
    sizes = [len(members) + 0.6 for members in panels]
    figure = canvas(0.9 + sum(ROW * size + 0.3 for size in sizes))
    grid = figure.subplots(len(panels), squeeze=False, sharex=True, height_ratios=sizes)
    for axes, members in zip(grid.flat, panels, strict=True):
        chance = guide(axes, CHANCE, "chance")
        draw_rows(axes, members, [member.figure(KEY) for member in members])
        axes.set_yticklabels(names_of(members))
        axes.set_title(members[0].title)
        _write_numbers(axes, members)
    grid.flat[-1].set_xlabel(axis_label(KEY, [trial.figure(KEY) for trial in trials]))
    row_legend(figure, trials, chance)
    _write_note(figure, trials)
    return figure


def _write_note(figure: "Canvas", trials: list[Subject]) -> None:
    """Writes below what the lookup is and what it knows."""
    lookups = [trial for trial in trials if trial.method == "lookup" and trial.done]
    lines = [f"{lookup.title}: {known_pairs(lookup)}" for lookup in lookups]
    if lines:
        first = f"Lookup is {LOOKUP}: of a test pair the completion that won more pairs of train."
        text = "\n".join([first, *(f"{line}." for line in lines)])
        figure.supxlabel(text, x=0.01, ha="left", fontsize=7, color=INK)


def _write_numbers(axes: "Axes", trials: list[Subject]) -> None:
    """Writes right of each row the accuracy and on how many pairs and groups it rests."""
    found = [trial.figure(KEY) for trial in trials]
    _write_column(axes, 1.06, "value", [shown(it.value, decimals(2)) for it in found])
    _write_column(axes, 1.13, "pairs", [shown(it.n, count) for it in found])
    _write_column(axes, 1.22, "groups", [shown(it.groups, count) for it in found])


def _write_column(axes: "Axes", right: float, header: str, texts: list[str]) -> None:
    place = {"transform": axes.get_yaxis_transform(), "ha": "right", "fontsize": 7}
    axes.text(right, -0.65, header, va="bottom", color=FAINT, **place)
    for row, text in enumerate(texts):
        axes.text(right, row, text, va="center", color=INK, **place)


def notes(subjects: list[Subject]) -> list[str]:
    """Returns what must be known of the figure."""
    return [
        *figure_notes(subjects, [KEY]),
        *lookup_notes(subjects),
        METHOD_NOTES[WILSON],
        METHOD_NOTES[BY_GROUP],
    ]


def main(argv: list[str] | None = None) -> int:
    """Writes the figure as PDF and PNG, and its caption; returns 0."""
    return write_figure(draw, __doc__, argv, notes)


if __name__ == "__main__":
    run(main)
