"""What a rehearsal may change: base models with their precision, and numbers of rows."""

import re
from typing import Any

from scripts.config.plan import Plan

MODEL = ("base", "revision", "precision")
BOUNDS = re.compile(r"\[\d*:\d*\]")


def differences(paper: Plan, rehearsal: Plan) -> list[str]:
    """Return a line for every difference that is not allowed.

    Everything that makes jobs is compared: trials and bases with their settings and evaluation,
    token splits, references, overlaps, baselines, and the datasets' settings.
    """
    found = _unequal("datasets", _datasets(paper), _datasets(rehearsal))
    for part in ("tokens", "examined", "references", "overlaps", "lookups", "bases"):
        found += _unequal(part, getattr(paper, part), getattr(rehearsal, part))
    found += _unequal("trials", _trials(paper), _trials(rehearsal))
    return found + _unequal("models", _models(paper), _models(rehearsal))


def _trials(plan: Plan) -> dict[str, Any]:
    return {
        folder: trial | {"training": _only(trial["training"], MODEL)}
        for folder, trial in plan.trials.items()
    }


def _models(plan: Plan) -> dict[str, Any]:
    return {name: _only(model, ("source", "precision")) for name, model in plan.models.items()}


def _datasets(plan: Plan) -> dict[str, Any]:
    """Return the datasets without the numbers of rows of their splits."""
    return {
        name: _only(dataset, ("expect",)) | {"splits": _unbounded(dataset["splits"])}
        for name, dataset in plan.datasets.items()
    }


def _unbounded(splits: dict[str, Any]) -> dict[str, Any]:
    return {
        key: BOUNDS.sub("", value) if isinstance(value, str) else value
        for key, value in splits.items()
    }


def _only(part: dict[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in left_out}


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
