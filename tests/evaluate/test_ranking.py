"""The area under the ROC curve against scipy, and its interval against resampling by hand."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from scripts.common.files import Row
from scripts.evaluate.intervals import RESAMPLES, group_counts
from scripts.evaluate.ranking import area_under_roc


def rows_of(good: list[float], bad: list[float]) -> list[Row]:
    """Return rows with these log-ratios."""
    scores = [(it, True) for it in good] + [(it, False) for it in bad]
    return [
        {"id": str(place), "label": label, "logp": score - 3, "reference_logp": -3.0}
        for place, (score, label) in enumerate(scores)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_against_the_mann_whitney_statistic(seed: int) -> None:
    drawn = np.random.default_rng(seed)
    # Whole numbers, so that some are equal.
    good, bad = drawn.integers(0, 9, 40) + 1.0, drawn.integers(0, 9, 25) + 0.0
    rows = rows_of(good.tolist(), bad.tolist())
    found = area_under_roc(rows, {row["id"]: row["id"] for row in rows})
    assert found.value == pytest.approx(mannwhitneyu(good, bad).statistic / (40 * 25))


@pytest.mark.parametrize(
    ("good", "bad", "area"), [([1, 2], [0], 1.0), ([0], [1], 0.0), ([1], [1], 0.5)]
)
def test_by_hand(good: list[float], bad: list[float], area: float) -> None:
    rows = rows_of(good, bad)
    assert area_under_roc(rows, dict.fromkeys((row["id"] for row in rows), "one")).value == area


def test_the_interval_draws_whole_groups() -> None:
    drawn = np.random.default_rng(0)
    rows = rows_of(drawn.normal(0.5, 1, 12).tolist(), drawn.normal(0, 1, 12).tolist())
    groups = {row["id"]: f"g{int(row['id']) % 5}" for row in rows}
    found = area_under_roc(rows, groups)

    areas = []
    for counts in group_counts(5):
        repeated = [row for row in rows for _ in range(int(counts[int(groups[row["id"]][1])]))]
        sides = [[row["logp"] for row in repeated if row["label"] is it] for it in (True, False)]
        areas.append(mannwhitneyu(*sides).statistic / (len(sides[0]) * len(sides[1])))
    assert len(areas) == RESAMPLES
    assert found.interval == pytest.approx(np.percentile(areas, [2.5, 97.5]))
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1]


def test_one_group_has_no_interval() -> None:
    rows = rows_of([1, 2], [0, 1])
    assert area_under_roc(rows, dict.fromkeys((row["id"] for row in rows), "g")).interval is None


def test_draws_without_a_kind_are_left_out() -> None:
    """Each group has rows of one kind."""
    rows = rows_of([1, 2], [0, 1])
    found = area_under_roc(rows, {row["id"]: str(row["label"]) for row in rows})
    assert found.interval == (0.875, 0.875)
