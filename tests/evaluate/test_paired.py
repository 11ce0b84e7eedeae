"""Paired tests, and intervals over seeds and groups: by hand, and by other implementations."""

import time
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from scripts.evaluate.intervals import crossed_bootstrap, group_bootstrap
from scripts.evaluate.paired import (
    DRAWS,
    ENUMERATION,
    MCNEMAR,
    SAMPLE,
    Panel,
    by_group,
    difference_intervals,
    group_deviations,
    holm,
    paired_tests,
)


def panel(*models, groups=None, weights=None) -> Panel:
    """Return models' scores side by side; a model is a list of seeds, or one seed's scores."""
    runs = [list(map(list, model)) if np.ndim(model) == 2 else [list(model)] for model in models]
    scores = np.array([run for model in runs for run in model], dtype=float)
    owners = np.array([place for place, model in enumerate(runs) for _ in model])
    given = np.arange(scores.shape[1]) if groups is None else np.array(groups)
    return Panel(scores, np.ones_like(scores) if weights is None else weights, given, owners)


# ------------------------------------------------------------------------------------------ tests


def test_sign_flips_by_hand() -> None:
    """Group differences 2, 1 and 1: of eight ways of swapping two reach 4 or -4."""
    ((test, p),) = paired_tests(panel([1, 1, 1, 1], [0, 0, 0, 0], groups=[0, 0, 1, 2]), [(0, 1)])
    assert (test, p) == (ENUMERATION, 2 / 8)


def test_mcnemar_by_hand() -> None:
    """Five items of one only, all of the first model: 2 / 2^5."""
    ((test, p),) = paired_tests(panel([1, 1, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1, 0]), [(0, 1)])
    assert (test, p) == (MCNEMAR, pytest.approx(2 / 32))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 1), (7, 3), (9, 1), (2, 8), (40, 25)])
def test_mcnemar_is_that_of_statsmodels_and_of_sign_flips(only_a: int, only_b: int) -> None:
    first = [1] * only_a + [0] * only_b + [1, 0]
    second = [0] * only_a + [1] * only_b + [1, 0]
    ((test, p),) = paired_tests(panel(first, second), [(0, 1)])
    other = mcnemar([[1, only_a], [only_b, 1]], exact=True).pvalue
    assert (test, p) == (MCNEMAR, pytest.approx(min(other, 1)))
    # A tie of both leaves nothing single, so that the same items are flipped.
    ((test, flipped),) = paired_tests(panel([*first, 0.5], [*second, 0.5]), [(0, 1)])
    exact = only_a + only_b <= 12
    assert test == (ENUMERATION if exact else SAMPLE)
    assert flipped == pytest.approx(p, abs=1e-12 if exact else 0.02)


def test_a_tie_counts_half() -> None:
    """Differences 1, 1 and 1/2: the sum 2.5 is reached by all of one sign only."""
    ((test, p),) = paired_tests(panel([1, 1, 0.5], [0, 0, 0]), [(0, 1)])
    assert (test, p) == (ENUMERATION, 2 / 8)


@pytest.mark.parametrize("weighted", [False, True])
def test_flips_are_the_permutations_of_scipy(weighted: bool) -> None:
    """Nine groups with models' own weights: all 512 ways of swapping, by another implementation."""
    draw = np.random.default_rng(3)
    groups = np.repeat(np.arange(9), 3)
    scores = draw.normal(size=(2, 27))
    weights = draw.uniform(1, 9, size=(2, 27)) if weighted else np.ones((2, 27))
    ((test, p),) = paired_tests(panel(*scores, groups=groups, weights=weights), [(0, 1)])
    tops, bottoms = (by_group(part, groups) for part in (scores, weights))

    def statistic(a, b, axis):
        a, b = a.astype(int), b.astype(int)
        return tops.ravel()[a].sum(axis) / bottoms.ravel()[a].sum(axis) - tops.ravel()[b].sum(
            axis
        ) / bottoms.ravel()[b].sum(axis)

    other = permutation_test(
        (np.arange(9.0), np.arange(9.0) + 9), statistic, permutation_type="samples",
        vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    larger = abs(other.null_distribution) >= abs(other.statistic) - 1e-12
    assert len(larger) == 512
    assert (test, p) == (ENUMERATION, pytest.approx(larger.mean()))


def test_drawn_flips_are_those_of_scipy_within_their_error() -> None:
    draw = np.random.default_rng(5)
    models = draw.normal(loc=[[0.35], [0.0]], size=(2, 60))
    ((test, p),) = paired_tests(panel(*models), [(0, 1)])
    other = permutation_test(
        tuple(models), lambda a, b, axis: a.mean(axis) - b.mean(axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=1,
    ).pvalue  # fmt: skip
    assert test == SAMPLE
    assert 0.001 < other < 0.2
    assert p == pytest.approx(other, abs=4 * np.sqrt(other / DRAWS))


def rational(scores, weights, groups) -> Fraction:
    """Return the p-value of two models by swapping the groups in every way, without rounding."""
    names = sorted(set(groups))
    parts = [
        [
            [sum(Fraction(str(it)) for it, name in zip(row, groups, strict=True) if name == group)
             for group in names]
            for row in rows
        ]
        for rows in (scores, weights)
    ]  # fmt: skip

    def distance(swapped) -> Fraction:
        sums = [
            [sum(part[row ^ swap][place] for place, swap in enumerate(swapped)) for part in parts]
            for row in (0, 1)
        ]
        return abs(sums[0][0] / sums[0][1] - sums[1][0] / sums[1][1])

    ways = [distance(swapped) for swapped in product((0, 1), repeat=len(names))]
    return Fraction(sum(way >= ways[0] for way in ways), len(ways))


@pytest.mark.parametrize("scale", [(1, 1), (1e9, 1), (1, 1e9), (1e-9, 1e12)])
@pytest.mark.parametrize("seed", range(8))
def test_flips_are_counted_as_without_rounding(seed: int, scale: tuple[float, float]) -> None:
    """Of few different numbers, so that many ways of swapping are equal but for rounding.

    In other units the same ways are equal. With weights that differ, and with equal ones.
    """
    draw = np.random.default_rng(seed)
    groups = [0, 0, 1, 2, 3, 4, 5, 6][: 8 - seed % 2]
    scores = draw.integers(1, 5, size=(2, len(groups))) / 10
    weights = draw.integers(1, 30, size=(2, len(groups))) / 10
    if seed < 3:
        weights[1] = weights[0]
    models = panel(*scores * scale[0], groups=groups, weights=weights * scale[1])
    ((test, p),) = paired_tests(models, [(0, 1)])
    assert (test, p) == (ENUMERATION, float(rational(scores, weights, groups)))


def test_equal_scores_of_unequal_weights_differ() -> None:
    """1 and 1/2: of eight ways of swapping all or none reach the difference."""
    weights = np.array([[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    models = panel([1, 1, 1], [1, 1, 1], weights=weights)
    assert list(models.values) == [1, 0.5]
    assert paired_tests(models, [(0, 1)]) == [(ENUMERATION, 2 / 8)]
    # Successes that weigh 2 are no single ones.
    twice = panel([2, 2, 0], [0, 0, 0], weights=np.full((2, 3), 2.0))
    ones = panel([1, 1, 0], [0, 0, 0], weights=np.full((2, 3), 2.0))
    assert paired_tests(twice, [(0, 1)]) == paired_tests(ones, [(0, 1)]) == [(ENUMERATION, 2 / 4)]


@pytest.mark.parametrize(("groups", "test"), [(12, ENUMERATION), (13, SAMPLE)])
def test_up_to_twelve_groups_are_swapped_in_every_way(groups: int, test: str) -> None:
    """Groups in which the models are alike do not count."""
    models = panel([0.5] * groups + [1.0] * 9, [0.0] * groups + [1.0] * 9)
    ((found, p),) = paired_tests(models, [(0, 1)])
    assert found == test
    assert p == 2 / 2**12 if test == ENUMERATION else p < 0.002


def test_a_drawn_p_is_never_zero_and_the_same_again() -> None:
    models = panel([1.0] * 30, [0.25] * 30)
    assert paired_tests(models, [(0, 1)]) == [(SAMPLE, 1 / 10_001)]
    assert paired_tests(models, [(0, 1)]) == paired_tests(models, [(0, 1)])


def test_many_tests_are_drawn_so_often_that_holm_can_tell() -> None:
    models = panel([1.0] * 30, *[[0.25] * 30] * 405)
    found = paired_tests(models, [(0, other) for other in range(1, 406)])
    assert {p for _, p in found} == {1 / 16_201}
    assert max(holm([p for _, p in found])) <= 1 / 40


def test_only_a_test_that_may_yet_be_shown_is_drawn_more_often() -> None:
    """Thirty groups differ by 1/2 each, in favor of the first model in so many of them."""
    models = panel(
        [0.5] * 30, *([0.0] * won + [1.0] * (30 - won) for won in [30, 22, 21, 17] * 100)
    )
    found = paired_tests(models, [(0, other) for other in range(1, 401)])
    for place, (won, drawn) in enumerate([(30, 16_000), (22, 16_000), (21, 16_000), (17, 10_000)]):
        (p,) = {p for _, p in found[place::4]}
        assert p == pytest.approx(binomtest(won, 30).pvalue, abs=0.012)
        assert p * (drawn + 1) == pytest.approx(round(p * (drawn + 1)), abs=1e-6)


def test_models_that_are_alike_differ_by_nothing() -> None:
    alike = [0.5, 1.5, 2.5]
    assert paired_tests(panel(alike, alike), [(0, 1)]) == [(ENUMERATION, 1.0)]
    assert paired_tests(panel([1, 0, 1], [1, 0, 1]), [(0, 1)]) == [(MCNEMAR, 1.0)]


def test_seeds_are_averaged_for_the_test_of_items() -> None:
    """Of two seeds the items are 1/2 and 1; they are no single successes any more."""
    two = panel([[1, 1, 1], [0, 1, 1]], [0, 0, 0])
    averaged = panel([0.5, 1, 1], [0, 0, 0])
    assert paired_tests(two, [(0, 1)]) == paired_tests(averaged, [(0, 1)]) == [(ENUMERATION, 0.25)]
    assert list(two.values) == pytest.approx([5 / 6, 0])


def test_the_order_of_the_pairs_is_kept_and_sides_are_alike() -> None:
    models = panel([1, 1, 1, 1], [0, 0, 0.5, 0.25], [1, 1, 1, 1])
    pairs = [(0, 1), (0, 2), (1, 0), (2, 1)]
    found = paired_tests(models, pairs)
    assert found[0] == found[2] == found[3]
    assert found[1] == (ENUMERATION, 1.0)


def test_under_no_difference_small_p_are_as_rare_as_they_say() -> None:
    """400 pairs of models drawn alike, 30 groups of 4 items that go together: about 5 % below."""
    draw = np.random.default_rng(11)
    groups = np.repeat(np.arange(30), 4)
    models = [draw.normal(size=30)[groups] + draw.normal(size=120) for _ in range(800)]
    pairs = [(place, place + 1) for place in range(0, 800, 2)]
    found = [p for _, p in paired_tests(panel(*models, groups=groups), pairs)]
    assert 8 <= sum(p < 0.05 for p in found) <= 32
    # Items taken alone would be told apart far too often.
    alone = [p for _, p in paired_tests(panel(*models), pairs)]
    assert sum(p < 0.05 for p in alone) > 60


def test_holm_by_hand_and_by_statsmodels() -> None:
    """Smallest times three, next times two, and never below the one before."""
    values = [0.02, 0.01, 0.04]
    assert holm(values) == pytest.approx([0.04, 0.03, 0.04])
    assert holm(values) == pytest.approx(list(multipletests(values, method="holm")[1]))
    assert holm([]) == []


def test_two_thousand_tests_of_a_thousand_models_take_seconds() -> None:
    """Half of the models differ from the others, so that their tests are drawn to the end."""
    draw = np.random.default_rng(2)
    models = panel(*draw.normal(size=(1001, 200)) + np.arange(1001)[:, None] % 2)
    pairs = [(0, other) for other in range(1, 1001)] + [(other, 1) for other in range(2, 1001)]
    start = time.process_time()
    paired_tests(models, pairs)
    difference_intervals(models, pairs)
    assert time.process_time() - start < 20


# -------------------------------------------------------------------------------------- intervals


def sums(scores, weights, groups):
    names = {name: place for place, name in enumerate(dict.fromkeys(groups))}
    places = np.array([names[group] for group in groups])
    return by_group(np.array(scores, float), places), by_group(np.array(weights, float), places)


@pytest.mark.parametrize("groups", [2, 7, 60])
def test_one_seed_has_the_interval_of_its_groups(groups: int) -> None:
    draw = np.random.default_rng(groups)
    names = [f"group {draw.integers(groups)}" for _ in range(200)]
    scores, weights = draw.normal(size=200), draw.uniform(1, 5, size=200)
    crossed = crossed_bootstrap(*sums([scores], [weights], names))
    alone = group_bootstrap(list(scores), list(weights), names)
    assert crossed == pytest.approx(alone, rel=1e-12, abs=1e-12)


def test_seeds_that_are_alike_are_one() -> None:
    draw = np.random.default_rng(1)
    names = [str(place % 20) for place in range(100)]
    scores = draw.normal(size=100)
    three = crossed_bootstrap(*sums([scores] * 3, [[1.0] * 100] * 3, names))
    assert three == pytest.approx(group_bootstrap(list(scores), [1.0] * 100, names))


def test_seeds_that_differ_widen_the_interval_of_two_groups() -> None:
    """Groups alike, seeds 0 and 1: the mean of two drawn seeds is 0, 1/2 or 1."""
    interval = crossed_bootstrap(np.array([[0.0, 0.0], [1.0, 1.0]]), np.ones((2, 2)))
    assert interval == (0.0, 1.0)


def test_a_resample_that_weighs_nothing_does_not_count() -> None:
    """The second group weighs nothing; alone it is no number, and all other resamples are 2."""
    interval = crossed_bootstrap(np.array([[4.0, 0.0]]), np.array([[2.0, 0.0]]))
    assert interval == (2.0, 2.0)


def test_one_group_has_no_interval() -> None:
    assert crossed_bootstrap(np.ones((3, 1)), np.ones((3, 1))) is None
    assert difference_intervals(panel([1, 0], [0, 0], groups=[0, 0]), [(0, 1)]) is None
    assert group_deviations(panel([1, 0], [0, 0], groups=[0, 0]), [(0, 1)]) is None


def study(draw, seeds: int, groups: int) -> np.ndarray:
    """Return scores of seeds × groups around 0: levels of seeds and of groups, and noise."""
    levels = 0.3 * draw.normal(size=(seeds, 1)) + draw.normal(size=(1, groups))
    return levels + 0.5 * draw.normal(size=(seeds, groups))


def test_the_interval_over_seeds_and_groups_covers_the_truth() -> None:
    """200 studies of 8 seeds and 30 groups: 95 % intervals cover 0 in 180 and more.

    The interval of the groups alone, which takes seeds for fixed, misses it more often.
    """
    draw = np.random.default_rng(0)
    crossed = fixed = 0
    for _ in range(200):
        scores = study(draw, 8, 30)
        low, high = crossed_bootstrap(scores, np.ones_like(scores))
        crossed += low <= 0 <= high
        mean = scores.mean(axis=0, keepdims=True)
        low, high = crossed_bootstrap(mean, np.ones_like(mean))
        fixed += low <= 0 <= high
    assert 180 <= crossed <= 198
    assert fixed < crossed


def test_the_interval_of_a_difference_is_paired_and_covers_the_truth() -> None:
    """150 studies of two models that share their groups' levels; the difference is 0.2."""
    draw = np.random.default_rng(4)
    covered, widths, alone = 0, [], []
    for _ in range(150):
        levels = 2 * draw.normal(size=40)
        a, b = (
            [levels + 0.2 * draw.normal() + 0.5 * draw.normal(size=40) for _ in range(6)]
            for _ in range(2)
        )
        models = panel(np.array(a) + 0.2, b)
        ((low,), (high,)) = difference_intervals(models, [(0, 1)])
        covered += low <= 0.2 <= high
        widths.append(high - low)
        one = crossed_bootstrap(np.array(a), np.ones_like(a))
        alone.append(one[1] - one[0])
    assert 132 <= covered <= 149
    assert np.mean(widths) < 0.75 * np.mean(alone)


def test_the_deviation_of_groups_by_hand() -> None:
    """Differences 1, 2 and 3 of groups that weigh alike: deviation 1, and 1 / √3 the error."""
    assert group_deviations(panel([1, 2, 3], [0, 0, 0]), [(0, 1)]) == pytest.approx([1.0])


def test_two_groups_have_an_interval_and_a_deviation() -> None:
    """Differences 1 and 3: a resample's is 1, 2 or 3; their deviation is √2."""
    models = panel([1, 3], [0, 0])
    assert difference_intervals(models, [(0, 1)]).ravel().tolist() == [1.0, 3.0]
    assert group_deviations(models, [(0, 1)]) == pytest.approx([np.sqrt(2)])


def test_the_deviation_of_groups_is_that_of_their_influence() -> None:
    """What a group adds is the slope of the difference in how often the group is there."""
    draw = np.random.default_rng(6)
    groups, seeds = np.array([0, 0, 1, 2, 2, 3, 4]), 3
    scores, weights = draw.normal(size=(seeds, 7)), draw.uniform(1, 5, size=(seeds, 7))
    models = panel(scores[:2], scores[2], groups=groups, weights=weights)

    def difference(counts: np.ndarray) -> float:
        tops, bottoms = scores @ counts[groups], weights @ counts[groups]
        return tops[:2].sum() / bottoms[:2].sum() - tops[2] / bottoms[2]

    step = 1e-6 * np.eye(5)
    slopes = [5 * (difference(1 + row) - difference(1 - row)) / 2e-6 for row in step]
    (found,) = group_deviations(models, [(0, 1)])
    assert found == pytest.approx(np.std(slopes, ddof=1), rel=1e-6)


def test_the_metric_of_a_model_is_the_mean_over_its_seeds_of_ratios() -> None:
    """Of (1 + 5) / (1 + 2) = 2 and (4 + 4 + 1) / (1 + 1 + 1) = 3 with an item of no score."""
    weights = np.array([[1.0, 2.0, 0.0], [1.0, 1.0, 1.0], [2.0, 2.0, 2.0]])
    models = panel([[1, 5, 0], [4, 4, 1]], [1, 1, 1], weights=weights)
    assert list(models.values) == [2.5, 0.5]
    assert [it.tolist() for it in models.means] == [
        [[2.5, 4.5, 0.5], [1, 1, 1]],
        [[1, 1.5, 0.5], [2, 2, 2]],
    ]


def test_the_deviation_of_groups_gives_the_error_of_resampling() -> None:
    draw = np.random.default_rng(8)
    groups = np.sort(draw.integers(80, size=400))
    groups = np.unique(groups, return_inverse=True)[1]
    models = panel(*draw.normal(size=(2, 400)), groups=groups)
    (deviation,) = group_deviations(models, [(0, 1)])
    ((low,), (high,)) = difference_intervals(models, [(0, 1)])
    assert (high - low) / 3.92 == pytest.approx(deviation / np.sqrt(models.size), rel=0.08)
