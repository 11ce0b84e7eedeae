"""Figures: means over items, and figures of all items together."""

from collections.abc import Callable
from dataclasses import dataclass, field

from scripts.common.files import Row
from scripts.common.wilson import wilson
from scripts.evaluate.intervals import BOOTSTRAP, Interval, group_bootstrap


@dataclass(frozen=True)
class Figure:
    """A figure that is a mean over items: sum of scores over sum of weights."""

    name: str
    unit: str
    definition: str
    items: list[Row]
    """id, group and score; and weight, where items do not count alike."""
    share: bool = False
    """Whether each item is a success, a failure or (0.5) a tie."""
    signature: str | None = None
    """What the library that scored the items says of its settings, where it says it."""

    def summary(self) -> Row:
        """Returns value, n, number of groups, unit, intervals, definition and signature."""
        scores = [item["score"] for item in self.items]
        weights = [item.get("weight", 1.0) for item in self.items]
        groups = [item["group"] for item in self.items]
        intervals = {}
        if self.share:
            intervals["wilson"] = wilson(sum(scores), len(scores))
        resampled = group_bootstrap(scores, weights, groups)
        if resampled:
            intervals[BOOTSTRAP] = resampled
        return {
            "value": sum(scores) / sum(weights),
            "n": len(self.items),
            "groups": len(set(groups)),
            "unit": self.unit,
            "intervals": intervals,
            "definition": self.definition,
            "signature": self.signature,
        }


@dataclass(frozen=True)
class WholeFigure:
    """A figure of all items together, which is no mean over them."""

    name: str
    unit: str
    definition: str
    value: float
    groups: list[str]
    """The group of each item."""
    method: str
    """What `interval` was made by."""
    interval: Interval | None
    signature: str | None = None
    items: list[Row] = field(default_factory=list, init=False)
    """None: there is nothing that a paired test could take the mean of."""

    def summary(self) -> Row:
        """Returns value, n, number of groups, unit, intervals, definition and signature."""
        return {
            "value": self.value,
            "n": len(self.groups),
            "groups": len(set(self.groups)),
            "unit": self.unit,
            "intervals": {self.method: self.interval} if self.interval else {},
            "definition": self.definition,
            "signature": self.signature,
        }


AnyFigure = Figure | WholeFigure


def item_figure(
    rows: list[Row],
    groups: dict[str, str],
    name: str,
    unit: str,
    definition: str,
    score: Callable[[Row], float],
    share: bool = False,
    signature: str | None = None,
) -> Figure:
    """Returns the figure of which each row is an item that counts once."""
    items = [
        {"id": row["id"], "group": groups[row["id"]], "score": float(score(row))} for row in rows
    ]
    return Figure(name, unit, definition, items, share, signature)


def groups_of(rows: list[Row]) -> dict[str, str]:
    """Returns each row's group by id."""
    return {row["id"]: row["group"] for row in rows}
