"""The examples: what the base model and some trials answered to the same prompts, word for word.

    python -m scripts.report.examples --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv examples.csv --md examples.md --tex examples.tex
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.report.columns import EXPERIMENT, answering_notes
from scripts.report.command import FORMS, parse, write_forms
from scripts.report.read import Subject, base_of, trial_of
from scripts.report.render import Column, Table, count

ENDS = {"eos": "itself", "length": "cut off"}
"""What people call the reasons for which an answer ends."""


@dataclass(frozen=True)
class Line:
    """One model's answer to a prompt."""

    subject: Subject
    set: str
    row: dict[str, Any]

    @property
    def prompt(self) -> tuple[str, str, str]:
        """What tells the prompt from all others."""
        return self.subject.experiment, self.set, self.row["id"]


def _model(line: Line) -> str:
    name = line.subject.name
    return f"{name} (base)" if line.subject.method == "base" else name


COLUMNS = (
    EXPERIMENT.over(lambda line: line.subject),
    Column(
        "Prompts",
        text=lambda line: line.set,
        names=("set", "id"),
        values=lambda line: (line.set, line.row["id"]),
        align="l",
    ),
    Column(
        "Prompt",
        text=lambda line: line.row["prompt"],
        names=("prompt",),
        values=lambda line: (line.row["prompt"],),
        align="p",
        once=True,
    ),
    Column(
        "Model",
        text=_model,
        names=("trial", "seed"),
        values=lambda line: (line.subject.name, line.subject.seed),
        align="l",
    ),
    Column(
        "Answer",
        text=lambda line: line.row["text"].strip() or "(nothing)",
        names=("text",),
        values=lambda line: (line.row["text"],),
        align="p",
    ),
    Column(
        "Tokens",
        text=lambda line: count(line.row["tokens"]),
        names=("tokens",),
        values=lambda line: (line.row["tokens"],),
    ),
    Column(
        "Ended by",
        text=lambda line: ENDS.get(line.row["stop"], line.row["stop"]),
        names=("stop",),
        values=lambda line: (line.row["stop"],),
        align="l",
    ),
)


def shown_sets(root: Path, plan: list[dict[str, Any]]) -> list[tuple[str, list[Subject]]]:
    """Returns each set of prompts whose answers are shown, with the base and the shown trials."""
    sets = []
    for part in plan:
        for name, runs in part["shown"].items():
            # Its method is of no matter here, and the plan may leave it out.
            trials = [trial_of(root, part, run, "shown") for run in runs]
            sets.append((name, [*base_of(root, part), *trials]))
    return sets


def _lines(name: str, subjects: list[Subject]) -> Iterator[Line]:
    """Yields the answers prompt by prompt. Raises BadInput where a model has none."""
    answers = [{row["id"]: row for row in subject.answers(name)} for subject in subjects]
    for subject, rows in zip(subjects, answers, strict=True):
        lacks = [identity for identity in answers[0] if identity not in rows]
        if lacks or not rows:
            place = f"{subject.root / subject.folder}/generations.parquet"
            which = f"the prompt {lacks[0]}" if lacks else "a prompt"
            raise BadInput(f"{place}: no answer to {which} of the set {name}")
    for identity in answers[0]:
        for subject, rows in zip(subjects, answers, strict=True):
            yield Line(subject, name, rows[identity])


def make(sets: list[tuple[str, list[Subject]]]) -> Table:
    """Returns the table: for each set and prompt what every shown model answered."""
    return Table(
        name="examples",
        title="Answers word for word",
        columns=COLUMNS,
        rows=[line for name, subjects in sets for line in _lines(name, subjects)],
        notes=[
            *answering_notes([(name, subjects[0]) for name, subjects in sets]),
            "Cut off: the answer reached the most tokens that were allowed.",
            "Signs that are not seen, and signs that a form of this table cannot print, stand as "
            "their code points, such as [U+200B]; the CSV holds each text as it is.",
        ],
        subject=lambda line: line.prompt,
        stub=2,
        page=8,
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    arguments = parse(__doc__, FORMS, argv)
    sets = shown_sets(arguments.root, arguments.plan)
    subjects = [subject for _, members in sets for subject in members]
    return write_forms(make(sets), subjects, arguments)


if __name__ == "__main__":
    run(main)
