"""What a preference trial minimizes, as people write it."""

from collections.abc import Mapping
from math import isclose
from typing import Any

from scripts.report.text import missing, short

Trainer = Mapping[str, Any]
"""The settings of a trainer, by their own names."""

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


def trainer_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of the trainer from a row of the frame of settings."""
    told = {key: value for key, value in row.items() if key.startswith("trainer.")}
    return {key.removeprefix("trainer."): known(value) for key, value in told.items()}


def known(value: Any) -> Any:
    """Return a setting, or None for a key that a file lacks, which is NaN."""
    return None if not isinstance(value, list) and missing(value) else value


def starts_at_ln_2(trainer: Trainer) -> bool:
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


def has_options(trainer: Trainer) -> bool:
    """Return True if an option of the objective is not at its default."""
    return bool(_weights(trainer)) and any(trainer[key] != it for key, it in DEFAULTS.items())


def objective(trainer: Trainer) -> str | None:
    """Return the objective and its options beside the defaults; None where there is no choice."""
    terms = [
        name if weight == 1 else f"{short(weight)} {name}"
        for name, weight in _weights(trainer).items()
    ]
    return ", ".join([" + ".join(terms), *_options(trainer)]) if terms else None


def _weights(trainer: Trainer) -> dict[str, float]:
    """Return by objective how much it counts."""
    names = trainer.get("loss_type") or []
    return dict(zip(names, trainer.get("loss_weights") or [1.0] * len(names), strict=True))


def _options(trainer: Trainer) -> list[str]:
    """Return the options that are not at their defaults."""
    divergence = trainer["f_divergence_type"]
    if divergence == "alpha_divergence":
        divergence += f" {short(trainer['f_alpha_divergence_coef'])}"
    smoothing, alpha, tau = (trainer[it] for it in ("label_smoothing", "ld_alpha", "discopop_tau"))
    texts = [
        f"smoothed {short(smoothing)}" if smoothing else "",
        "WPO" if trainer["use_weighting"] else "",
        "" if alpha is None else f"LD-DPO α {short(alpha)}",
        "" if divergence == "reverse_kl" else divergence,
        "" if tau == DEFAULTS["discopop_tau"] else f"τ {short(tau)}",
    ]
    return list(filter(None, texts))
