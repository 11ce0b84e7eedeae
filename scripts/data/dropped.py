"""Why rows were left out."""

from collections.abc import Iterable

from scripts.common.files import Row

MOST, LONGEST = 10, 200
"""So many reasons are told, and so many characters of each: some hold what a row says."""


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
    return dict(ordered[:MOST]) | ({"other reasons": rest} if rest else {})


def counted(dropped: Iterable[Row]) -> str:
    """Return the reasons of dropped rows with their counts, the most frequent first."""
    reasons = by_reason(dropped).items()
    return ", ".join(f"{len(names)} × {reason}" for reason, names in reasons) or "none"
