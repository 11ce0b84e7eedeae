"""The table of all figures: a line for each that was measured of a model, on pairs and on answers.

    python -m scripts.report.metrics --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv metrics.csv --md metrics.md --tex metrics.tex
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from scripts.common.cli import run
from scripts.report.columns import (
    EXPERIMENT,
    METHOD,
    METHOD_NOTES,
    OF_FIGURE,
    SEEDS,
    TRIAL,
    lookup_notes,
    seed_note,
    selection_notes,
)
from scripts.report.command import write_table
from scripts.report.read import BY_GROUP, JACKKNIFE, WILSON, Figure, Subject, label_of
from scripts.report.render import Column, Table, shown

METHODS = (BY_GROUP, JACKKNIFE, WILSON)
"""The interval that is shown first: items of a group go together."""


@dataclass(frozen=True)
class Line:
    """One figure of one model."""

    subject: Subject
    set: str | None
    key: str

    @cached_property
    def figure(self) -> Figure:
        """What was measured."""
        return self.subject.figure(self.key, self.set)

    @cached_property
    def method(self) -> str | None:
        """How its interval is made, if it has one."""
        return next((method for method in METHODS if method in self.figure.intervals), None)


def lines_of(subject: Subject) -> Iterator[Line]:
    """Yields the figures of pairs and completions, then those of each set of prompts."""
    for name in (None, *subject.sets):
        for key in subject.measured(name):
            yield Line(subject, name, key)


COLUMNS = (
    *(column.over(lambda line: line.subject) for column in (EXPERIMENT, TRIAL, METHOD, SEEDS)),
    Column("Prompts", lambda line: shown(line.set, str), ("set",), lambda line: (line.set,), "l"),
    Column(
        "Figure",
        text=lambda line: label_of(line.key),
        names=("figure", "definition"),
        values=lambda line: (line.key, line.figure.definition),
        align="l",
    ),
    *OF_FIGURE,
)


def make(subjects: list[Subject]) -> Table:
    """Returns the table: every figure of every model."""
    return Table(
        name="metrics",
        title="Every figure of every model",
        columns=COLUMNS,
        rows=[line for subject in subjects for line in lines_of(subject)],
        notes=[
            seed_note(subjects),
            *selection_notes(subjects),
            "What each figure is stands in the column definition of the CSV, and in "
            "docs/metrics.md.",
            *lookup_notes(subjects),
            METHOD_NOTES[WILSON],
            METHOD_NOTES[BY_GROUP],
            "Jackknife: from the figure without each group in turn, for counts of what differs.",
        ],
        subject=lambda line: line.subject,
        stub=5,
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
