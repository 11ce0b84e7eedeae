"""The comparison: each published figure, what the authors' notebook shows, and what we measured.

    python -m scripts.report.comparison --root results --plan '[{"experiment": …}, …]' \\
        --claims paper/claims.yaml --csv comparison.csv --md comparison.md --tex comparison.tex
"""

from dataclasses import dataclass
from math import sqrt
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
from scripts.report.columns import METHOD_NOTES, figure_names, figure_values, with_deviation
from scripts.report.command import parse_table, planned, write_forms
from scripts.report.differences import sentences
from scripts.report.read import (
    BY_GROUP,
    WILSON,
    Figure,
    Subject,
    comparisons_of,
)
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
    """A claim beside what a protocol gave; `found` is empty if not planned."""

    figure: ClaimedFigure
    claim: Claim
    protocol: str
    trial: str
    subject: Subject | None
    """Ours; None where none is planned, and for a figure of several trials that are done."""
    found: Figure
    heading: str
    notes: dict[str, int]
    """The numbers of all notes."""
    speedup: Speedup | None
    """What our figure comes from where it is one."""

    @property
    def seed(self) -> int | None:
        """The seed of ours, if it has one."""
        alone = self.subject is not None and self.figure.ours.speedup is None
        return self.subject.seed if alone else None

    @property
    def seeds(self) -> int | None:
        """Over how many seeds ours is; None where it is no trial's."""
        alone = self.subject is not None and self.figure.ours.speedup is None
        return (len(self.subject.seeds) or None) if alone else None

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
    def same_items(self) -> bool:
        """Whether the claim is of the items that ours is of."""
        return self.figure.compare == "interval" and self.claim.n in (None, self.found.n)

    @property
    def inside(self) -> bool | None:
        """Whether ours is not told from the claim, where both are of the same items.

        It lies in our interval; or, where it has an error of its own, the interval of the
        difference holds 0.
        """
        comparable = self.published and self.same_items
        if not comparable or self.claim.value is None or None in self.bounds:
            return None
        own = self.figure.interval_of(self.claim) or (self.claim.value, self.claim.value)
        low, high = difference_bounds(self.found.value, self.bounds, self.claim.value, own)
        return low <= 0 <= high

    @property
    def difference(self) -> float | None:
        """How much more than the claim we measured."""
        parts = (self.found.value, self.claim.value)
        return None if None in parts else parts[0] - parts[1]


def difference_bounds(ours: float, bounds: Bounds, claimed: float, own: Bounds) -> Bounds:
    """Returns the bounds of ours minus the claimed from those of both.

    Of two shares with Wilson's intervals it is Newcombe's interval (1998, method 10); of others
    Zou & Donner 2008, https://doi.org/10.1002/sim.3095. Both are taken as independent: on the same
    items they go together, which makes the interval too wide rather than too narrow.
    """
    (low, high), (claimed_low, claimed_high) = bounds, own
    below = sqrt((ours - low) ** 2 + (claimed_high - claimed) ** 2)
    above = sqrt((high - ours) ** 2 + (claimed - claimed_low) ** 2)
    return ours - claimed - below, ours - claimed + above


# -------------------------------------------------------------------------------------- our figures


class Planned:
    """The plan's subjects by the names that claims use."""

    def __init__(self, subjects: list[Subject]) -> None:
        self.subjects = subjects

    def named(self, experiment: str, trial: str) -> list[Subject]:
        """Returns a trial, or an experiment's base or lookup; none that is not planned."""
        if trial in (BASE, LOOKUP_TRIAL):
            wanted = (experiment, trial)
            return [it for it in self.subjects if (it.experiment, it.method) == wanted]
        trials = [it for it in self.subjects if it.method not in (BASE, LOOKUP_TRIAL)]
        return [it for it in trials if it.name == trial]

    def ours(
        self, figure: ClaimedFigure, protocol: str, trial: str
    ) -> tuple[Subject | None, Figure]:
        """Returns our trial under a protocol, and its figure.

        The figure has no value for a trial that is not planned, or not done.

        Raises
        ------
        BadInput
            When a planned trial's files lack the figure.
        """
        if figure.ours.speedup is not None:
            runs = self.speedup(figure.ours)
            return self.undone(figure.ours), Figure(value=runs and runs.factor)
        for subject in self.named(figure.experiment, trial):
            return subject, measured(subject, figure.ours_under(protocol))
        return None, Figure()

    def undone(self, ours: Ours) -> Subject | None:
        """Returns the first that is not done of the runs that a figure sets against each other."""
        runs = [*self.named("", ours.speedup), *self.named("", ours.over)]
        return next((run for run in runs if not run.done), None)

    def speedup(self, ours: Ours) -> Speedup | None:
        """Returns the runs that a figure sets against each other, if it is such and planned."""
        if ours.speedup is None:
            return None
        fast, slow = (
            [seed for subject in self.named("", trial) for seed in subject.each_seed()]
            for trial in (ours.speedup, ours.over)
        )
        done = all(run.done for run in (*fast, *slow))
        return Speedup(fast, slow) if fast and slow and done else None


def measured(subject: Subject, ours: Ours) -> Figure:
    """Returns a planned subject's figure, without a value if it is not done.

    Raises BadInput where its files lack the figure.
    """
    if not subject.done:
        return Figure()
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
    text, own = shown(line.claim.claimed, str), line.figure.interval_of(line.claim)
    return text if own is None else f"{text} {shown_interval(own, _show(line.figure))}"


def _claim_bounds(line: Line) -> Bounds:
    return line.figure.interval_of(line.claim) or (None, None)


def _notebook(line: Line) -> str:
    text, others = shown(line.claim.notebook, str), line.claim.other_notebooks
    return text if others is None else f"{text} (other notebooks, {others})"


def _inside(line: Line) -> str:
    if line.inside is not None:
        return "yes" if line.inside else "no"
    if line.found.n is None or line.claim.value is None:
        return shown(None, str)
    if not line.published:
        return "other protocol"
    return shown(None, str) if line.same_items else "other items"


def _numbers(line: Line) -> str:
    numbers = [line.notes[name] for name in line.figure.notes_of(line.claim)]
    return ", ".join(map(str, sorted(numbers)))


def _ours(line: Line) -> str:
    return with_deviation(line.found, _show(line.figure))


def _our_trial(line: Line) -> str:
    ours = line.figure.ours
    return line.trial if ours.speedup is None else f"{ours.speedup} / {ours.over}"


def _protocol(line: Line) -> str:
    unlike = line.speedup.unlike if line.speedup else []
    return ", ".join([line.protocol, *(f"another {key}" for key in unlike)])


def _protocol_and_seeds(line: Line) -> str:
    several = line.seeds is not None and line.seeds > 1
    return f"{_protocol(line)}, {line.seeds} seeds" if several else _protocol(line)


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
            line.claim.claimed, line.claim.value, line.claim.n, *_claim_bounds(line)
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
        text=_protocol_and_seeds,
        names=("protocol", "our_trial", "seeds"),
        values=lambda line: (_protocol(line), _our_trial(line), line.seeds),
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
                ours, found = planned.ours(figure, protocol, trial)
                lines.append(
                    Line(figure, claim, protocol, trial, ours, found, heading, notes, speedup)
                )
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
            "claim is Wilson's interval of its share of its n.",
            *filter(None, map(sentences, comparisons_of(subjects))),
            "Claim inside: whether the claim lies in our interval, where the items are the same; a "
            "claim with an error of its own (the bracket) counts with it: yes where the interval "
            "of the difference, put together from both (Newcombe), holds 0.",
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
    arguments = parse_table(__doc__, argv, files={"claims": "YAML file of the published figures"})
    claims: Path = arguments.claims
    subjects = planned(arguments)
    return write_forms(make(read_claims(claims), subjects), subjects, arguments)


if __name__ == "__main__":
    run(main)
