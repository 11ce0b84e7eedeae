"""What a table says of the data behind it: rows that were left out, cut, or occur twice."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.common.files import read_json
from scripts.report.notes import said_once
from scripts.report.results import at, read, read_parquet
from scripts.report.text import count

MOST = 20
"""So many reasons are told: some hold what a row says, and each row's differs."""
CUT = {"truncated": "a truncated completion", "prompt_truncated": "a truncated prompt"}
"""What the report on tokens counts, and what people call it."""


def data_notes(paths: Iterable[Path]) -> list[str]:
    """Return a note on each dataset.

    Parameters
    ----------
    paths
        `data/{dataset}/dropped.parquet` and `tokens/{tokens}/report.json`; the name of tokens
        begins with that of their dataset.
    """
    dropped: dict[str, Counter[str]] = {}
    reports: dict[str, list[tuple[str, str]]] = {}
    for path in sorted(paths):
        name = path.parent.name
        if path.name == "dropped.parquet":
            dropped[name] = Counter(read(path, read_parquet)["reason"])
        else:
            reports.setdefault(name.split(".")[0], []).append((name, _of_tokens(path)))
    notes = []
    for name in sorted(dropped.keys() | reports.keys()):
        parts = [_dropped(dropped[name], "before the split")] if name in dropped else []
        parts += [said_once(reports[name])] if name in reports else []
        notes.append(f"Data {name}: {'; '.join(parts)}.")
    return notes


def _of_tokens(path: Path) -> str:
    """Return what became of the rows of all splits when they were tokenized."""
    splits = read(path, read_json).values()

    def total(key: str) -> Any:
        return sum(at(split, path, key) for split in splits)

    lost = Counter(row["reason"] for split in splits for row in at(split, path, "dropped"))
    parts = [
        f"of {rows(total('rows') + lost.total())}",
        *(f"{count(total(key))} with {text}" for key, text in CUT.items()),
        f"{count(total('repeated'))} that repeat an earlier one of their split",
    ]
    return ", ".join([*parts, *([_dropped(lost, "when tokenized")] if lost else [])])


def _dropped(reasons: Counter[str], when: str) -> str:
    """Return how many rows were left out, by reason, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda found: (-found[1], found[0]))
    shown = [f"{count(number)} × {reason}" for reason, number in ordered[:MOST]]
    rest = sum(number for _, number in ordered[MOST:])
    why = ", ".join([*shown, *([f"{count(rest)} × something else"] if rest else [])])
    return f"{rows(reasons.total())} dropped {when}" + (f" ({why})" if why else "")


def rows(number: int) -> str:
    """Return so many rows in words."""
    return f"{count(number)} row{'' if number == 1 else 's'}"
