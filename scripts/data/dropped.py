"""Why rows were left out."""

from collections import Counter
from collections.abc import Sequence

from scripts.common.files import Row


def counted(dropped: Sequence[Row]) -> str:
    """Return the reasons of dropped rows with their counts, the most frequent first."""
    reasons = Counter(row["reason"] for row in dropped).most_common()
    return ", ".join(f"{n} × {reason}" for reason, n in reasons) or "none"
