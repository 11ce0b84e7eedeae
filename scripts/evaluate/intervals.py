"""95 % intervals of anything that has items, by resampling its groups."""

from collections import defaultdict

from scripts.common.wilson import LEVEL

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
