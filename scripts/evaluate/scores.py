"""Metrics: means over items, and metrics of all items together.

What a metric is called, its unit and its definition stand in `scripts/common/metrics.py`, which
nothing here imports: measuring again must not follow from an edited label.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.common.files import Row
from scripts.common.wilson import wilson
from scripts.evaluate.intervals import BOOTSTRAP, Interval, group_bootstrap


@dataclass(frozen=True)
class MeanMetric:
    """A metric that is a mean over items: sum of scores over sum of weights."""

    name: str
    items: list[Row]
    """id, group and score; and weight, where items do not count alike."""
    share: bool = False
    """Whether each item is a success, a failure or (0.5) a tie."""
    signature: str | None = None
    """What the library that scored the items says of its settings, where it says it."""
    detail: str | None = None
    """Completes the definition."""

    def summary(self) -> Row:
        """Return what metrics.json has of it: value, n, number of groups, intervals."""
        scores = [item["score"] for item in self.items]
        weights = [item.get("weight", 1.0) for item in self.items]
        groups = [item["group"] for item in self.items]
        intervals = {}
        if self.share:
            intervals["wilson"] = wilson(sum(scores), len(scores))
        resampled = group_bootstrap(scores, weights, groups)
        if resampled:
            intervals[BOOTSTRAP] = resampled
        value = sum(scores) / sum(weights)
        return summary(value, groups, intervals, self.signature, self.detail)


@dataclass(frozen=True)
class WholeMetric:
    """A metric of all items together, which is not a mean over them."""

    name: str
    value: float
    groups: list[str]
    """The group of each item."""
    method: str
    """What `interval` was made by."""
    interval: Interval | None
    signature: str | None = None
    detail: str | None = None
    items: list[Row] = field(default_factory=list, init=False)
    """Empty: there is nothing that a paired test could take the mean of."""

    def summary(self) -> Row:
        """Return what metrics.json has of it: value, n, number of groups, intervals."""
        intervals = {self.method: self.interval} if self.interval else {}
        return summary(self.value, self.groups, intervals, self.signature, self.detail)


AnyMetric = MeanMetric | WholeMetric


def summary(
    value: float,
    groups: list[str],
    intervals: dict[str, Interval],
    signature: str | None = None,
    detail: str | None = None,
) -> Row:
    """Return what metrics.json has of a metric of items with these groups."""
    found = {
        "value": value,
        "n": len(groups),
        "groups": len(set(groups)),
        "intervals": intervals,
        "signature": signature,
    }
    return found | ({"detail": detail} if detail else {})


def item_metric(
    rows: list[Row],
    groups: dict[str, str],
    name: str,
    score: Callable[[Row], float],
    share: bool = False,
    signature: str | None = None,
    detail: str | None = None,
) -> MeanMetric:
    """Return the metric of which each row is an item that counts once."""
    items = [
        {"id": row["id"], "group": groups[row["id"]], "score": float(score(row))} for row in rows
    ]
    return MeanMetric(name, items, share, signature, detail)


def groups_of(rows: list[Row]) -> dict[str, str]:
    """Return each row's group by id."""
    return {row["id"]: row["group"] for row in rows}
