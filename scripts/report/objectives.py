"""What a preference trial minimizes, as people write it."""

from collections.abc import Mapping
from math import isclose
from typing import Any

from scripts.report.read import Subject
from scripts.report.render import DASH, Column, Raw

DEFAULTS = {
    "loss_weights": None,
    "use_weighting": False,
    "ld_alpha": None,
    "f_divergence_type": "reverse_kl",
    "f_alpha_divergence_coef": 0.5,
    "discopop_tau": 0.05,
}
"""The options of an objective that stand in a table only where a trial says something else."""

LN_2 = ("sigmoid", "sigmoid_norm", "robust", "aot", "aot_unpaired")
"""The objectives whose loss is ln 2 while the policy is still its reference: -log sigmoid(0)."""


def starts_at_ln_2(trainer: Mapping[str, Any]) -> bool:
    """Return True if a trial's loss is ln 2 while the policy is still its reference.

    No f-divergence moves the start, as all are 0 there; the weights of pairs under WPO do.
    """
    weights = _weights(trainer)
    return (
        bool(weights)
        and set(weights) <= set(LN_2)
        and isclose(sum(weights.values()), 1)
        and not trainer["use_weighting"]
    )


def objective(trainer: Mapping[str, Any]) -> str | None:
    """Return what a trial minimizes, as people write it; None where there is no choice."""
    terms = [
        name if weight == 1 else f"{weight:g} {name}" for name, weight in _weights(trainer).items()
    ]
    return ", ".join([" + ".join(terms), *_options(trainer)]) if terms else None


def objective_column(subjects: list[Subject]) -> Column:
    """Returns the column of objectives; the CSV has all their options where one is used."""
    more = DEFAULTS if any(map(_has_options, subjects)) else {}
    keys = ("loss_type", "label_smoothing", *more)
    return Column(
        "Objective",
        text=_text,
        names=keys,
        values=lambda subject: tuple(_raw(_option(subject, key)) for key in keys),
        align="l",
    )


def _option(subject: Subject, key: str) -> Any:
    """Returns an option of the objective; None for what is no preference trial, or not done."""
    return subject.setting("trainer", key) if subject.method == "dpo" else None


def _has_options(subject: Subject) -> bool:
    return bool(_weights(_trainer(subject))) and any(
        _option(subject, key) != default for key, default in DEFAULTS.items()
    )


def _trainer(subject: Subject) -> Mapping[str, Any]:
    return (subject.setting("trainer") or {}) if subject.method == "dpo" else {}


def _text(subject: Subject) -> str:
    return objective(_trainer(subject)) or DASH


def _weights(trainer: Mapping[str, Any]) -> dict[str, float]:
    """Return by objective how much it counts."""
    names = trainer.get("loss_type") or []
    return dict(zip(names, trainer.get("loss_weights") or [1.0] * len(names), strict=True))


def _options(trainer: Mapping[str, Any]) -> list[str]:
    """Return the options that are not at their defaults."""
    divergence = trainer["f_divergence_type"]
    if divergence == "alpha_divergence":
        divergence += f" {trainer['f_alpha_divergence_coef']:g}"
    smoothing, alpha, tau = (
        trainer[key] for key in ("label_smoothing", "ld_alpha", "discopop_tau")
    )
    texts = [
        f"smoothed {smoothing:g}" if smoothing else "",
        "WPO" if trainer["use_weighting"] else "",
        "" if alpha is None else f"LD-DPO α {alpha:g}",
        "" if divergence == "reverse_kl" else divergence,
        "" if tau == DEFAULTS["discopop_tau"] else f"τ {tau:g}",
    ]
    return list(filter(None, texts))


def _raw(value: Any) -> Raw:
    """Returns an option as a CSV holds it: a list's parts with blanks between."""
    return " ".join(map(str, value)) if isinstance(value, list) else value
