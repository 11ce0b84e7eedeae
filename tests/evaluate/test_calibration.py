"""Calibration error against hand-worked cases and scipy's bins."""

import math
import random
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binned_statistic

from scripts.evaluate.calibration import calibration_error


def metric(margins: list[float], groups: list[str] | None = None) -> dict[str, Any]:
    rows = [{"id": str(place), "margin": margin} for place, margin in enumerate(margins)]
    belongs = dict(zip((row["id"] for row in rows), groups or map(str, margins), strict=True))
    return calibration_error(rows, belongs).summary()


def logit(share: float) -> float:
    return math.log(share / (1 - share))


def test_by_hand() -> None:
    """In the bin of 0.62 one of two is right (gap 0.12); in that of 0.91 the only one (0.09)."""
    found = metric([logit(0.62), -logit(0.62), logit(0.91)])
    assert found["value"] == pytest.approx((2 * 0.12 + 0.09) / 3)
    assert (found["n"], found["groups"]) == (3, 3)


def test_gaps_cancel_within_a_bin_and_not_between_bins() -> None:
    assert metric([logit(0.76), logit(0.76), logit(0.76), -logit(0.76)])["value"] == pytest.approx(
        0.01
    )
    # 0.4 too sure in one bin, 0.4 not sure enough in the other.
    assert metric([-logit(0.6), -logit(0.6), logit(0.8)])["value"] == pytest.approx(1.4 / 3)


def test_a_bin_ends_at_its_edge() -> None:
    """0.549 stands with 0.52 below the edge of 0.55, and 0.551 apart from it."""
    together = metric([logit(0.549), -logit(0.52)])["value"]
    apart = metric([logit(0.551), -logit(0.52)])["value"]
    assert together == pytest.approx(abs((1 - 0.549) - 0.52) / 2)
    assert apart == pytest.approx(((1 - 0.551) + 0.52) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_against_scipys_bins(seed: int) -> None:
    margins = np.random.default_rng(seed).normal(0.5, 2, 300)
    confidence = expit(np.abs(margins))
    right = (margins > 0).astype(float)
    bins = [
        binned_statistic(confidence, values, "mean", bins=10, range=(0.5, 1)).statistic
        for values in (right, confidence)
    ]
    counts = binned_statistic(confidence, right, "count", bins=10, range=(0.5, 1)).statistic
    expected = np.nansum(np.abs(bins[0] - bins[1]) * counts) / 300
    assert metric(margins.tolist())["value"] == pytest.approx(expected)


def test_all_ties_are_calibrated() -> None:
    """A tie is half right, and as sure as a coin."""
    found = metric([0.0] * 4, ["a", "b", "c", "d"])
    assert found["value"] == 0
    assert found["intervals"]["group bootstrap"] == (0, 0)


def test_one_pair_and_huge_margins() -> None:
    assert metric([-2000.0])["value"] == pytest.approx(1)
    assert metric([2000.0])["value"] == pytest.approx(0)
    assert metric([1.0])["intervals"] == {}


def test_one_group_has_no_interval() -> None:
    assert metric([1.0, -1.0], ["g", "g"])["intervals"] == {}


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """60 sets of 40 groups of 5 pairs, all too sure: sigmoid says 0.9, 0.7 are right."""
    draw = random.Random(0)
    groups = [str(place // 5) for place in range(200)]
    covered = 0
    for _ in range(60):
        margins = []
        for _ in range(40):
            level = draw.choice([0.5, 0.9])
            margins += [logit(0.9) if draw.random() < level else -logit(0.9) for _ in range(5)]
        low, high = metric(margins, groups)["intervals"]["group bootstrap"]
        covered += low <= 0.9 - 0.7 <= high
    assert 53 <= covered <= 60
