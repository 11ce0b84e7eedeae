"""What a table says of the data behind it: rows that were left out, cut, or stand there twice."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from scripts.common.files import read_json, read_rows
from scripts.report.columns import said_once
from scripts.report.read import Document
from scripts.report.render import count

CUT = {"truncated": "a truncated completion", "prompt_truncated": "a truncated prompt"}
"""What the report on tokens counts, and what people call it."""


def data_notes(paths: Iterable[Path]) -> list[str]:
    """Returns a note on each dataset.

    Parameters
    ----------
    paths
        `data/{dataset}/dropped.parquet` and `tokens/{tokens}/report.json`; the name of tokens
        begins with that of their dataset.
    """
    dropped: dict[str, Counter[str]] = {}
    reports: dict[str, dict[str, list[Document]]] = {}
    for path in paths:
        name = path.parent.name
        if path.name == "dropped.parquet":
            dropped[name] = Counter(row["reason"] for row in read_rows(path))
        else:
            splits = [Document(str(path), split) for split in read_json(path).values()]
            reports.setdefault(name.split(".")[0], {})[name] = splits
    return [
        f"Data {name}: {'; '.join(_parts(dropped.get(name), reports.get(name, {})))}."
        for name in sorted(dropped.keys() | reports.keys())
    ]


def _parts(dropped: Counter[str] | None, reports: dict[str, list[Document]]) -> list[str]:
    found = [] if dropped is None else [_dropped(dropped, "before the split")]
    texts = [(name, _of_tokens(splits)) for name, splits in sorted(reports.items())]
    return [*found, *([said_once(texts)] if texts else [])]


def _of_tokens(splits: list[Document]) -> str:
    """Returns what became of the rows of all splits when they were tokenized."""
    lost = Counter(row["reason"] for split in splits for row in split.at("dropped"))
    cut = {text: sum(split.at(key) for split in splits) for key, text in CUT.items()}
    again = sum(split.at("repeated") for split in splits)
    parts = [
        f"of {rows(sum(split.at('rows') for split in splits) + lost.total())}",
        *(f"{count(number)} with {text}" for text, number in cut.items()),
        f"{count(again)} that repeat an earlier one of their split",
    ]
    return ", ".join([*parts, *([_dropped(lost, "for length")] if lost else [])])


def _dropped(reasons: Counter[str], when: str) -> str:
    """Returns how many rows were left out, by reason, the most frequent first."""
    ordered = sorted(reasons.items(), key=lambda found: (-found[1], found[0]))
    why = ", ".join(f"{count(number)} × {reason}" for reason, number in ordered)
    return f"{rows(reasons.total())} dropped {when}" + (f" ({why})" if why else "")


def rows(number: int) -> str:
    """Returns so many rows in words."""
    return f"{count(number)} row{'' if number == 1 else 's'}"
