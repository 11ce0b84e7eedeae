"""What a rehearsal may change: base models with their precision, and numbers of rows."""

import re
from dataclasses import asdict
from typing import Any

from scripts.config.plan import Plan

MODEL = {"base", "revision", "source", "precision"}
"""What says which base model a part of the plan is about."""
BOUNDS = re.compile(r"\[\d*:\d*\]")
PARTS = (
    "datasets", "tokens", "examined", "references", "overlaps", "lookups", "bases", "runs",
    "models",
)  # fmt: skip


def differences(paper: Plan, rehearsal: Plan) -> list[str]:
    """Return a line for every difference that is not allowed.

    Everything that makes jobs is compared: trials and bases with their settings and evaluation,
    token splits, references, overlaps, baselines, and the datasets' settings.
    """
    one, other = asdict(paper), asdict(rehearsal)
    return [line for part in PARTS for line in _unequal(part, _kept(one[part]), _kept(other[part]))]


def _kept(value: Any) -> Any:
    """Return a part of a plan without base models and without numbers of rows."""
    if isinstance(value, dict):
        # A dataset's own source is kept: it has no precision.
        left_out = MODEL if "precision" in value else {"expect"}
        return {key: _kept(it) for key, it in value.items() if key not in left_out}
    return BOUNDS.sub("", value) if isinstance(value, str) else value


def _unequal(where: str, one: Any, other: Any) -> list[str]:
    """Return the places below `where` at which two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [
            line
            for key in keys
            for line in _unequal(f"{where}.{key}", one.get(key), other.get(key))
        ]
    return [] if one == other else [f"{where}: {one!r} in the paper, {other!r} in the rehearsal"]
