"""Wilson's interval against independent sources."""

import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from scripts.common.wilson import wilson


def test_the_published_accuracy() -> None:
    """84 of 114 pairs: 64.9 to 80.9 %."""
    assert wilson(84, 114) == pytest.approx((0.649, 0.809), abs=5e-4)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (1, 3), (3, 10), (84, 114), (1319, 1319)])
def test_against_scipy(k: int, n: int) -> None:
    other = binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k, n) == pytest.approx((other.low, other.high), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0.5, 3), (2.5, 5), (84.5, 114)])
def test_ties_against_statsmodels(k: float, n: int) -> None:
    assert wilson(k, n) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


def test_no_success_begins_at_zero_and_no_failure_ends_at_one() -> None:
    for n in range(1, 200):
        assert wilson(0, n)[0] >= 0
        assert wilson(n, n)[1] <= 1


def test_a_tie_counts_half() -> None:
    low, high = wilson(2.5, 5)
    assert low < 0.5 < high
    assert low + high == pytest.approx(1)
