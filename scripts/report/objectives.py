"""What a preference trial minimizes, as people write it."""

from math import isclose
from typing import Any

from scripts.report.read import Subject
from scripts.report.render import DASH, Column, Raw, short

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


def starts_at_ln_2(subject: Subject) -> bool:
    """Tells whether a trial's loss is ln 2 while the policy is still its reference.

    No f-divergence moves the start, as all are 0 there; the weights of pairs under WPO do.
    """
    weights = _weights(subject)
    return (
        bool(weights)
        and set(weights) <= set(LN_2)
        and isclose(sum(weights.values()), 1)
        and not _option(subject, "use_weighting")
    )


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
    return bool(_weights(subject)) and any(
        _option(subject, key) != default for key, default in DEFAULTS.items()
    )


def _weights(subject: Subject) -> dict[str, float]:
    """Returns by objective how much it counts."""
    names = _option(subject, "loss_type") or []
    return dict(zip(names, _option(subject, "loss_weights") or [1.0] * len(names), strict=True))


def _text(subject: Subject) -> str:
    terms = [
        name if weight == 1 else f"{short(weight)} {name}"
        for name, weight in _weights(subject).items()
    ]
    return ", ".join([" + ".join(terms), *_options(subject)]) if terms else DASH


def _options(subject: Subject) -> list[str]:
    """Returns the options that are not at their defaults."""
    values = {key: _option(subject, key) for key in ("label_smoothing", *DEFAULTS)}
    smoothing, alpha, tau = (values[key] for key in ("label_smoothing", "ld_alpha", "discopop_tau"))
    divergence = values["f_divergence_type"]
    if divergence == "alpha_divergence":
        divergence += f" {short(values['f_alpha_divergence_coef'])}"
    texts = [
        f"smoothed {short(smoothing)}" if smoothing else "",
        "WPO" if values["use_weighting"] else "",
        "" if alpha is None else f"LD-DPO α {short(alpha)}",
        "" if divergence == "reverse_kl" else divergence,
        "" if tau == DEFAULTS["discopop_tau"] else f"τ {short(tau)}",
    ]
    return list(filter(None, texts))


def _raw(value: Any) -> Raw:
    """Returns an option as a CSV holds it: a list's parts with blanks between."""
    return " ".join(map(str, value)) if isinstance(value, list) else value
