"""What stands below a table: on what it rests, in full and in one sentence."""

from collections.abc import Iterable

from scripts.report.columns import said_once
from scripts.report.read import INTERVALS, Subject
from scripts.report.render import Raw, Table, count


def version_notes(subjects: Iterable[Subject]) -> list[str]:
    """Returns the packages that the trials were trained with, each distinct set once."""
    found = [
        (subject.name, ", ".join(f"{name} {version}" for name, version in versions.items()))
        for subject in subjects
        if (versions := subject.versions) is not None
    ]
    return [f"Trained with {said_once(found)}."] if found else []


def statement(table: Table, subjects: Iterable[Subject]) -> str:
    """Returns in one sentence what a table's numbers rest on: items, groups, intervals, seeds."""
    columns = _columns(table)
    measured = [name.removesuffix("groups") for name in columns if name.endswith("groups")]
    sizes = [
        f"{_span(found)} {unit}"
        for unit, ending in (("items", "n"), ("groups", "groups"))
        if (found := [it for name in measured for it in columns.get(f"{name}{ending}", [])])
    ]
    methods = [name for method, name in INTERVALS.items() if _has_interval(columns, method)]
    seeds = sorted({seed for subject in subjects for seed in subject.seeds})
    parts = [
        " in ".join(sizes),
        f"95 % intervals: {', '.join(methods)}" if methods else "",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" if seeds else "",
    ]
    text = "; ".join(filter(None, parts))
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _columns(table: Table) -> dict[str, list[Raw]]:
    """Returns by name the values of the table's CSV columns that are there."""
    found: dict[str, list[Raw]] = {}
    for column in table.columns:
        for row in table.rows:
            for name, value in zip(column.names, column.values(row), strict=True):
                found.setdefault(name, []).extend([] if value is None else [value])
    return found


def _has_interval(columns: dict[str, list[Raw]], method: str) -> bool:
    """Tells whether a column holds bounds by the method, or names it."""
    bound = f"_{method.replace(' ', '_')}_low"
    return method in columns.get("interval_method", []) or any(
        name.endswith(bound) and found for name, found in columns.items()
    )


def _span(values: list[int]) -> str:
    low, high = count(min(values)), count(max(values))
    return low if low == high else f"{low} to {high}"
