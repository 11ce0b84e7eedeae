"""Characters that neither the prompts of a set nor the known answers lead to expect."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from scripts.common.files import Row
from scripts.evaluate.scores import MeanMetric

FENCE = re.compile(r"`{3,}|~{3,}")
"""What opens and ends a block of code in Markdown."""
LAYOUT = "\n\t"


@dataclass(frozen=True)
class Usual:
    """What a set's own texts use of what is odd elsewhere."""

    kinds: frozenset[str]
    """Symbols, and names of scripts."""
    fences: bool

    def odd(self, text: str) -> int:
        """Return how many characters of a text are odd.

        These are symbols such as emoji, control characters, what is not assigned, letters of
        scripts that the set's own texts do not use, and the marks of blocks of code.
        """
        found = sum(kind is not None and kind not in self.kinds for kind in map(kind_of, text))
        return found + (0 if self.fences else sum(map(len, FENCE.findall(text))))


def usual(texts: Iterable[str]) -> Usual:
    """Return what a set's own texts use."""
    joined = "\n".join(texts)
    kinds = filter(None, map(kind_of, set(joined)))
    return Usual(frozenset(kinds), FENCE.search(joined) is not None)


@cache
def kind_of(character: str) -> str | None:
    """Return what has to be usual for a character not to be odd: itself, its script, or nothing."""
    category = unicodedata.category(character)
    if character.isascii():
        return character if category == "Cc" and character not in LAYOUT else None
    if category[0] in "LM":
        # Unicode names a letter's script first: CYRILLIC SMALL LETTER A.
        script = unicodedata.name(character, character).split()[0]
        return None if script in ("LATIN", "COMBINING") else script
    return character if category in ("So", "Sk") or category[0] == "C" else None


def odd_characters(rows: list[Row], groups: dict[str, str], of_set: Usual) -> list[MeanMetric]:
    """Return the share of odd characters, if the answers have any; one without text has none."""
    items = [
        {
            "id": row["id"],
            "group": groups[row["id"]],
            "score": float(of_set.odd(row["text"])),
            "weight": float(len(row["text"])),
        }
        for row in rows
        if row["text"]
    ]
    return [MeanMetric("odd_characters", items)] if items else []
