"""The headline figure: by which one number the trials of one experiment and method are compared."""

from dataclasses import dataclass

from scripts.common.methods import METHODS as TRAINED_METHODS
from scripts.common.metrics import METRICS
from scripts.report.columns import Line, figure_notes, sets_with
from scripts.report.read import (
    BY_GROUP,
    METHODS,
    TRAINED,
    WILSON,
    Figure,
    Subject,
    by_experiment,
    label_of,
)
from scripts.report.render import count

ROOM = 40
"""So many trials of an experiment and method have a row, a panel or a line in a figure."""


@dataclass(frozen=True)
class Block:
    """The trials of one experiment and method, and the figure that they are compared by."""

    trials: list[Subject]
    key: str
    set: str | None
    """The set of prompts that the figure belongs to, if it belongs to one."""

    @property
    def figures(self) -> list[Figure]:
        """The headline figure of each trial; without a value where a trial lacks it."""
        return [Line(trial, self.set).figure(self.key) for trial in self.trials]

    @property
    def measured(self) -> list[tuple[Subject, Figure]]:
        """The trials that have the figure, each with it."""
        pairs = zip(self.trials, self.figures, strict=True)
        return [(trial, found) for trial, found in pairs if found.value is not None]

    @property
    def names(self) -> list[str]:
        """The trials' names, each once."""
        return list(dict.fromkeys(trial.name for trial in self.trials))

    @property
    def ranked(self) -> list[Subject]:
        """The trials, best first; those that lack the figure come last."""
        sign = 1 if METRICS[self.key].higher_is_better is False else -1
        pairs = zip(self.trials, self.figures, strict=True)
        ranks = [(found.value is None, sign * (found.value or 0), it) for it, found in pairs]
        return [it for *_, it in sorted(ranks, key=lambda rank: rank[:2])]

    def better(self, value: float, than: float) -> bool:
        """Tells whether a value of the figure is better than another."""
        return value < than if METRICS[self.key].higher_is_better is False else value > than


def blocks_of(subjects: list[Subject]) -> list[Block]:
    """Returns the blocks of a plan; trials without any headline figure are in none."""
    groups = [
        [subject for subject in members if subject.method == method]
        for members in by_experiment(subjects).values()
        for method in TRAINED
    ]
    return [block for trials in groups if (block := _block(trials)) is not None]


def _block(trials: list[Subject]) -> Block | None:
    for key in TRAINED_METHODS[trials[0].method].headlines if trials else ():
        for name in sets_with(trials, [key]) or [None]:
            block = Block(trials, key, name)
            if block.measured:
                return block
    return None


def leading(subjects: list[Subject]) -> tuple[list[Subject], list[str]]:
    """Returns the subjects that a figure or page has room for, and in words who is left out.

    Of an experiment and method with very many trials those that lead in the headline figure, with
    all their seeds, in the plan's order; a subject is a trial or one of its seeds.
    """
    left_out, notes = set(), []
    for members in by_experiment(subjects).values():
        for method in TRAINED:
            trials = [subject for subject in members if subject.method == method]
            names = {it.name for it in trials}
            if len(names) <= ROOM:
                continue
            block = _block(trials)
            ranked = list(dict.fromkeys(it.name for it in (block.ranked if block else trials)))
            left_out |= {(trials[0].experiment, name) for name in ranked[ROOM:]}
            by = f"that lead in {label_of(block.key).lower()}" if block else "that come first"
            notes.append(
                f"{trials[0].title}, {METHODS[method]}: of {count(len(names))} trials the {ROOM} "
                f"{by}, picked by what is shown of them; the tables have all."
            )
    return [it for it in subjects if (it.experiment, it.name) not in left_out], notes


def bounds(found: Figure) -> tuple[float | None, float | None]:
    """Returns a figure's interval: by group, since items may share a prompt; else Wilson's."""
    by_group = found.interval(BY_GROUP)
    return found.interval(WILSON) if None in by_group else by_group


def headline_notes(blocks: list[Block]) -> list[str]:
    """Returns what the headline figures are and on how many items, and which interval is drawn."""
    keys = list(dict.fromkeys(block.key for block in blocks))
    trials = [trial for block in blocks for trial in block.trials]
    lacking = [
        trial.name
        for block in blocks
        for trial, found in zip(block.trials, block.figures, strict=True)
        if found.value is None
    ]
    return [
        *figure_notes(trials, keys),
        INTERVAL_NOTE,
        *([f"Not drawn, for want of the figure: {', '.join(lacking)}."] if lacking else []),
    ]


INTERVAL_NOTE = (
    "Interval: 95 %; bootstrap over whole groups, so that items of one prompt stay together; "
    "Wilson's where a figure has none by group."
)
