"""The results of the preference trials in long form: one line a figure and interval.

    python -m scripts.report.results --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv results.csv --md results.md --tex results.tex
"""

from collections.abc import Iterable
from dataclasses import dataclass

from scripts.common.cli import run
from scripts.report.columns import (
    EXPERIMENT,
    METHOD_NOTES,
    OF_FIGURE,
    SEEDS,
    TRIAL,
    figure_notes,
    lookup_notes,
    seed_note,
    selection_notes,
)
from scripts.report.command import write_table
from scripts.report.read import BY_GROUP, INTERVALS, LABELS, WILSON, Figure, Subject
from scripts.report.render import Column, Table

HELD_OUT = ("preference_loss", "preference_accuracy", "margin")


@dataclass(frozen=True)
class Line:
    """One figure of one trial, with one of its intervals or none."""

    subject: Subject
    key: str
    figure: Figure
    method: str | None
    """How its interval is made, if it has one."""


def _lines(subject: Subject) -> list[Line]:
    if subject.method == "lookup":
        return _held_out(subject, ["preference_accuracy"])
    train_loss = Figure(value=subject.outcome("train_loss"), unit="nats")
    return [Line(subject, "train_loss", train_loss, None), *_held_out(subject, HELD_OUT)]


def _held_out(subject: Subject, keys: Iterable[str]) -> list[Line]:
    lines = []
    for key in keys:
        found = subject.figure(key)
        methods = [method for method in INTERVALS if method in found.intervals]
        lines += [Line(subject, key, found, method) for method in methods or [None]]
    return lines


COLUMNS = (
    *(column.over(lambda line: line.subject) for column in (EXPERIMENT, TRIAL, SEEDS)),
    Column("Figure", lambda line: LABELS[line.key], ("figure",), lambda line: (line.key,), "l"),
    *OF_FIGURE,
)


def make(subjects: list[Subject]) -> Table:
    """Returns the table: the main figures of every DPO trial, and the lookup's accuracy."""
    trials = [subject for subject in subjects if subject.method in ("dpo", "lookup")]
    return Table(
        name="results",
        title="Results of preference tuning",
        columns=COLUMNS,
        rows=[line for subject in trials for line in _lines(subject)],
        notes=[
            seed_note(trials),
            *selection_notes(trials),
            "Train loss: mean over the run; the other figures are held out.",
            *figure_notes(trials, HELD_OUT),
            *lookup_notes(trials),
            METHOD_NOTES[WILSON],
            METHOD_NOTES[BY_GROUP],
        ],
        stub=3,
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
