"""95 % intervals of anything that has items, by resampling its groups."""

from collections.abc import Callable, Sequence
from math import sqrt
from typing import TYPE_CHECKING

from scripts.common.wilson import LEVEL

if TYPE_CHECKING:
    from numpy import ndarray

RESAMPLES = 2000
SEED = 0
BOOTSTRAP, JACKKNIFE = "group bootstrap", "group jackknife"

Interval = tuple[float, float]


def group_bootstrap(
    scores: list[float], weights: list[float], groups: list[str]
) -> Interval | None:
    """Return the percentile interval of sum(scores) / sum(weights) when groups are resampled.

    None where there are fewer than two groups.
    """
    statistics = list(zip(scores, weights, strict=True))
    return corpus_bootstrap(statistics, groups, lambda sums: sums[:, 0] / sums[:, 1])


def corpus_bootstrap(
    statistics: "Sequence[Sequence[float]] | ndarray",
    groups: list[str],
    score: "Callable[[ndarray], ndarray | list[float]]",
) -> Interval | None:
    """Return the percentile interval of a score of sums over items, when groups are resampled.

    Items of one group (answers to one prompt, say) are not independent: whole groups are drawn
    with replacement, 2000 times with a fixed seed (the cluster bootstrap, Davison & Hinkley 1997,
    section 3.8). Corpus BLEU, say, is resampled from its sentences' counts (Koehn 2004,
    https://aclanthology.org/W04-3250). None where there are fewer than two groups.

    What `scipy.stats.bootstrap` would return, without the half second that importing it takes.

    Parameters
    ----------
    statistics
        What each item adds to the sums, of shape (items, statistics).
    score
        Makes metrics, of shape (resamples), from sums, of shape (resamples, statistics).
    """
    from numpy import add, asarray, quantile, stack, zeros
    from numpy.random import default_rng

    names = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    if len(names) < 2:
        return None
    statistics = asarray(statistics)
    of_groups = zeros((len(names), statistics.shape[1]), dtype=statistics.dtype)
    add.at(of_groups, [names[group] for group in groups], statistics)
    draws = default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    sums = stack([column[draws].sum(1) for column in of_groups.T.copy()], axis=1)
    low, high = quantile(asarray(score(sums)), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def group_jackknife(value: float, without: list[float]) -> Interval | None:
    """Return the interval of a value from what it is without each group in turn.

    For counts of what is different: a resample repeats groups and so holds fewer different things
    than the data, and its percentiles lie below the value. Student's t with the jackknife's
    standard error, which is on the wide side (Efron & Stein 1981,
    https://doi.org/10.1214/aos/1176345462). None where there are fewer than two groups.
    """
    from scipy.special import stdtrit

    n = len(without)
    if n < 2:
        return None
    mean = sum(without) / n
    error = sqrt((n - 1) / n * sum((one - mean) ** 2 for one in without))
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
    return value - half, value + half


# -------------------------------------------------------------------------------- several seeds


def crossed_bootstrap(numerators: "ndarray", denominators: "ndarray") -> Interval | None:
    """Return the percentile interval of a metric's mean over seeds: seeds and groups are drawn.

    Each resample draws as many seeds and as many groups as there are, with replacement; all drawn
    seeds are taken over the same groups (Owen 2007, https://doi.org/10.1214/07-AOAS122: the
    pigeonhole bootstrap, which errs on the wide side). With one seed it is `group_bootstrap`. None
    where there are fewer than two groups.

    Parameters
    ----------
    numerators, denominators
        Seeds × groups: a metric's scores and weights, summed over the items of a group.
    """
    if numerators.shape[1] < 2:
        return None
    values = resampled(numerators, denominators, group_counts(numerators.shape[1]))
    low, high = percentiles(over_drawn_seeds(values, 0))
    return float(low), float(high)


def group_counts(groups: int) -> "ndarray":
    """Return how often each group is drawn in each resample: resamples × groups.

    The draws are those of `group_bootstrap`.
    """
    from numpy import arange, bincount
    from numpy.random import default_rng

    draws = default_rng(SEED).integers(groups, size=(RESAMPLES, groups))
    places = draws + groups * arange(RESAMPLES)[:, None]
    counts = bincount(places.ravel(), minlength=RESAMPLES * groups)
    return counts.reshape(RESAMPLES, groups).astype(float)


def resampled(numerators: "ndarray", denominators: "ndarray", counts: "ndarray") -> "ndarray":
    """Return sum(scores) / sum(weights) of each row (a run) in each resample: resamples × rows.

    A resample that weighs nothing is not a number.
    """
    from numpy import errstate

    with errstate(invalid="ignore", divide="ignore"):
        return (counts @ numerators.T) / (counts @ denominators.T)


def over_drawn_seeds(values: "ndarray", model: int) -> "ndarray":
    """Return in each resample the mean over seeds that are drawn with replacement.

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
    """Return the lower and the upper bound (rows) over resamples (the first axis)."""
    from numpy import isnan, nanpercentile, percentile

    # nanpercentile is slow: it takes the columns one by one.
    found = nanpercentile if isnan(values).any() else percentile
    return found(values, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0)
