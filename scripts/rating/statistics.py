"""What ratings say: shares with intervals, agreement of raters, Bradley-Terry strengths.

Ratings are a frame with a row for each choice of one rater, skipped items left out. Its columns:
rater, item, group (ratings of one group, such as all of one prompt, are not independent), trial and
against (the folders of the two models), choice (left, tie or right), score (1 where the trial's
answer was chosen, 0 where the other's was, 0.5 for a tie).
"""

from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, Any

from scripts.common.wilson import LEVEL, wilson
from scripts.rating.key import LEFT, RIGHT, TIE

if TYPE_CHECKING:
    from numpy import ndarray
    from pandas import DataFrame

COLUMNS = ("rater", "item", "group", "trial", "against", "choice", "score")
RESAMPLES = 2000
SEED = 0
SCALE = {LEFT: 0, TIE: 1, RIGHT: 2}
"""Choices in their order."""
WILSON, BY_GROUP = "wilson", "group bootstrap"


@dataclass(frozen=True)
class Estimate:
    """A value with its intervals; without a value where nothing was rated."""

    value: float | None = None
    n: int | None = None
    groups: int | None = None
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def interval(self, method: str) -> tuple[float | None, float | None]:
        """Return the bounds by one method, or None twice."""
        return self.intervals.get(method, (None, None))


# ---------------------------------------------------------------------------------------- shares


def win_rate(ratings: "DataFrame") -> Estimate:
    """Return the share of ratings that the trial won, a tie being half."""
    return share(ratings, ratings["score"])


def left_share(ratings: "DataFrame") -> Estimate:
    """Return the share of the left answer among the ratings that chose one."""
    chosen = ratings[ratings["choice"] != TIE]
    return share(chosen, (chosen["choice"] == LEFT).astype(float))


def share(ratings: "DataFrame", scores: Any) -> Estimate:
    """Return the mean score with its intervals.

    Wilson's takes ratings as independent, which those of one rater are as items, and is left out
    for several raters.
    """
    if ratings.empty:
        return Estimate()
    intervals = {}
    if ratings["rater"].nunique() == 1:
        intervals[WILSON] = wilson(scores.sum(), len(scores))
    weights = resampled(ratings)
    if weights is not None and (found := bounds(weights @ scores.to_numpy() / weights.sum(axis=1))):
        intervals[BY_GROUP] = found
    return Estimate(float(scores.mean()), len(ratings), ratings["group"].nunique(), intervals)


def resampled(ratings: "DataFrame") -> "ndarray | None":
    """Return how often each rating is drawn, resample by resample: shape (resamples, ratings).

    Whole groups are drawn with replacement and, where there are several, so are raters; a rating is
    drawn as often as its group times its rater (the pigeonhole bootstrap, Owen 2007,
    https://doi.org/10.1214/07-AOAS122). Resamples without any rating are left out. None where there
    are fewer than two groups.
    """
    from numpy import full, unique
    from numpy.random import default_rng

    rng = default_rng(SEED)

    def draws(names: Any) -> "ndarray":
        clusters, places = unique(names.to_numpy(dtype=str), return_inverse=True)
        size = len(clusters)
        return rng.multinomial(size, full(size, 1 / size), RESAMPLES)[:, places]

    if ratings["group"].nunique() < 2:
        return None
    weights = draws(ratings["group"])
    if ratings["rater"].nunique() > 1:
        weights = weights * draws(ratings["rater"])
    return weights[weights.sum(axis=1) > 0].astype(float)


def bounds(values: "ndarray") -> tuple[float, float] | None:
    """Return the percentile interval of resampled values.

    A value that is not a number may lie anywhere: it counts below the low bound and above the high
    one, and where there are too many of them there is no interval.
    """
    from numpy import inf, isfinite, isnan, quantile, where

    tail = (1 - LEVEL) / 2
    low = quantile(where(isnan(values), -inf, values), tail, method="lower")
    high = quantile(where(isnan(values), inf, values), 1 - tail, method="higher")
    return (float(low), float(high)) if isfinite(low) and isfinite(high) else None


# ------------------------------------------------------------------------------------- agreement


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on the items that two or more of them rated.

    Attributes
    ----------
    raw
        Share of equal choices among all pairs of ratings of one item.
    nominal, ordinal
        Krippendorff's alpha; None where all ratings are the same, since chance then explains all.
    """

    items: int
    raters: int
    raw: float | None
    nominal: float | None
    ordinal: float | None


def agreement(ratings: "DataFrame") -> Agreement:
    """Return the agreement on left, tie and right, as they stood on the page."""
    shared = ratings[ratings.groupby("item")["rater"].transform("nunique") > 1]
    # How often each item was rated left, tie and right.
    counts = shared.groupby(["item", shared["choice"].map(SCALE)]).size().unstack(fill_value=0)
    pairs = (counts * (counts - 1)).to_numpy().sum()
    total = (counts.sum(axis=1) * (counts.sum(axis=1) - 1)).sum()
    return Agreement(
        items=len(counts),
        raters=shared["rater"].nunique(),
        raw=float(pairs / total) if total else None,
        nominal=alpha(counts, "nominal"),
        ordinal=alpha(counts, "ordinal"),
    )


def alpha(counts: "DataFrame", level: str) -> float | None:
    """Return Krippendorff's alpha of how often each item (row) was given each value (column).

    Krippendorff 2011, https://repository.upenn.edu/asc_papers/43. None where all values are equal.
    """
    import krippendorff

    if len(counts.columns) < 2:
        return None
    return float(
        krippendorff.alpha(
            value_counts=counts.to_numpy(),
            value_domain=list(counts.columns),
            level_of_measurement=level,
        )
    )


# --------------------------------------------------------------------------------- Bradley-Terry


def bradley_terry(ratings: "DataFrame") -> dict[tuple[str, str], Estimate]:
    """Return for each two of the rated models, in either order, by how much the first is stronger.

    The unit is the log of the odds that its answer is chosen; a tie is half a win each way. Without
    a value where wins do not lead from each of the two to the other, so that no finite odds fit.
    """
    from numpy import arange, array, isnan, zeros

    models = sorted({*ratings["trial"], *ratings["against"]})
    first, second = (ratings[side].map(models.index) for side in ("trial", "against"))
    # Which model won against which, by rating: shape (ratings, models, models).
    wins = zeros((len(ratings), len(models), len(models)))
    wins[arange(len(ratings)), first, second] = ratings["score"]
    wins[arange(len(ratings)), second, first] = 1 - ratings["score"]
    weights = resampled(ratings)
    found, drawn = gaps(wins.sum(axis=0)), None
    if weights is not None:
        sums = (weights @ wins.reshape(len(wins), -1)).reshape(-1, *wins.shape[1:])
        drawn = array([gaps(one) for one in sums])

    def estimate(i: int, j: int) -> Estimate:
        if isnan(found[i, j]):
            return Estimate()
        interval = None if drawn is None else bounds(drawn[:, i, j])
        intervals = {BY_GROUP: interval} if interval else {}
        groups = ratings["group"].nunique()
        return Estimate(float(found[i, j]), len(ratings), groups, intervals)

    places = range(len(models))
    return {(models[i], models[j]): estimate(i, j) for i, j in permutations(places, 2)}


def gaps(wins: "ndarray") -> "ndarray":
    """Return by how much each model is stronger than each other one, in log odds.

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
