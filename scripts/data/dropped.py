"""Why rows were left out."""

from collections import Counter
from collections.abc import Sequence

from scripts.common.files import Row

SHOWN = 20
"""So many reasons are told."""


def counted(dropped: Sequence[Row]) -> str:
    """Return the reasons of dropped rows with their counts, the most frequent first."""
    reasons = Counter(row["reason"] for row in dropped).most_common()
    told = [f"{n} × {reason}" for reason, n in reasons[:SHOWN]]
    if rest := sum(n for _, n in reasons[SHOWN:]):
        told.append(f"{rest} × something else")
    return ", ".join(told) or "none"
