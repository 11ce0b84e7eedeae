"""How well a score ranks good rows above bad ones."""

from scripts.common.files import Row
from scripts.evaluate.intervals import BOOTSTRAP, group_counts, percentiles
from scripts.evaluate.scores import WholeMetric


def area_under_roc(rows: list[Row], groups: dict[str, str]) -> WholeMetric:
    """Return the share of pairs of a good and a bad row in which the good one has the higher
    log-ratio; ties count half. Its interval resamples groups.

    The area under the ROC curve: Hanley & McNeil 1982, https://doi.org/10.1148/radiology.143.1.7063747.
    """
    from numpy import array, bincount, errstate, unique, zeros

    scores = array([row["logp"] - row["reference_logp"] for row in rows])
    good = array([row["label"] for row in rows], dtype=bool)
    belongs = [groups[row["id"]] for row in rows]
    _, group = unique(belongs, return_inverse=True)
    count = int(group.max()) + 1
    above = (scores[good, None] > scores[~good]) + 0.5 * (scores[good, None] == scores[~good])
    # How often a group's good rows are above another's bad ones.
    wins = zeros((count, count))
    for row, member in zip(above, group[good], strict=True):
        wins[member] += bincount(group[~good], weights=row, minlength=count)
    goods, bads = (bincount(group[kind], minlength=count) for kind in (good, ~good))
    interval = None
    if count > 1:
        drawn = group_counts(count)
        # A draw without good rows, or without bad ones, has no area.
        with errstate(invalid="ignore"):
            areas = ((drawn @ wins) * drawn).sum(1) / ((drawn @ goods) * (drawn @ bads))
        low, high = percentiles(areas)
        interval = float(low), float(high)
    return WholeMetric("auc", float(above.mean()), belongs, BOOTSTRAP, interval)
