"""What a preference trial minimizes, as people write it.

A `row` is one of the frame `settings`, whose keys are those of trial.json.
"""

from collections.abc import Mapping
from math import isclose
from typing import Any

from scripts.report.text import DASH, missing, short

Row = Mapping[str, Any]

DEFAULTS: dict[str, Any] = {
    "loss_weights": None,
    "use_weighting": False,
    "ld_alpha": None,
    "f_divergence_type": "reverse_kl",
    "f_alpha_divergence_coef": 0.5,
    "discopop_tau": 0.05,
}
"""The options of an objective that a table shows only where a trial does not have the default."""
KEYS = ("loss_type", "label_smoothing", *DEFAULTS)
LN_2 = ("sigmoid", "sigmoid_norm", "robust", "aot", "aot_unpaired")
"""The objectives whose loss is ln 2 while the policy is still its reference: -log sigmoid(0)."""


def starts_at_ln_2(row: Row) -> bool:
    """Return True if a trial's loss is ln 2 while the policy is still its reference.

    No f-divergence moves the start, as all are 0 there; the weights of pairs under WPO do.
    """
    weights = _weights(row)
    return (
        bool(weights)
        and set(weights) <= set(LN_2)
        and isclose(sum(weights.values()), 1)
        and not option(row, "use_weighting")
    )


def option(row: Row, key: str) -> Any:
    """Return an option of the objective; None unless it is a finished preference trial."""
    found = row.get(f"trainer.{key}")
    return None if not isinstance(found, list) and missing(found) else found


def has_options(row: Row) -> bool:
    """Return True if an option of the objective is not at its default."""
    return bool(_weights(row)) and any(option(row, key) != it for key, it in DEFAULTS.items())


def objective(row: Row) -> str:
    """Return the objective with the options that are not at their defaults, or a dash."""
    terms = [
        name if weight == 1 else f"{short(weight)} {name}" for name, weight in _weights(row).items()
    ]
    if not terms:
        return DASH
    smoothing, alpha, tau = (
        option(row, it) for it in ("label_smoothing", "ld_alpha", "discopop_tau")
    )
    divergence = option(row, "f_divergence_type")
    if divergence == "alpha_divergence":
        divergence += f" {short(option(row, 'f_alpha_divergence_coef'))}"
    texts = [
        " + ".join(terms),
        f"smoothed {short(smoothing)}" if smoothing else "",
        "WPO" if option(row, "use_weighting") else "",
        "" if alpha is None else f"LD-DPO α {short(alpha)}",
        "" if divergence == "reverse_kl" else divergence,
        "" if tau == DEFAULTS["discopop_tau"] else f"τ {short(tau)}",
    ]
    return ", ".join(filter(None, texts))


def _weights(row: Row) -> dict[str, float]:
    """Return by objective how much it counts."""
    names = option(row, "loss_type") or []
    return dict(zip(names, option(row, "loss_weights") or [1.0] * len(names), strict=True))
