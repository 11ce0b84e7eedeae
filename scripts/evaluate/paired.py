"""Paired tests of models that were scored on the same items, many tests at once."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from scripts.evaluate.intervals import (
    SEED,
    group_counts,
    over_drawn_seeds,
    percentiles,
    resampled,
)

if TYPE_CHECKING:
    from numpy import ndarray

Pair = tuple[int, int]
"""Two models by their place."""

ENUMERATED = 12
"""So many groups that differ are flipped in every way there is, 4,096 at most."""
DRAWS = 10_000
DRAWS_A_TEST = 40
"""Draws for each test of a family beyond 250: Holm's correction of the smallest p is 1 / 40."""
GOES_ON = 0.1
"""A p above after 10,000 draws is final: Holm's correction is never below, so none shows it."""
CHUNK = 2_000
"""So many draws are taken at once."""

MCNEMAR, ENUMERATION, SAMPLE = "McNemar, exact", "sign flips, all", "sign flips, drawn"


@dataclass(frozen=True)
class Panel:
    """One metric of several models on the same items.

    Attributes
    ----------
    scores, weights
        Runs × items. A metric of a run is sum(scores) / sum(weights).
    groups
        The group of each item, as a number from 0 on.
    owners
        By run the model that it is of, in order: the runs of a model are its seeds.
    """

    scores: "ndarray"
    weights: "ndarray"
    groups: "ndarray"
    owners: "ndarray"

    @property
    def items(self) -> int:
        return len(self.groups)

    @cached_property
    def size(self) -> int:
        """The number of groups."""
        return int(self.groups.max()) + 1

    @cached_property
    def seeds(self) -> "ndarray":
        """The number of runs of each model."""
        from numpy import bincount

        return bincount(self.owners)

    @cached_property
    def sums(self) -> tuple["ndarray", "ndarray"]:
        """Score and weights summed by group: runs × groups."""
        return by_group(self.scores, self.groups), by_group(self.weights, self.groups)

    @cached_property
    def values(self) -> "ndarray":
        """Each model's metric: the mean over its seeds."""
        numerators, denominators = self.sums
        return self._of_models(numerators.sum(axis=1) / denominators.sum(axis=1))

    @cached_property
    def means(self) -> tuple["ndarray", "ndarray"]:
        """Score and weights summed by group and averaged over seeds: models × groups."""
        numerators, denominators = self.sums
        return self._of_models(numerators), self._of_models(denominators)

    @cached_property
    def binary(self) -> bool:
        """Whether every item is a group of its own and counts once as a success or a failure."""
        scores, alone = self.scores, self.size == self.items
        return bool(alone and ((scores == 0) | (scores == 1)).all() and (self.weights == 1).all())

    def _of_models(self, runs: "ndarray") -> "ndarray":
        """Return the mean over the seeds of each model."""
        from numpy import add, diff, flatnonzero

        starts = [0, *(flatnonzero(diff(self.owners)) + 1)]
        sums = add.reduceat(runs, starts, axis=0)
        return (sums.T / self.seeds).T


def by_group(values: "ndarray", groups: "ndarray") -> "ndarray":
    """Return runs × groups: the values of runs × items summed over each group's items."""
    from numpy import add, arange, argsort, searchsorted

    order = argsort(groups, kind="stable")
    starts = searchsorted(groups[order], arange(groups.max() + 1))
    return add.reduceat(values[:, order], starts, axis=1)


# ------------------------------------------------------------------------------------ differences


def difference_intervals(panel: Panel, pairs: list[Pair]) -> "ndarray | None":
    """Return the 95 % percentile bounds of each pair's difference: 2 × pairs.

    Groups are drawn once for all models, so that the difference is paired; each model draws its own
    seeds. None where there are fewer than two groups.
    """
    from numpy import stack

    if panel.size < 2:
        return None
    values = resampled(*panel.sums, group_counts(panel.size))
    models = stack(
        [
            over_drawn_seeds(values[:, panel.owners == model], model)
            for model in range(len(panel.seeds))
        ],
        axis=1,
    )
    first, second = _sides(pairs)
    return percentiles(models[:, first] - models[:, second])


def group_deviations(panel: Panel, pairs: list[Pair]) -> "ndarray | None":
    """Return the standard deviation over groups of what each adds to a pair's difference.

    So scaled that the difference of G groups like these has the standard error deviation / √G: the
    linearized ratio (Cochran 1977, Sampling Techniques, section 6.3). None where there are fewer
    than two groups.
    """
    if panel.size < 2:
        return None
    numerators, denominators = panel.means
    weights = denominators.mean(axis=1, keepdims=True)
    ratios = numerators.sum(axis=1, keepdims=True) / denominators.sum(axis=1, keepdims=True)
    parts = (numerators - ratios * denominators) / weights
    first, second = _sides(pairs)
    return (parts[first] - parts[second]).std(axis=1, ddof=1)


def _sides(pairs: list[Pair]) -> tuple[list[int], list[int]]:
    return [a for a, _ in pairs], [b for _, b in pairs]


# ------------------------------------------------------------------------------------------ tests


def paired_tests(panel: Panel, pairs: list[Pair]) -> list[tuple[str, float]]:
    """Return of each pair the test that was made and its two-sided p-value.

    Exact McNemar where the items are single successes and failures of one seed each. Else the
    scores, averaged over seeds, are swapped between the two models group by group: every way of
    swapping where at most 12 groups differ, else 10,000 drawn ways, or 40 for each test where there
    are more than 250 and the first 10,000 leave the p-value below 0.1 (Phipson & Smyth 2010,
    https://doi.org/10.2202/1544-6115.1585: the observed one counts among them).
    """
    tests: dict[Pair, tuple[str, float]] = {}
    drawn = []
    for pair in pairs:
        if panel.binary and all(panel.seeds[model] == 1 for model in pair):
            tests[pair] = MCNEMAR, _mcnemar(panel, pair)
        elif len(_differing(panel, pair)) <= ENUMERATED:
            tests[pair] = ENUMERATION, _enumerated(panel, pair)
        else:
            drawn.append(pair)
    if drawn:
        draws = max(DRAWS, DRAWS_A_TEST * len(pairs))
        found = _sampled(panel, drawn, draws)
        tests |= {pair: (SAMPLE, float(p)) for pair, p in zip(drawn, found, strict=True)}
    return [tests[pair] for pair in pairs]


def holm(values: list[float]) -> list[float]:
    """Return p-values corrected for being so many (Holm 1979)."""
    from statsmodels.stats.multitest import multipletests

    return [float(value) for value in multipletests(values, method="holm")[1]]


def _mcnemar(panel: Panel, pair: Pair) -> float:
    """Return the p-value of the items of which one model has one and the other has not."""
    from statsmodels.stats.contingency_tables import mcnemar

    first, second = panel.means[0][list(pair)]
    table = [[0, int((first > second).sum())], [int((first < second).sum()), 0]]
    return float(mcnemar(table, exact=True).pvalue)


def _differing(panel: Panel, pair: Pair) -> "ndarray":
    """Return the groups in which swapping the models changes something."""
    from numpy import flatnonzero

    (numerators, denominators), (a, b) = panel.means, pair
    return flatnonzero((numerators[a] != numerators[b]) | (denominators[a] != denominators[b]))


def _enumerated(panel: Panel, pair: Pair) -> float:
    from numpy import arange

    groups = _differing(panel, pair)
    bits = arange(2 ** len(groups))[:, None] >> arange(len(groups)) & 1
    swaps = _Swaps.of(panel, [pair])
    return float((swaps.reached(1.0 - 2.0 * bits, groups)).mean())


def _sampled(panel: Panel, pairs: list[Pair], draws: int) -> "ndarray":
    from numpy import arange, flatnonzero, zeros
    from numpy.random import default_rng

    swaps, draw = _Swaps.of(panel, pairs), default_rng([SEED, 2])
    open_tests, hits, drawn = arange(len(pairs)), zeros(len(pairs)), zeros(len(pairs))
    for start in range(0, draws, CHUNK):
        if start == DRAWS:
            open_tests = flatnonzero(hits < GOES_ON * DRAWS)
            swaps = _Swaps.of(panel, [pairs[test] for test in open_tests])
        size = min(CHUNK, draws - start), panel.size
        signs = 1.0 - 2.0 * draw.integers(2, size=size)
        hits[open_tests] += swaps.reached(signs).sum(axis=0)
        drawn[open_tests] += len(signs)
    return (hits + 1) / (drawn + 1)


@dataclass(frozen=True)
class _Swaps:
    """What swapping two models group by group does to the difference of their metrics.

    All are pairs × groups: half the sum and half the difference of scores and of weights.
    """

    middle: tuple["ndarray", "ndarray"]
    half: tuple["ndarray", "ndarray"]

    @classmethod
    def of(cls, panel: Panel, pairs: list[Pair]) -> "_Swaps":
        first, second = _sides(pairs)
        return cls(
            tuple((part[first] + part[second]) / 2 for part in panel.means),
            tuple((part[first] - part[second]) / 2 for part in panel.means),
        )

    def reached(self, signs: "ndarray", groups: "ndarray | slice" = slice(None)) -> "ndarray":
        """Return for each way of swapping (a row of signs) True if the difference is as large.

        Returns ways × pairs. A difference as large but for rounding counts as large.
        """
        middle = [part.sum(axis=1) for part in self.middle]
        here = [part.sum(axis=1) for part in self.half]
        slack = 1e-10 * abs(self.half[0]).sum(axis=1)
        scores = signs @ self.half[0][:, groups].T
        if not self.half[1].any():
            # Both weigh the same, however they are swapped: the scores alone decide.
            return abs(scores) >= abs(here[0]) - slack
        found = _difference(middle, [scores, signs @ self.half[1][:, groups].T])
        return abs(found) >= abs(_difference(middle, here)) - slack / middle[1]


def _difference(middle: list["ndarray"], half: list["ndarray"]) -> "ndarray":
    """Return the difference of two ratios from half the sums and half the differences."""
    (scores, weights), (more_scores, more_weights) = middle, half
    first = (scores + more_scores) / (weights + more_weights)
    return first - (scores - more_scores) / (weights - more_weights)
