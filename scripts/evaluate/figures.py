"""Figures that are means over items."""

from collections.abc import Callable
from dataclasses import dataclass

from scripts.common.files import Row
from scripts.common.wilson import wilson
from scripts.evaluate.intervals import group_bootstrap


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

    def summary(self) -> Row:
        """Returns value, n, number of groups, unit, intervals and definition."""
        scores = [item["score"] for item in self.items]
        weights = [item.get("weight", 1.0) for item in self.items]
        groups = [item["group"] for item in self.items]
        intervals = {}
        if self.share:
            intervals["wilson"] = wilson(sum(scores), len(scores))
        resampled = group_bootstrap(scores, weights, groups)
        if resampled:
            intervals["group bootstrap"] = resampled
        return {
            "value": sum(scores) / sum(weights),
            "n": len(self.items),
            "groups": len(set(groups)),
            "unit": self.unit,
            "intervals": intervals,
            "definition": self.definition,
        }


def item_figure(
    rows: list[Row],
    groups: dict[str, str],
    name: str,
    unit: str,
    definition: str,
    score: Callable[[Row], float],
    share: bool = False,
) -> Figure:
    """Returns the figure of which each row is an item that counts once."""
    items = [
        {"id": row["id"], "group": groups[row["id"]], "score": float(score(row))} for row in rows
    ]
    return Figure(name, unit, definition, items, share)


def groups_of(rows: list[Row]) -> dict[str, str]:
    """Returns each row's group by id."""
    return {row["id"]: row["group"] for row in rows}
