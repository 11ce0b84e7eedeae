"""Why rows were left out."""

from collections import Counter
from collections.abc import Iterable

from scripts.common.files import Row

MOST, LONGEST = 20, 200
"""So many reasons are told, and so many characters of each: some hold what a row says."""
OTHERS = "something else"


def told(reason: Exception) -> str:
    """Return a reason as it is kept, in one line."""
    text = " ".join(str(reason).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def by_reason(dropped: Iterable[Row]) -> dict[str, list[str]]:
    """Return the ids of dropped rows by reason, the most frequent first, the rest as one."""
    found: dict[str, list[str]] = {}
    for row in dropped:
        found.setdefault(row["reason"], []).append(row["id"])
    ordered = sorted(found.items(), key=lambda it: -len(it[1]))
    rest = [name for _, names in ordered[MOST:] for name in names]
    return dict(ordered[:MOST]) | ({OTHERS: rest} if rest else {})


def counted(dropped: Iterable[Row]) -> str:
    """Return the reasons of dropped rows with their counts, the most frequent first."""
    reasons = Counter(row["reason"] for row in dropped).most_common()
    shown = [f"{n} × {reason}" for reason, n in reasons[:MOST]]
    rest = sum(n for _, n in reasons[MOST:])
    return ", ".join([*shown, *([f"{rest} × {OTHERS}"] if rest else [])]) or "none"
