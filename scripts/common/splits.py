"""The splits that a dataset has, and slices of a source split."""

import re
from itertools import combinations
from typing import NamedTuple

SPLITS = ("train", "valid", "test")
SPLIT_COLUMN = "_split"
"""results/data/{dataset}/raw.parquet has its source's columns and this one, the source split."""

_SLICE = re.compile(r"(?P<split>[\w.-]+)(\[(?P<start>[0-9]*):(?P<stop>[0-9]*)\])?")
_DIGITS = 18
"""No source has more rows than a number of so many digits says."""


class Slice(NamedTuple):
    """Rows of a source split: the first row, and the row behind the last, None where left open."""

    split: str
    start: int | None
    stop: int | None

    def overlaps(self, other: "Slice") -> bool:
        """Return True if there can be a row that both hold."""
        return self.split == other.split and self._ends_behind(other) and other._ends_behind(self)

    def _ends_behind(self, other: "Slice") -> bool:
        return self.stop is None or self.stop > (other.start or 0)

    def __str__(self) -> str:
        if self.start is None and self.stop is None:
            return self.split
        ends = ("" if end is None else str(end) for end in self[1:])
        return f"{self.split}[{':'.join(ends)}]"


def parse_slices(expression: str) -> list[Slice]:
    """Return what `train`, `train[:5000]` or `train+valid`, notation of `datasets`, stands for.

    Raises
    ------
    ValueError
        When the expression is neither a name nor a name with `[start:stop]`, when a slice ends
        before it begins, or when two of them overlap.
    """
    slices = [_parse_slice(part) for part in expression.split("+")]
    require_disjoint({"": slices})
    return slices


def require_disjoint(slices: dict[str, list[Slice]]) -> None:
    """Raise ValueError if a row can be in two of some splits' slices."""
    named = [(name, part) for name, parts in slices.items() for part in parts]
    for (name, one), (other, two) in combinations(named, 2):
        if one.overlaps(two):
            where = f" ({name} and {other})" if name != other else ""
            raise ValueError(f"{two} has rows of {one}{where}; a row may be drawn once")


def _parse_slice(expression: str) -> Slice:
    match = _SLICE.fullmatch(expression)
    if match is None:
        raise ValueError(f"{expression!r} is neither a split nor a slice such as train[:5000]")
    if any(len(match[end] or "") > _DIGITS for end in ("start", "stop")):
        raise ValueError(f"{expression!r}: a row's number has at most {_DIGITS} digits")
    start, stop = (int(match[end]) if match[end] else None for end in ("start", "stop"))
    if stop is not None and (start or 0) >= stop:
        raise ValueError(f"{expression!r} ends before it begins: it has no row")
    return Slice(match["split"], start, stop)
