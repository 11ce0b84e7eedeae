"""The splits that a dataset has, and slices of a source split."""

import re

SPLITS = ("train", "valid", "test")

_SLICE = re.compile(r"^(?P<split>[\w.-]+)(\[(?P<start>\d*):(?P<stop>\d*)\])?$")


def parse_slices(expression: str) -> list[tuple[str, int | None, int | None]]:
    """Return what `train`, `train[:5000]` or `train+valid`, notation of `datasets`, stands for.

    Returns
    -------
    list of tuples
        Split, first row and the row behind the last, None where it is left open.

    Raises
    ------
    ValueError
        When the expression is neither a name nor a name with `[start:stop]`.
    """
    return [_parse_slice(part) for part in expression.split("+")]


def _parse_slice(expression: str) -> tuple[str, int | None, int | None]:
    match = _SLICE.match(expression)
    if match is None:
        raise ValueError(f"{expression!r} is neither a split nor a slice such as train[:5000]")
    start, stop = match["start"], match["stop"]
    return match["split"], int(start) if start else None, int(stop) if stop else None
