"""Intervals by resampling."""

import random

import pytest

from scripts.evaluate.intervals import group_bootstrap


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
