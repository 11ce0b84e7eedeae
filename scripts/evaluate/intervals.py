"""95 % intervals of anything that has items, by resampling its groups."""

from collections import defaultdict
from typing import TYPE_CHECKING

from scripts.common.wilson import LEVEL

if TYPE_CHECKING:
    from numpy import ndarray

RESAMPLES = 2000
SEED = 0

Interval = tuple[float, float]


def group_bootstrap(
    scores: list[float], weights: list[float], groups: list[str]
) -> Interval | None:
    """Returns the percentile interval of sum(scores) / sum(weights) when groups are resampled.

    Items of one group (answers to one prompt, say) are not independent: whole groups are drawn
    with replacement, 2000 times with a fixed seed (the cluster bootstrap, Davison & Hinkley 1997,
    section 3.8). None where there are fewer than two groups.
    """
    from numpy import array
    from scipy.stats import bootstrap

    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for score, weight, group in zip(scores, weights, groups, strict=True):
        sums[group][0] += score
        sums[group][1] += weight
    if len(sums) < 2:
        return None
    numerators, denominators = array(list(sums.values())).T
    result = bootstrap(
        (numerators, denominators),
        lambda top, bottom, axis: top.sum(axis) / bottom.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="percentile",
        rng=SEED,
    )
    interval = result.confidence_interval
    return float(interval.low), float(interval.high)


# -------------------------------------------------------------------------------- several seeds


def crossed_bootstrap(numerators: "ndarray", denominators: "ndarray") -> Interval | None:
    """Returns the percentile interval of a figure's mean over seeds: seeds and groups are drawn.

    Each resample draws as many seeds and as many groups as there are, with replacement; all drawn
    seeds are taken over the same groups (Owen 2007, https://doi.org/10.1214/07-AOAS122: the
    pigeonhole bootstrap, which errs on the wide side). With one seed it is `group_bootstrap`. None
    where there are fewer than two groups.

    Parameters
    ----------
    numerators, denominators
        Seeds × groups: a figure's scores and weights, summed over the items of a group.
    """
    if numerators.shape[1] < 2:
        return None
    values = resampled(numerators, denominators, group_counts(numerators.shape[1]))
    low, high = percentiles(over_drawn_seeds(values, 0))
    return float(low), float(high)


def group_counts(groups: int) -> "ndarray":
    """Returns how often each group is drawn in each resample: resamples × groups.

    The draws are those of `group_bootstrap`.
    """
    from numpy import arange, bincount
    from numpy.random import default_rng

    draws = default_rng(SEED).integers(groups, size=(RESAMPLES, groups))
    places = draws + groups * arange(RESAMPLES)[:, None]
    counts = bincount(places.ravel(), minlength=RESAMPLES * groups)
    return counts.reshape(RESAMPLES, groups).astype(float)


def resampled(numerators: "ndarray", denominators: "ndarray", counts: "ndarray") -> "ndarray":
    """Returns sum(scores) / sum(weights) of each row (a run) in each resample: resamples × rows.

    A resample that weighs nothing is not a number.
    """
    from numpy import errstate

    with errstate(invalid="ignore", divide="ignore"):
        return (counts @ numerators.T) / (counts @ denominators.T)


def over_drawn_seeds(values: "ndarray", model: int) -> "ndarray":
    """Returns in each resample the mean over seeds that are drawn with replacement.

    Parameters
    ----------
    values
        Resamples × seeds of one model.
    model
        Its number: every model draws its own seeds.
    """
    from numpy import take_along_axis
    from numpy.random import default_rng

    seeds = values.shape[1]
    draws = default_rng([SEED, 1, model]).integers(seeds, size=values.shape)
    return take_along_axis(values, draws, axis=1).mean(axis=1)


def percentiles(values: "ndarray") -> "ndarray":
    """Returns the lower and the upper bound (rows) over resamples (the first axis)."""
    from numpy import nanpercentile

    return nanpercentile(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
