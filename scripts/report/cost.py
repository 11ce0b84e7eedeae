"""The table of costs: what each trial, base and reference took of which device.

    python -m scripts.report.cost --root results/demo --plan '[{"experiment": …}, …]' \\
        --references tutor=results/demo/references/base.dialogues.demo.chat.128/train.json … \\
        --csv cost.csv --md cost.md --tex cost.tex
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json
from scripts.report.columns import number
from scripts.report.command import parse_table, planned, write_forms
from scripts.report.read import METHODS, Subject, document
from scripts.report.render import Column, Table, count, decimals, shown

REFERENCE = "reference"
JOULES = 3600
"""In a watt hour."""


@dataclass(frozen=True)
class Line:
    """What one run took; None for what it has not done, or what its device does not count."""

    subject: Subject | None
    """None for a reference."""
    experiment: str
    title: str
    name: str
    method: str
    devices: tuple[str, ...]
    training: float | None = None
    """Seconds of training, or for a reference of its log-probs."""
    evaluation: float | None = None
    """Seconds of scoring, from loading the model on."""
    steps: int | None = None
    tokens: int | None = None
    processed: int | None = None
    peak: float | None = None
    joules: float | None = None

    @property
    def seed(self) -> int | None:
        """The trial's seed."""
        return self.subject and self.subject.seed

    @property
    def pace(self) -> float | None:
        """Tokens learned from in a second of training."""
        return self.tokens / self.training if self.tokens and self.training else None


def line_of(subject: Subject) -> Line:
    """Returns what a trial or base took."""
    peaks = (subject.outcome("peak_memory_mb"), subject.scoring("peak_memory_mb"))
    devices = ", ".join(filter(None, (subject.outcome("device"), subject.scoring("device"))))
    energies = [subject.scoring("energy_joules")]
    if subject.method != "base":
        energies.append(subject.outcome("energy_joules"))
    return Line(
        subject,
        subject.experiment,
        subject.title,
        subject.name,
        subject.method,
        # A trial that went on elsewhere names several, too.
        devices=tuple(dict.fromkeys(filter(None, devices.split(", ")))),
        training=subject.outcome("seconds"),
        evaluation=subject.scoring("seconds"),
        steps=subject.outcome("steps"),
        tokens=subject.outcome("tokens"),
        processed=subject.outcome("layout", "processed_tokens"),
        peak=max((peak for peak in peaks if peak is not None), default=None),
        # Of a part that is not counted, no sum is known.
        joules=None if None in energies else sum(energies),
    )


def line_of_reference(path: Path, experiment: str, title: str) -> Line:
    """Returns what a reference's log-probs took. Raises BadInput where the file lacks it."""
    found = document(path, read_json)
    return Line(
        None,
        experiment,
        title,
        f"{path.parent.name}/{path.stem}",
        REFERENCE,
        devices=(found.at("device"),),
        training=found.at("seconds"),
        peak=found.at("peak_memory_mb"),
        joules=found.at("energy_joules"),
    )


def _devices(line: Line) -> str | None:
    return ", ".join(line.devices) or None


def _watt_hours(line: Line) -> float | None:
    return None if line.joules is None else line.joules / JOULES


def _word(header: str, name: str, read: Callable[[Line], str | None]) -> Column:
    return Column(header, lambda line: shown(read(line), str), (name,), lambda line: (read(line),),
                  align="l")  # fmt: skip


COLUMNS = (
    Column(
        "Experiment",
        text=lambda line: line.title,
        names=("experiment", "title"),
        values=lambda line: (line.experiment, line.title),
        align="l",
    ),
    _word("Trial", "trial", lambda line: line.name),
    number("Seed", "seed", lambda line: line.seed, str),
    Column(
        "Method",
        text=lambda line: METHODS.get(line.method, line.method),
        names=("method",),
        values=lambda line: (line.method,),
        align="l",
    ),
    _word("Device", "device", _devices),
    number("Training\nseconds", "training_seconds", lambda line: line.training, decimals(1)),
    number("Evaluation\nseconds", "evaluation_seconds", lambda line: line.evaluation, decimals(1)),
    number("Steps", "steps", lambda line: line.steps, count),
    number("Tokens", "tokens", lambda line: line.tokens, count),
    number("Tokens\nprocessed", "processed_tokens", lambda line: line.processed, count),
    number("Tokens a\nsecond", "tokens_per_second", lambda line: line.pace, decimals(0)),
    number("Peak\nMiB", "peak_memory_mb", lambda line: line.peak, decimals(0)),
    number("Energy\n(Wh)", "energy_watt_hours", _watt_hours, decimals(3)),
)


def make(subjects: list[Subject], references: Iterable[tuple[str, Path]]) -> Table:
    """Returns the table: the base and the trials of each experiment, then its references.

    Parameters
    ----------
    references
        Of each reference's log-probs the experiment that they are counted for, and the file of
        their cost.
    """
    titles = {subject.experiment: subject.title for subject in subjects}
    models = [subject for subject in subjects if subject.method != "lookup"]
    lines = [line_of(run) for subject in models for run in subject.each_seed() or [subject]]
    lines += [
        line_of_reference(path, name, titles[name]) for name, path in references if name in titles
    ]
    rows = [line for name in titles for line in lines if line.experiment == name]
    return Table(
        name="cost",
        title="What each run took",
        columns=COLUMNS,
        rows=rows,
        subject=lambda line: line.name,
        notes=[
            *(_total(title, [it for it in rows if it.experiment == name])
              for name, title in titles.items()),
            "Training seconds: of the training loop, evaluations on the way included; of a "
            "reference, of its log-probs, which are computed once for all trials that share them "
            "and stand here once. Evaluation seconds: loading the model and scoring it.",
            "Tokens: of all rows that were learned from, without padding; processed: those that "
            "the model was given, which are fewer where rows share a prompt, and more where they "
            "are padded. Tokens a second: of training.",
            "Peak: of a GPU what was allocated, on a CPU the size of the process; of training and "
            "evaluation the larger.",
            "Energy: of the whole GPU, as it counts by itself; – where none does.",
            "Data, judging, tables and figures, and tries that failed or were interrupted, are not "
            "counted.",
        ],
    )  # fmt: skip


def _total(title: str, lines: list[Line]) -> str:
    """Returns what an experiment took; energy only where every part is known."""
    trained = [line for line in lines if line.method != REFERENCE]
    references = [line for line in lines if line.method == REFERENCE]
    several = "" if len(references) == 1 else "s"
    parts = {
        "training": _sum(line.training for line in trained),
        "evaluation": _sum(line.evaluation for line in trained),
        f"{len(references)} reference{several}, each once": _sum(it.training for it in references),
    }
    # What is not done has taken nothing that is known.
    joules = [line.joules for line in lines if line.devices]
    energy = "" if None in joules or not joules else f"; {sum(joules) / JOULES:,.3f} Wh"
    devices = ", ".join(dict.fromkeys(name for line in lines for name in line.devices)) or "none"
    said = ", ".join(f"{seconds:,.1f} s of {part}" for part, seconds in parts.items())
    return f"Total of {title}: {sum(parts.values()):,.1f} s ({said}){energy}; device: {devices}."


def _sum(values: Iterable[float | None]) -> float:
    return sum(value for value in values if value is not None)


def owned(word: str) -> tuple[str, Path]:
    """Returns experiment and file of `experiment=file`. Raises BadInput for anything else."""
    name, equals, path = word.partition("=")
    if not equals:
        raise BadInput(f"--references: found {word}; experiment=file is allowed")
    return name, Path(path)


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    more: dict[str, Any] = {"references": "experiment=file of each reference's cost"}
    arguments = parse_table(__doc__, argv, lists=more)
    subjects = planned(arguments)
    return write_forms(make(subjects, map(owned, arguments.references)), subjects, arguments)


if __name__ == "__main__":
    run(main)
