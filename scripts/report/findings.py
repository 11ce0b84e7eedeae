"""What a run found, in a few sentences an experiment: the figures that people ask for first."""

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import mean

from scripts.report.columns import sets_with
from scripts.report.read import (
    BY_GROUP,
    LABELS,
    LOOKUP,
    METHODS,
    TRAINED,
    WILSON,
    Figure,
    Subject,
)
from scripts.report.render import decimals, shown_interval


@dataclass(frozen=True)
class Measure:
    """A figure that a headline names, with the interval that its table prints."""

    key: str
    places: int
    interval: str
    best: str
    """Which of several trials is named: the `highest` or the `lowest`."""

    def text(self, value: float) -> str:
        """Returns a value as people read it."""
        return decimals(self.places)(value)

    def bounds(self, found: Figure) -> str:
        """Returns the interval in brackets, or nothing where there is none."""
        bounds = found.interval(self.interval)
        return "" if None in bounds else shown_interval(bounds, decimals(self.places))


EXACT = Measure("exact_match", 2, WILSON, "highest")
LOSS = Measure("held_out_loss", 3, BY_GROUP, "lowest")
PREFERENCE = Measure("preference_accuracy", 2, WILSON, "highest")

NOTE = (
    "In brackets 95 % intervals: Wilson's for shares, by group for losses. The highest or lowest "
    "of several trials is picked on the items that it is measured on, so it flatters."
)


@dataclass(frozen=True)
class Part:
    """A figure of a sentence, its interval, and the words that say whose it is."""

    value: str
    interval: str
    whose: str


@dataclass(frozen=True)
class Sentence:
    """What was measured, and what it is before and after."""

    about: str
    parts: list[Part]

    @property
    def text(self) -> str:
        """The whole sentence."""
        parts = (" ".join(filter(None, (it.value, it.interval, it.whose))) for it in self.parts)
        return f"{self.about}: {'; '.join(parts)}."


def sentences(subjects: list[Subject]) -> list[Sentence]:
    """Returns an experiment's sentences: exact match, else held-out loss; preference accuracy.

    Parameters
    ----------
    subjects
        Those of one experiment.
    """
    sets = sets_with(subjects, [EXACT.key])
    found = [_sentence(subjects, EXACT, name) for name in sets]
    if not sets:
        found.append(_sentence(subjects, LOSS, None))
    found.append(_sentence(subjects, PREFERENCE, None))
    return [sentence for sentence in found if sentence.parts]


def _sentence(subjects: list[Subject], measure: Measure, set_name: str | None) -> Sentence:
    about = LABELS[measure.key] + (f" on {set_name}" if set_name else "")
    figures = [(subject, subject.figure(measure.key, set_name)) for subject in subjects]
    measured = [(subject, it) for subject, it in figures if it.value is not None]
    return Sentence(about, list(_parts(measured, measure)))


def _parts(measured: list[tuple[Subject, Figure]], measure: Measure) -> Iterator[Part]:
    """Yields the base, then the best trial of each method, then the lookup."""
    for subject, found in measured:
        if subject.method == "base":
            yield _part(measure, found, f"with the base {subject.name}")
    for method in TRAINED:
        trials: dict[str, list[Figure]] = {}
        for subject, found in measured:
            if subject.method == method:
                trials.setdefault(subject.name, []).append(found)
        if trials:
            yield _best(trials, measure, METHODS[method])
    for subject, found in measured:
        if subject.method == "lookup":
            yield _part(measure, found, f"by {LOOKUP}")


def _part(measure: Measure, found: Figure, whose: str) -> Part:
    return Part(measure.text(found.value), measure.bounds(found), whose)


def _best(trials: dict[str, list[Figure]], measure: Measure, method: str) -> Part:
    """Returns the best of a method's trials; of several seeds the mean, and how far they reach."""
    means = {name: mean(it.value for it in seeds) for name, seeds in trials.items()}
    low, high = min(means.values()), max(means.values())
    wanted = high if measure.best == "highest" else low
    name = next(name for name, value in means.items() if value == wanted)
    whose = f"with {name}"
    if len(trials) > 1:
        ends, of = (measure.text(low), measure.text(high)), f"of {len(trials)} {method} trials"
        alike = ends[0] == ends[1]
        whose += (
            f", as with each {of}" if alike else f", the {measure.best} {of} ({' to '.join(ends)})"
        )
    seeds = trials[name]
    if len(seeds) == 1:
        return _part(measure, seeds[0], whose)
    values = [it.value for it in seeds]
    reach = f"{measure.text(min(values))} to {measure.text(max(values))}"
    return Part(measure.text(wanted), "", f"{whose}, mean of {len(seeds)} seeds ({reach})")
