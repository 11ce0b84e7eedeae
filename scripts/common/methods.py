"""The methods that train a model, each declared once.

What asks about a method asks here. Nothing that trains, makes references or scores imports this
module: code digests follow imports, and a label edited here must retrain nothing. The plan copies
into a resolved trial what its training needs.

To add a method: declare it here, write its trainer (`scripts/train/{name}.py`) and the class of its
trials in `scripts/config/`.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

Look = tuple[str, str]
"""A color and a marker of matplotlib."""


@dataclass(frozen=True)
class Method:
    """A method that trains a model.

    Attributes
    ----------
    name, label, long
        In files and configs; in tables; in running text.
    phase
        The part of an experiment whose trials may use it.
    rows
        The canonical rows that it learns from.
    has_reference
        Whether it trains against the log-probs of a reference model.
    trainer
        The module that trains with it.
    headlines
        The metrics that its trials are compared by: the first that one of them has.
    loss
        The label of an axis of its training loss.
    has_partners
        Whether it learns pairs as single rows, each with another row's completion beside it.
    """

    name: str
    label: str
    long: str
    phase: Literal["sft", "preference"]
    rows: Literal["demonstrations", "preferences"]
    has_reference: bool
    trainer: str
    headlines: tuple[str, ...]
    loss: str
    look: Look
    has_partners: bool = False


_of_pairs = partial(
    Method,
    phase="preference",
    rows="preferences",
    has_reference=False,
    headlines=("preference_accuracy", "auc", "exact_match", "bleu"),
    loss="Loss (mean over pairs)",
)

_DECLARED = (
    Method(
        name="sft",
        label="SFT",
        long="supervised fine-tuning",
        phase="sft",
        rows="demonstrations",
        has_reference=False,
        trainer="scripts.train.sft",
        headlines=("held_out_loss", "exact_match", "bleu"),
        loss="Loss (nats per token)",
        look=("#0173b2", "o"),
    ),
    _of_pairs(
        name="dpo",
        label="DPO",
        long="direct preference optimization",
        has_reference=True,
        trainer="scripts.train.dpo",
        look=("#de8f05", "s"),
    ),
    _of_pairs(
        name="kto",
        label="KTO",
        long="Kahneman-Tversky optimization",
        has_reference=True,
        has_partners=True,
        trainer="scripts.train.kto",
        loss="Loss (mean over rows)",
        look=("#d55e00", "h"),
    ),
    _of_pairs(
        name="orpo",
        label="ORPO",
        long="odds ratio preference optimization",
        trainer="scripts.train.orpo",
        look=("#029e73", "v"),
    ),
    _of_pairs(
        name="cpo",
        label="CPO",
        long="contrastive preference optimization",
        trainer="scripts.train.cpo",
        look=("#cc78bc", "P"),
    ),
    _of_pairs(
        name="simpo",
        label="SimPO",
        long="simple preference optimization",
        trainer="scripts.train.simpo",
        look=("#ca9161", "X"),
    ),
)

METHODS = {method.name: method for method in _DECLARED}
"""Every method by name, in the order in which a model goes through them."""

BASE, LOOKUP = "base", "lookup"
"""What stands where a method does for what is not trained: the base, and the baseline that looks up
which completion won more training pairs."""
LOOKUP_LABEL = "win counts in train, no model"
"""What tables call the lookup where they would name a trial."""

LABELS = {
    BASE: "base",
    **{name: method.label for name, method in METHODS.items()},
    LOOKUP: "lookup",
}
"""Labels of the methods, and of base and lookup, in the order in which tables have them."""

LOOKS: dict[str, Look] = {
    BASE: ("#4d4d4d", "D"),
    **{name: method.look for name, method in METHODS.items()},
    LOOKUP: ("#8c4a86", "^"),
}
"""Looks of the same."""
