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
from scripts.report.command import parse_table, write_forms
from scripts.report.read import Subject, base_of, trial_of, with_states
from scripts.report.render import Column, Table, count, shown

ENDS = {"eos": "itself", "length": "cut off"}
"""What people call the reasons for which an answer ends."""
NOTHING = dict.fromkeys(("id", "prompt", "text", "tokens", "stop"))
"""What stands where a model that is not done has no answer."""


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
        text=lambda line: shown(line.row["prompt"], str),
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
        text=lambda line: shown(line.row["text"], lambda text: text.strip() or "(nothing)"),
        names=("text",),
        values=lambda line: (line.row["text"],),
        align="p",
    ),
    Column(
        "Tokens",
        text=lambda line: shown(line.row["tokens"], count),
        names=("tokens",),
        values=lambda line: (line.row["tokens"],),
    ),
    Column(
        "Ended by",
        text=lambda line: shown(line.row["stop"], lambda stop: ENDS.get(stop, stop)),
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
    """Yields the answers prompt by prompt. Raises BadInput where a model that is done has none."""
    answers = [{row["id"]: row for row in subject.answers(name)} for subject in subjects]
    done = [rows for subject, rows in zip(subjects, answers, strict=True) if subject.done]
    asked = done[0] if done else {None: NOTHING}
    for subject, rows in zip(subjects, answers, strict=True):
        lacks = [identity for identity in asked if identity not in rows]
        if subject.done and (lacks or not rows):
            place = f"{subject.root / subject.folder}/generations.parquet"
            which = f"the prompt {lacks[0]}" if lacks else "a prompt"
            raise BadInput(f"{place}: no answer to {which} of the set {name}")
    for identity, first in asked.items():
        unanswered = NOTHING | {key: first[key] for key in ("id", "prompt")}
        for subject, rows in zip(subjects, answers, strict=True):
            yield Line(subject, name, rows.get(identity, unanswered))


def _first(subjects: list[Subject]) -> list[Subject]:
    """Returns the first that is done, if any is."""
    return [subject for subject in subjects if subject.done][:1]


def make(sets: list[tuple[str, list[Subject]]]) -> Table:
    """Returns the table: for each set and prompt what every shown model answered."""
    return Table(
        name="examples",
        title="Answers word for word",
        columns=COLUMNS,
        rows=[line for name, subjects in sets for line in _lines(name, subjects)],
        notes=[
            *answering_notes([(name, it) for name, subjects in sets for it in _first(subjects)]),
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
    arguments = parse_table(__doc__, argv)
    root, states = arguments.root, arguments.states or {}
    sets = [
        (name, with_states(root, subjects, states))
        for name, subjects in shown_sets(root, arguments.plan)
    ]
    subjects = [subject for _, members in sets for subject in members]
    return write_forms(make(sets), subjects, arguments)


if __name__ == "__main__":
    run(main)
