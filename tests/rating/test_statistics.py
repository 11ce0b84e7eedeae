"""Shares, agreement and strengths, against published values, another library and simulations."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pandas import DataFrame

from scripts.common.wilson import wilson
from scripts.rating.statistics import (
    COLUMNS,
    agreement,
    alpha,
    bradley_terry,
    left_share,
    win_rate,
)

Rating = tuple[str, str, str, str, str, str, float]


def rated(
    choice: str, score: float, item: str = "i", rater: str = "A", group: str = "", pair: str = "t b"
) -> Rating:
    trial, against = pair.split()
    return rater, item, group or item, trial, against, choice, score


def frame(ratings: list[Rating]) -> DataFrame:
    return DataFrame(ratings, columns=COLUMNS)


def many(wins: int, ties: int, losses: int, pair: str = "t b") -> list[Rating]:
    scores = [1.0] * wins + [0.5] * ties + [0.0] * losses
    return [rated("left", score, f"{pair}{place}", pair=pair) for place, score in enumerate(scores)]


# Krippendorff 2011, sections C and D: four observers, twelve units, missing values.
PUBLISHED = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_of_krippendorff_2011_example_c(level: str, published: float) -> None:
    rows = [line.split() for line in PUBLISHED.strip().splitlines()]
    units = [[it for it in column if it != "."] for column in zip(*rows, strict=True)]
    counts = DataFrame([{int(value): unit.count(value) for value in "12345"} for unit in units])
    assert alpha(counts[counts.sum(axis=1) > 1], level) == pytest.approx(published, abs=0.0005)


def test_agreement_of_krippendorff_2011_example_a() -> None:
    """Two observers, ten units, two values: alpha is 0.095 as published."""
    observers = {"A": "0100000010", "B": "1110010000"}
    found = agreement(
        frame(
            [
                rated(("left", "right")[int(value)], 0.0, f"unit {place}", rater)
                for rater, values in observers.items()
                for place, value in enumerate(values)
            ]
        )
    )
    assert found.nominal == pytest.approx(0.095, abs=0.0005)
    assert (found.items, found.raters, found.raw) == (10, 2, 0.6)


def test_agreement_on_one_choice_only_has_no_alpha() -> None:
    found = agreement(frame([rated("left", 1.0, "i", rater) for rater in "AB"]))
    assert (found.raw, found.nominal, found.ordinal) == (1.0, None, None)


def test_left_is_counted_without_ties() -> None:
    made = [rated("left", 1.0, "1"), rated("tie", 0.5, "2"), rated("right", 0.0, "3")]
    assert (left_share(frame(made)).value, left_share(frame(made)).n) == (0.5, 2)
    assert left_share(frame([rated("tie", 0.5)])).value is None


@pytest.mark.parametrize("counts", [(7, 0, 3), (7, 2, 3), (1, 1, 8)])
def test_bradley_terry_of_two_models_is_the_log_of_their_wins(counts: tuple[int, int, int]) -> None:
    wins, ties, losses = counts
    found = bradley_terry(frame(many(*counts)))
    expected = math.log((wins + ties / 2) / (losses + ties / 2))
    assert found["t", "b"].value == pytest.approx(expected)
    assert found["b", "t"].value == pytest.approx(-expected)


def test_bradley_terry_is_a_logistic_regression() -> None:
    """Four models, three of them around a base and two beside each other."""
    import statsmodels.api as sm

    counts = {"x b": (12, 3, 5), "y b": (6, 4, 9), "x y": (8, 1, 7), "z b": (9, 0, 2)}
    made = frame([it for pair, numbers in counts.items() for it in many(*numbers, pair=pair)])
    signs = [(made["trial"] == it).astype(int) - (made["against"] == it) for it in "xyz"]
    design = np.repeat(np.array(signs).T, 2, axis=0)
    weights = np.ravel([made["score"], 1 - made["score"]], order="F")
    outcome = [1, 0] * len(made)
    fit = sm.GLM(outcome, design, sm.families.Binomial(), freq_weights=weights).fit()
    found = bradley_terry(made)
    assert [found[name, "b"].value for name in "xyz"] == pytest.approx(list(fit.params), abs=1e-6)
    assert found["x", "y"].value == pytest.approx(fit.params[0] - fit.params[1], abs=1e-6)
    # The delta method's interval, which holds for many items, is as wide.
    low, high = found["x", "b"].intervals["group bootstrap"]
    assert high - low == pytest.approx(2 * 1.96 * fit.bse[0], rel=0.35)


def test_a_model_that_always_won_has_no_finite_strength_and_spoils_no_other() -> None:
    found = bradley_terry(frame([*many(5, 0, 0, "x b"), *many(6, 0, 3, "y b")]))
    assert found["x", "b"].value is None
    assert found["y", "b"].value == pytest.approx(math.log(2))


def test_where_resamples_have_no_finite_strength_there_is_no_interval() -> None:
    """One loss in twelve is missing from a third of the resamples."""
    found = bradley_terry(frame(many(11, 0, 1)))["t", "b"]
    assert found.value == pytest.approx(math.log(11))
    assert found.intervals == {}


def test_one_group_has_no_resampled_interval() -> None:
    assert list(win_rate(frame([rated("left", 1.0)])).intervals) == ["wilson"]


# ------------------------------------------------------------------------------------- coverage


@dataclass(frozen=True)
class Coverage:
    """How often the true rate of one half lies in the intervals."""

    by_group: float
    wilson: float


def coverage(make_study: Callable[[Any], list[Rating]], studies: int) -> Coverage:
    """Return the coverage of the interval by group and of Wilson's over simulated studies."""
    rng, found = np.random.default_rng(5), []
    for _ in range(studies):
        made = frame(make_study(rng))
        low, high = win_rate(made).intervals["group bootstrap"]
        naive = wilson(made["score"].sum(), len(made))
        found.append([low <= 0.5 <= high, naive[0] <= 0.5 <= naive[1]])
    return Coverage(*map(float, np.mean(found, axis=0)))


def grouped(rng: Any) -> list[Rating]:
    """Return thirty groups of four items; in each a rate of its own, one half on average."""
    rates = rng.beta(0.5, 0.5, 30)
    return [
        rated("left", float(rng.random() < rate), f"{group} {place}", group=f"g{group}")
        for group, rate in enumerate(rates)
        for place in range(4)
    ]


def people(raters: int) -> Callable[[Any], list[Rating]]:
    """Return studies of fifty items, each with a rate of its own, and raters, each with a leaning.

    In log odds the standard deviation of items is 1.5, that of raters 0.5.
    """

    def study(rng: Any) -> list[Rating]:
        rates = 1 / (1 + np.exp(-rng.normal(0, 1.5, (50, 1)) - rng.normal(0, 0.5, raters)))
        return [
            rated("left", float(rng.random() < rates[item, rater]), f"i{item}", f"r{rater}")
            for item, rater in np.ndindex(*rates.shape)
        ]

    return study


def test_the_interval_covers_where_items_of_a_group_go_together() -> None:
    found = coverage(grouped, 80)
    assert found.by_group >= 0.88
    assert found.wilson < 0.85


@pytest.mark.all
@pytest.mark.parametrize("raters", [3, 6])
def test_the_interval_covers_where_raters_differ_and_share_items(raters: int) -> None:
    found = coverage(people(raters), 200)
    assert found.by_group >= 0.93
    assert found.wilson < 0.85


@pytest.mark.all
def test_one_rater_says_little_about_others() -> None:
    """What the table's note and docs/rating.md warn of."""
    assert coverage(people(1), 200).by_group < 0.9
