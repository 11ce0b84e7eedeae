"""What ratings say: shares with intervals, agreement of raters, Bradley-Terry scores."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

from scripts.common.wilson import LEVEL, wilson
from scripts.rating.key import LEFT, RIGHT, TIE
from scripts.report.read import BY_GROUP, WILSON, Figure

if TYPE_CHECKING:
    from numpy import ndarray

RESAMPLES = 2000
SEED = 0
SCALE = {LEFT: 0, TIE: 1, RIGHT: 2}
"""Choices in their order."""


@dataclass(frozen=True)
class Rating:
    """What one rater chose of one item; a skipped item is no rating."""

    rater: str
    item: str
    group: str
    """Ratings of one group, such as all of one prompt, are not independent."""
    trial: str
    against: str
    choice: str
    score: float
    """1 where the trial's answer was chosen, 0 where the other's was, 0.5 for a tie."""


# ---------------------------------------------------------------------------------------- shares


def win_rate(ratings: Sequence[Rating]) -> Figure:
    """Returns the share of ratings that the trial won, a tie being half."""
    return share(ratings, [rating.score for rating in ratings])


def left_share(ratings: Sequence[Rating]) -> Figure:
    """Returns the share of the left answer among the ratings that chose one."""
    chosen = [rating for rating in ratings if rating.choice != TIE]
    return share(chosen, [float(rating.choice == LEFT) for rating in chosen])


def share(ratings: Sequence[Rating], scores: Sequence[float]) -> Figure:
    """Returns the mean score with its intervals; Wilson's where one rater makes ratings items."""
    from numpy import array

    if not ratings:
        return Figure()
    intervals = {}
    if len({rating.rater for rating in ratings}) == 1:
        intervals[WILSON] = wilson(sum(scores), len(scores))
    weights = resampled(ratings)
    if weights is not None:
        intervals[BY_GROUP] = bounds(weights @ array(scores) / weights.sum(axis=1))
    groups = len({rating.group for rating in ratings})
    return Figure(
        value=sum(scores) / len(scores), n=len(scores), groups=groups, unit="share",
        intervals=intervals,
    )  # fmt: skip


def resampled(ratings: Sequence[Rating]) -> "ndarray | None":
    """Returns how often each rating is drawn, resample by resample: shape (resamples, ratings).

    Whole groups are drawn with replacement and, where there are several, so are raters; a rating is
    drawn as often as its group times its rater (the pigeonhole bootstrap, Owen 2007,
    https://doi.org/10.1214/07-AOAS122). Resamples without any rating are left out. None where there
    are fewer than two groups.
    """
    from numpy.random import default_rng

    rng = default_rng(SEED)
    if len({rating.group for rating in ratings}) < 2:
        return None
    weights = _draws(rng, [rating.group for rating in ratings])
    if len({rating.rater for rating in ratings}) > 1:
        weights = weights * _draws(rng, [rating.rater for rating in ratings])
    return weights[weights.sum(axis=1) > 0].astype(float)


def _draws(rng, names: list[str]) -> "ndarray":
    """Returns how often the cluster of each place is drawn: shape (resamples, places)."""
    from numpy import full, unique

    clusters, places = unique(names, return_inverse=True)
    size = len(clusters)
    return rng.multinomial(size, full(size, 1 / size), RESAMPLES)[:, places]


def bounds(values: "ndarray") -> tuple[float | None, float | None]:
    """Returns the percentile interval of resampled values.

    One that is not a number may lie anywhere: it counts below the low bound and above the high
    one, and where there are too many of them there is no bound.
    """
    from numpy import inf, isfinite, isnan, quantile, where

    tail = (1 - LEVEL) / 2
    low = quantile(where(isnan(values), -inf, values), tail, method="lower")
    high = quantile(where(isnan(values), inf, values), 1 - tail, method="higher")
    return (float(low), float(high)) if isfinite(low) and isfinite(high) else (None, None)


# ------------------------------------------------------------------------------------- agreement


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on the items that two or more of them rated."""

    items: int
    raters: int
    raw: float | None
    """Share of equal choices among all pairs of ratings of one item."""
    nominal: float | None
    ordinal: float | None
    """Krippendorff's alpha; None where all ratings are one, since chance explains all then."""


def agreement(ratings: Sequence[Rating]) -> Agreement:
    """Returns the agreement on left, tie and right, as they stood on the page."""
    by_item: dict[str, dict[str, int]] = defaultdict(dict)
    for rating in ratings:
        by_item[rating.item][rating.rater] = SCALE[rating.choice]
    shared = [values for values in by_item.values() if len(values) > 1]
    pairs = [a == b for values in shared for a, b in combinations(values.values(), 2)]
    return Agreement(
        items=len(shared),
        raters=len({rater for values in shared for rater in values}),
        raw=sum(pairs) / len(pairs) if pairs else None,
        nominal=krippendorff_alpha(shared, "nominal"),
        ordinal=krippendorff_alpha(shared, "ordinal"),
    )


def krippendorff_alpha(items: list[dict[str, int]], level: str) -> float | None:
    """Returns Krippendorff's alpha.

    Krippendorff 2011, https://repository.upenn.edu/asc_papers/43.
    """
    from krippendorff import alpha

    counts = [Counter(values.values()) for values in items]
    used = sorted({value for count in counts for value in count})
    if len(used) < 2:
        return None
    table = [[count[value] for value in used] for count in counts]
    return float(alpha(value_counts=table, value_domain=used, level_of_measurement=level))


# --------------------------------------------------------------------------------- Bradley-Terry


def bradley_terry(ratings: Sequence[Rating]) -> dict[tuple[str, str], Figure]:
    """Returns for each two of the rated models, in either order, by how much the first is stronger.

    The unit is the log of the odds that its answer is chosen; a tie is half a win each way. Without
    a value where wins do not lead from each of the two to the other, so that no finite odds fit.
    """
    models = sorted({name for rating in ratings for name in (rating.trial, rating.against)})
    wins = _wins(ratings, models)
    found, drawn = gaps(wins.sum(axis=0)), _resampled_gaps(ratings, wins)
    groups = len({rating.group for rating in ratings})

    def figure(i: int, j: int) -> Figure:
        value = float(found[i, j])
        if value != value:
            return Figure()
        interval = (None, None) if drawn is None else bounds(drawn[:, i, j])
        intervals = {} if None in interval else {BY_GROUP: interval}
        return Figure(
            value=value, n=len(ratings), groups=groups, unit="log odds", intervals=intervals
        )

    places = range(len(models))
    return {(models[i], models[j]): figure(i, j) for i, j in permutations(places, 2)}


def _wins(ratings: Sequence[Rating], models: list[str]) -> "ndarray":
    """Returns for each rating which model won against which: shape (ratings, models, models)."""
    from numpy import zeros

    wins = zeros((len(ratings), len(models), len(models)))
    for row, rating in zip(wins, ratings, strict=True):
        trial, against = models.index(rating.trial), models.index(rating.against)
        row[trial, against], row[against, trial] = rating.score, 1 - rating.score
    return wins


def _resampled_gaps(ratings: Sequence[Rating], wins: "ndarray") -> "ndarray | None":
    """Returns the gaps of every resample: shape (resamples, models, models)."""
    from numpy import array

    weights = resampled(ratings)
    if weights is None:
        return None
    sums = (weights @ wins.reshape(len(wins), -1)).reshape(-1, *wins.shape[1:])
    return array([gaps(one) for one in sums])


def gaps(wins: "ndarray") -> "ndarray":
    """Returns by how much each model is stronger than each other one, in log odds.

    Maximum likelihood (Bradley & Terry 1952, https://doi.org/10.2307/2334029). It is finite between
    models whose wins lead from each to the other; between all others it is not a number.

    Parameters
    ----------
    wins
        How often the model of the row won against that of the column.
    """
    from choix import ilsr_pairwise_dense
    from numpy import flatnonzero, full, ix_, nan
    from scipy.sparse.csgraph import connected_components

    found = full(wins.shape, nan)
    count, labels = connected_components(wins > 0, directed=True, connection="strong")
    for label in range(count):
        places = flatnonzero(labels == label)
        if len(places) > 1:
            strengths = ilsr_pairwise_dense(wins[ix_(places, places)], max_iter=10_000)
            found[ix_(places, places)] = strengths[:, None] - strengths
    return found
