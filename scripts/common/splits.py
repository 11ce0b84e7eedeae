"""The splits that a dataset has, and slices of a source split."""

import re

SPLITS = ("train", "valid", "test")

_SLICE = re.compile(r"^(?P<split>[\w.-]+)(\[(?P<start>\d*):(?P<stop>\d*)\])?$")


def parse_slice(expression: str) -> tuple[str, int | None, int | None]:
    """Returns what `train` or `train[:5000]`, the notation of `datasets`, stands for.

    Returns
    -------
    tuple
        Split, first row and the row behind the last, None where it is left open.

    Raises
    ------
    ValueError
        When the expression is neither a name nor a name with `[start:stop]`.
    """
    match = _SLICE.match(expression)
    if match is None:
        raise ValueError(f"{expression!r} is neither a split nor a slice such as train[:5000]")
    start, stop = match["start"], match["stop"]
    return match["split"], int(start) if start else None, int(stop) if stop else None
