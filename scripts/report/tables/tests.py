"""The paired tests, as the tables differences and comparison say what they show."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from scripts.common.methods import LABELS, METHODS
from scripts.common.metrics import METRICS, metric
from scripts.report.results import Results
from scripts.report.text import missing

if TYPE_CHECKING:
    from pandas import DataFrame

HEADLINES = {name for method in METHODS.values() for name in method.headlines}
"""The metrics that a reader looks at first."""
NAMES = 6
"""So many names stand in a sentence."""
NO_DIFFERENCE, A_HIGHER, B_HIGHER = "no difference shown", "A higher", "B higher"


def tested(results: Results) -> "DataFrame":
    """Return every paired test with its verdict, those of headline metrics first.

    They are in the order of the registry within an experiment.
    """
    frame = results.tests
    order = {name: (name not in HEADLINES, place) for place, name in enumerate(METRICS)}
    experiments = {name: place for place, name in enumerate(results.comparisons)}
    keys = [
        (experiments[experiment], *order[name])
        for experiment, name in zip(frame["experiment"], frame["metric"], strict=True)
    ]
    ranked = sorted(range(len(frame)), key=keys.__getitem__)
    higher = [A_HIGHER if difference > 0 else B_HIGHER for difference in frame["difference"]]
    verdicts = [
        side if holds else NO_DIFFERENCE for side, holds in zip(higher, frame["shown"], strict=True)
    ]
    return frame.assign(verdict=verdicts).iloc[ranked].reset_index(drop=True)


def listed(names: list[str]) -> str:
    """Return the first names, and how many more there are."""
    more = len(names) - NAMES
    return ", ".join(names[:NAMES]) + (f" and {more} more" if more > 0 else "")


def sentences(results: Results) -> list[str]:
    """Return for each experiment in two sentences which differences of headline metrics hold."""
    tests, leading = (
        frame[frame["metric"].isin(HEADLINES)].to_dict("records")
        for frame in (tested(results), results.leading)
    )
    texts = []
    for experiment in results.comparisons:
        own = [row for row in tests if row["experiment"] == experiment]
        if not own:
            continue
        places = dict.fromkeys(map(_place, own))
        tuned = [text for place in places if (text := _against_base(own, place))]
        leads = [_leading(row) for row in leading if row["experiment"] == experiment]
        parts = (("", tuned), ("Among the trials of a method, ", leads))
        said = [f"{opening}{'; '.join(found)}" for opening, found in parts if found]
        texts.append(f"{results.titles[experiment]}: {'. '.join(said)}.")
    return texts


def _place(row: dict[str, Any]) -> str:
    """Return the metric of a row, and the set of prompts that it is of."""
    of_set = "" if missing(row["set"]) else f" ({row['set']})"
    return f"{metric(row['metric']).label}{of_set}"


def _against_base(tests: Iterable[dict[str, Any]], place: str) -> str:
    sides: dict[str, list[str]] = {A_HIGHER: [], B_HIGHER: [], NO_DIFFERENCE: []}
    for row in tests:
        if row["kind"] == "base" and _place(row) == place:
            sides[row["verdict"]].append(row["a"])
    words = ("above the base", "below the base", "not told from the base")
    found = [
        f"{word}: {listed(names)}"
        for word, names in zip(words, sides.values(), strict=True)
        if names
    ]
    return f"{place} {', '.join(found)}" if found else ""


def _leading(row: dict[str, Any]) -> str:
    verb = "leads apart from" if row["apart"] else "is not told from"
    place = f"{_place(row)} ({LABELS[row['method']]})"
    return f"{row['leading']} {verb} {row['runner_up']} in {place}"
