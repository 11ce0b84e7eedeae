"""Intervals by resampling."""

import random

import numpy as np
import pytest
from scipy.stats import bootstrap
from statsmodels.stats.weightstats import DescrStatsW

from scripts.evaluate.intervals import corpus_bootstrap, group_bootstrap, group_jackknife


def test_resampling_groups_is_wider_than_resampling_items_that_repeat() -> None:
    scores = [float(i % 2) for i in range(20) for _ in range(10)]
    alone = group_bootstrap(scores, [1.0] * 200, [str(i) for i in range(200)])
    together = group_bootstrap(scores, [1.0] * 200, [str(i // 10) for i in range(200)])
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])


def test_weights_make_a_ratio() -> None:
    """Two groups: every resample is one of (1/1), (9/3), (10/4)."""
    low, high = group_bootstrap([1.0, 9.0], [1.0, 3.0], ["a", "b"])
    assert (low, high) == pytest.approx((1.0, 3.0))


def test_one_group_has_no_interval() -> None:
    assert group_bootstrap([1.0, 0.0], [1.0, 1.0], ["a", "a"]) is None


def test_the_resampled_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """60 data sets of 40 groups, each with a level: intervals cover 0.5 in 51 to 60 of them."""
    draw = random.Random(0)
    covered = 0
    for _ in range(60):
        scores, groups = [], []
        for group in range(40):
            level = draw.choice([0.2, 0.8])
            scores += [float(draw.random() < level) for _ in range(5)]
            groups += [str(group)] * 5
        low, high = group_bootstrap(scores, [1.0] * len(scores), groups)
        covered += low <= 0.5 <= high
    assert 51 <= covered <= 60


def test_against_scipys_bootstrap() -> None:
    draw = np.random.default_rng(1)
    scores, weights = draw.random(60), draw.integers(1, 9, 60).astype(float)
    groups = draw.integers(0, 15, 60)
    tops, bottoms = (np.bincount(groups, part) for part in (scores, weights))
    order = list(dict.fromkeys(groups.tolist()))
    expected = bootstrap(
        (tops[order], bottoms[order]),
        lambda top, bottom, axis: top.sum(axis) / bottom.sum(axis),
        paired=True, n_resamples=2000, method="percentile", rng=0,
    ).confidence_interval  # fmt: skip
    found = group_bootstrap(scores.tolist(), weights.tolist(), groups.astype(str).tolist())
    assert found == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_a_score_of_sums_by_hand() -> None:
    """Two groups: the larger of the two sums is that of the first twice, the second, or both."""
    found = corpus_bootstrap([[1, 0], [1, 0], [0, 3]], ["g", "g", "h"], lambda sums: sums.max(1))
    assert found == (3, 6)
    assert corpus_bootstrap([[1.0], [2.0]], ["g", "g"], lambda sums: sums[:, 0]) is None


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    values = np.random.default_rng(0).exponential(size=12)
    without = [np.delete(values, place).mean() for place in range(12)]
    expected = DescrStatsW(values).tconfint_mean()
    assert group_jackknife(values.mean(), without) == pytest.approx(expected)


def test_the_jackknife_by_hand() -> None:
    """Two groups: the error is half the distance, and Student's t of one degree 12.706."""
    assert group_jackknife(5.0, [4.0, 6.0]) == pytest.approx((5 - 12.70620, 5 + 12.70620))
    assert group_jackknife(5.0, [5.0]) is None
