"""The comparison: each published figure, what the authors' notebook shows, and what we measured.

    python -m scripts.report.comparison --root results --plan '[{"experiment": …}, …]' \\
        --claims paper/claims.yaml --csv comparison.csv --md comparison.md --tex comparison.tex
"""

from dataclasses import dataclass
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.report.claims import (
    BASE,
    LOOKUP_TRIAL,
    Claim,
    ClaimedFigure,
    Claims,
    Ours,
    read_claims,
)
from scripts.report.columns import METHOD_NOTES, figure_names, figure_values
from scripts.report.command import FORMS, parse, write_forms
from scripts.report.read import BY_GROUP, WILSON, Figure, Subject, subjects_of
from scripts.report.render import (
    Column,
    Show,
    Table,
    change,
    count,
    decimals,
    shown,
    shown_interval,
)
from scripts.report.speedup import Speedup

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True)
class Line:
    """A claim beside what a protocol gave, once a seed; `found` is empty if not planned."""

    figure: ClaimedFigure
    claim: Claim
    protocol: str
    trial: str
    seed: int | None
    several: bool
    """Whether the trial has several seeds."""
    found: Figure
    heading: str
    notes: dict[str, int]
    """The numbers of all notes."""
    speedup: Speedup | None
    """What our figure comes from where it is one."""

    @property
    def published(self) -> bool:
        """Whether this is the protocol that the claim is about."""
        return self.protocol == self.figure.protocol

    @property
    def bounds(self) -> Bounds:
        """Our interval: by group, since items may share a prompt; else Wilson's."""
        by_group = self.found.interval(BY_GROUP)
        return self.found.interval(WILSON) if None in by_group else by_group

    @property
    def inside(self) -> bool | None:
        """Whether the claim lies in our interval, where both are of the same items."""
        same = self.published and self.figure.compare == "interval"
        same = same and self.claim.n in (None, self.found.n)
        if not same or self.claim.value is None or None in self.bounds:
            return None
        low, high = self.bounds
        return low <= self.claim.value <= high

    @property
    def difference(self) -> float | None:
        """How much more than the claim we measured."""
        parts = (self.found.value, self.claim.value)
        return None if None in parts else parts[0] - parts[1]


# -------------------------------------------------------------------------------------- our figures


class Planned:
    """The plan's subjects by the names that claims use."""

    def __init__(self, subjects: list[Subject]) -> None:
        self.subjects = subjects

    def named(self, experiment: str, trial: str) -> list[Subject]:
        """Returns a trial's seeds, or an experiment's base or lookup; none that is not planned."""
        if trial in (BASE, LOOKUP_TRIAL):
            wanted = (experiment, trial)
            return [it for it in self.subjects if (it.experiment, it.method) == wanted]
        trials = [it for it in self.subjects if it.method not in (BASE, LOOKUP_TRIAL)]
        return [it for it in trials if it.name == trial]

    def figures(
        self, figure: ClaimedFigure, protocol: str, trial: str
    ) -> list[tuple[int | None, Figure]]:
        """Returns our figure under a protocol by seed; without a value for an unplanned trial.

        Raises
        ------
        BadInput
            When a planned trial's files lack the figure.
        """
        if figure.ours.speedup is not None:
            runs = self.speedup(figure.ours)
            return [(None, Figure(value=runs and runs.factor))]
        subjects = self.named(figure.experiment, trial)
        ours = figure.ours_under(protocol)
        found = [(subject.seed, measured(subject, ours)) for subject in subjects]
        return found or [(None, Figure())]

    def speedup(self, ours: Ours) -> Speedup | None:
        """Returns the runs that a figure sets against each other, if it is such and planned."""
        if ours.speedup is None:
            return None
        fast, slow = (self.named("", trial) for trial in (ours.speedup, ours.over))
        return Speedup(fast, slow) if fast and slow else None


def measured(subject: Subject, ours: Ours) -> Figure:
    """Returns a planned subject's figure. Raises BadInput where its files lack it."""
    if ours.figure is not None:
        found = subject.figure(ours.figure, ours.set)
    elif ours.over is None:
        found = Figure(value=subject.outcome(ours.training))
    else:
        parts = (subject.outcome(ours.training), subject.outcome(ours.over))
        found = Figure(value=None if None in parts else parts[0] / parts[1])
    if found.value is None:
        place = subject.root / subject.folder
        name = ours.figure or ours.training
        prompts = f" on the prompts {ours.set}" if ours.set else ""
        raise BadInput(f"{place}: has no {name}{prompts}, which a claim is compared with")
    return found


# ----------------------------------------------------------------------------------------- columns


def _show(figure: ClaimedFigure) -> Show:
    number = decimals(figure.decimals)
    match figure.show:
        case "percent":
            return lambda value: f"{number(100 * value)} %"
        case "count":
            return lambda value: count(round(value))
        case "factor":
            return lambda value: f"{number(value)}×"
        case _:
            return lambda value: f"{number(value)} {figure.unit}".rstrip()


def _difference(line: Line) -> str:
    if line.difference is None:
        return shown(None, str)
    show = line.figure.show
    places = 0 if show == "count" else line.figure.decimals
    scale = 100 if show == "percent" else 1
    points = " points" if show == "percent" else ""
    text = change(places)(scale * line.difference)
    return f"{text.lstrip('+') if not line.difference else text}{points}"


def _claimed(line: Line) -> str:
    text = shown(line.claim.claimed, str)
    if line.claim.interval is None:
        return text
    return f"{text} {shown_interval(line.claim.interval, _show(line.figure))}"


def _claim_bounds(claim: Claim) -> Bounds:
    return claim.interval or (None, None)


def _notebook(line: Line) -> str:
    text, others = shown(line.claim.notebook, str), line.claim.other_notebooks
    return text if others is None else f"{text} (other notebooks, {others})"


def _inside(line: Line) -> str:
    return shown(line.inside, lambda inside: "yes" if inside else "no")


def _numbers(line: Line) -> str:
    numbers = [line.notes[name] for name in line.figure.notes_of(line.claim)]
    return ", ".join(map(str, sorted(numbers)))


def _ours(line: Line) -> str:
    return shown(line.found.value, _show(line.figure))


def _our_trial(line: Line) -> str:
    ours = line.figure.ours
    return line.trial if ours.speedup is None else f"{ours.speedup} / {ours.over}"


def _protocol(line: Line) -> str:
    unlike = line.speedup.unlike if line.speedup else []
    return ", ".join([line.protocol, *(f"another {key}" for key in unlike)])


def _protocol_and_seed(line: Line) -> str:
    return f"{_protocol(line)}, seed {line.seed}" if line.several else _protocol(line)


COLUMNS = (
    Column(
        "Experiment",
        text=lambda line: line.heading,
        names=("experiment", "title"),
        values=lambda line: (line.figure.experiment, line.heading),
        align="l",
    ),
    Column(
        "Figure",
        text=lambda line: line.figure.figure,
        names=("figure",),
        values=lambda line: (line.figure.figure,),
        align="l",
    ),
    Column(
        "Trial",
        text=lambda line: line.claim.trial,
        names=("trial",),
        values=lambda line: (line.claim.trial,),
        align="l",
        once=True,
    ),
    Column(
        "Claimed",
        text=_claimed,
        names=("claimed", "claimed_value", "claimed_n", "claimed_low", "claimed_high"),
        values=lambda line: (
            line.claim.claimed, line.claim.value, line.claim.n, *_claim_bounds(line.claim)
        ),
        once=True,
        key=lambda line: line.claim.value,
    ),
    Column(
        "In the authors'\nnotebook",
        text=_notebook,
        names=("notebook", "other_notebooks"),
        values=lambda line: (line.claim.notebook, line.claim.other_notebooks),
        once=True,
    ),
    Column(
        "Our protocol",
        text=_protocol_and_seed,
        names=("protocol", "our_trial", "seed"),
        values=lambda line: (_protocol(line), _our_trial(line), line.seed),
        align="l",
    ),
    Column(
        "Ours",
        text=_ours,
        names=figure_names("ours"),
        values=lambda line: figure_values(line.found),
    ),
    Column(
        "95 % interval",
        text=lambda line: shown_interval(line.bounds, _show(line.figure)),
        key=lambda line: line.bounds[0],
    ),
    Column("n", lambda line: shown(line.found.n, count), key=lambda line: line.found.n),
    Column(
        "Claim\ninside",
        text=_inside,
        names=("inside",),
        values=lambda line: (line.inside,),
        align="l",
    ),
    Column(
        "Ours −\nclaimed",
        text=_difference,
        names=("difference",),
        values=lambda line: (line.difference,),
    ),
    Column(
        "Notes",
        text=_numbers,
        names=("notes",),
        values=lambda line: (_numbers(line),),
        align="l",
        once=True,
    ),
)  # fmt: skip


def _lines(claims: Claims, planned: Planned) -> list[Line]:
    notes = {name: number for number, name in enumerate(claims.notes, start=1)}
    lines = []
    for figure in claims.figures:
        heading = claims.experiments[figure.experiment]
        speedup = planned.speedup(figure.ours)
        for claim in figure.claims:
            for protocol, trial in figure.protocols(claim).items():
                found = planned.figures(figure, protocol, trial)
                several = len(found) > 1
                lines += [
                    Line(figure, claim, protocol, trial, seed, several, it, heading, notes, speedup)
                    for seed, it in found
                ]
    return lines


def make(claims: Claims, subjects: list[Subject]) -> Table:
    """Returns the table: a line for each claim and protocol."""
    lines = _lines(claims, Planned(subjects))
    speedups = {line.figure.figure: line.speedup for line in lines if line.speedup}
    return Table(
        name="comparison",
        title="Published figures and ours",
        columns=COLUMNS,
        rows=lines,
        subject=lambda line: (line.figure.experiment, line.figure.figure, line.claim.trial),
        stub=2,
        notes=[
            "In the authors' notebook: none where it shows no such figure, – where that is not "
            "known. In brackets what notebooks of other people show.",
            "Ours is – where the trial is not planned.",
            "95 % interval: by group where the figure has one, else Wilson's. A bracket behind a "
            "claim is Wilson's interval of the successes behind it.",
            "Claim inside: whether the claim lies in our interval; – where there is no interval "
            "or the items are not the same.",
            METHOD_NOTES[WILSON],
            METHOD_NOTES[BY_GROUP],
            *(f"{name}: {speedup.note}." for name, speedup in speedups.items()),
            *(f"{number}: {text}" for number, text in enumerate(claims.notes.values(), start=1)),
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0.

    Raises BadInput, and writes nothing, if the claims have a mistake or a planned trial's files
    lack a figure that a claim is compared with.
    """
    arguments = parse(__doc__, FORMS, argv, {"claims": "YAML file of the published figures"})
    claims: Path = arguments.claims
    table = make(read_claims(claims), subjects_of(arguments.root, arguments.plan))
    return write_forms(table, arguments)


if __name__ == "__main__":
    run(main)
