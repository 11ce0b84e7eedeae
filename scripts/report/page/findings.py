"""What a run found, in a few sentences an experiment: the metrics that people ask for first."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.common.methods import BASE, LOOKUP, LOOKUP_LABEL, METHODS
from scripts.common.metrics import metric
from scripts.report.headline import falls, measured, sets_with
from scripts.report.results import Results
from scripts.report.text import decimals, missing, shown_interval

if TYPE_CHECKING:
    from pandas import DataFrame

FIRST = ("exact_match", "title_only")
"""Of a set of prompts the first of these that it has."""
NOTE = (
    "In brackets 95 % intervals: Wilson's for shares, by group for losses. The highest or lowest "
    "of several trials is picked on the items that it is measured on, so it flatters."
)


@dataclass(frozen=True)
class Part:
    """A value of a sentence, its interval, and the words that say whose it is."""

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


def sentences(results: Results) -> list[Sentence]:
    """Return an experiment's sentences: its answers, or else held-out loss; preference accuracy."""
    sets = sets_with(results, results.models, *FIRST)
    places: list[tuple[str, str | None]] = [
        (name, set_name)
        for set_name in sets
        for name in FIRST
        if set_name in sets_with(results, results.models, name)
    ]
    if not places:
        places.append(("held_out_loss", None))
    places.append(("preference_accuracy", None))
    found = [_sentence(results, *place) for place in places]
    return [sentence for sentence in found if sentence.parts]


def _sentence(results: Results, name: str, set_name: str | None) -> Sentence:
    models = measured(results, results.models, name, set_name).dropna(subset=["value"])
    runs = measured(results.each_seed, results.each_seed.models, name, set_name)
    about = metric(name).label + (f" on {set_name}" if set_name else "")
    return Sentence(about, list(_parts(models, runs.dropna(subset=["value"]), name)))


def _parts(models: "DataFrame", runs: "DataFrame", name: str) -> Iterator[Part]:
    """Yield the base, then the best trial of each method, then the lookup."""
    for row in models[models["method"] == BASE].to_dict("records"):
        yield _part(name, row, f"with the base {row['model']}")
    for method in METHODS:
        trials = models[models["method"] == method]
        if len(trials):
            yield _best(trials, runs, name)
    for row in models[models["method"] == LOOKUP].to_dict("records"):
        yield _part(name, row, f"by {LOOKUP_LABEL}")


def _text(name: str, value: float) -> str:
    return decimals(2 if metric(name).interval == "wilson" else 3)(value)


def _part(name: str, row: dict[str, Any], whose: str) -> Part:
    kind = "wilson" if metric(name).interval == "wilson" else "group_bootstrap"
    low, high = row[f"{kind}_low"], row[f"{kind}_high"]
    bounds = "" if missing(low) else shown_interval(low, high, lambda it: _text(name, it))
    return Part(_text(name, row["value"]), bounds, whose)


def _best(trials: "DataFrame", runs: "DataFrame", name: str) -> Part:
    """Return the best of a method's trials; with several seeds the mean, and how far they reach."""
    best = trials.sort_values("value", ascending=falls(name), kind="stable").iloc[0]
    whose = f"with {best['model']}"
    if len(trials) > 1:
        low, high = (_text(name, it) for it in (trials["value"].min(), trials["value"].max()))
        of = f"of {len(trials)} {METHODS[best['method']].label} trials"
        superlative = "lowest" if falls(name) else "highest"
        whose += (
            f", as with each {of}" if low == high else f", the {superlative} {of} ({low} to {high})"
        )
    seeds = runs.loc[runs["folder"].isin(best["runs"]), "value"]
    if len(seeds) < 2:
        return _part(name, best.to_dict(), whose)
    reach = f"{_text(name, seeds.min())} to {_text(name, seeds.max())}"
    return Part(_text(name, best["value"]), "", f"{whose}, mean of {len(seeds)} seeds ({reach})")
