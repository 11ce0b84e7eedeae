"""What a preference trial minimizes, as people write it.

A `row` is one of the frame `settings`, whose keys are those of trial.json.
"""

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

from scripts.common.methods import METHODS
from scripts.report.text import DASH, missing, short

Row = Mapping[str, Any]

DEFAULTS: dict[str, Any] = {
    "loss_weights": None,
    "use_weighting": False,
    "ld_alpha": None,
    "f_divergence_type": "reverse_kl",
    "f_alpha_divergence_coef": 0.5,
    "discopop_tau": 0.05,
    "cpo_alpha": 1.0,
    "simpo_gamma": None,
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
    found = {key: option(row, key) for key in DEFAULTS}
    return any(it not in (None, DEFAULTS[key]) for key, it in found.items())


def objective(row: Row) -> str:
    """Return the objective with the options that are not at their defaults, or a dash."""
    method = row.get("method")
    if method in METHODS and method != "dpo":
        return ", ".join([METHODS[method].label, *_options(row)])
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


def _options(row: Row) -> Iterator[str]:
    """Yield the options of a method without a reference that are not at their defaults."""
    kind, smoothing = option(row, "loss_type"), option(row, "label_smoothing")
    alpha, gamma = option(row, "cpo_alpha"), option(row, "simpo_gamma")
    if kind not in (None, "sigmoid"):
        yield kind
    if smoothing:
        yield f"smoothed {short(smoothing)}"
    if alpha not in (None, DEFAULTS["cpo_alpha"]):
        yield f"α {short(alpha)}"
    if gamma is not None:
        yield f"γ {short(gamma)}"


def _weights(row: Row) -> dict[str, float]:
    """Return by objective of DPO how much it counts."""
    names = option(row, "loss_type")
    names = names if isinstance(names, list) else []
    return dict(zip(names, option(row, "loss_weights") or [1.0] * len(names), strict=True))
