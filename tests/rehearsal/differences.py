"""What a rehearsal may change: base models and numbers of rows, and nothing else."""

from typing import Any

from scripts.common.plan import Plan

MODEL = ("base", "revision", "precision", "quantization")
ROWS = ("splits", "expect")


def differences(paper: Plan, rehearsal: Plan) -> list[str]:
    """Returns one line for everything that differs and may not.

    Compared is all that makes jobs: trials and bases with their settings and evaluation, token
    splits, references, overlaps, baselines, and the datasets' settings.
    """
    found = _unequal("datasets", _without(paper.datasets, ROWS), _without(rehearsal.datasets, ROWS))
    for part in ("tokens", "references", "overlaps", "lookups", "bases"):
        found += _unequal(part, getattr(paper, part), getattr(rehearsal, part))
    found += _unequal("trials", _trials(paper), _trials(rehearsal))
    found += _unequal("models", list(paper.models), list(rehearsal.models))
    return found


def _trials(plan: Plan) -> dict[str, Any]:
    return {
        folder: trial | {"training": _only(trial["training"], MODEL)}
        for folder, trial in plan.trials.items()
    }


def _without(parts: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {name: _only(part, keys) for name, part in parts.items()}


def _only(part: dict[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key not in left_out}


def _unequal(where: str, one: Any, other: Any) -> list[str]:
    """Returns the places below `where` at which two values differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return [
            line
            for key in keys
            for line in _unequal(f"{where}.{key}", one.get(key), other.get(key))
        ]
    return [] if one == other else [f"{where}: {one!r} in the paper, {other!r} in the rehearsal"]
