"""The methods that a trial may be trained by, each declared once.

What trains, makes references or scores does not import this: a label edited here would retrain
everything. The plan copies what such a job needs into its parameters.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A way to train an adapter."""

    name: str
    label: str
    """What people call it in a table."""
    long: str
    phase: str
    """The phase of an experiment whose trials may use it: `sft` or `preference`."""
    rows: str
    """What it learns from: `demonstrations` or `preferences`."""
    has_reference: bool
    """True where its loss needs the log-probs of the model that it starts from."""
    trainer: str
    """The module that trains by it."""
    headlines: tuple[str, ...]
    """The metrics that a reader looks at first."""
    look: tuple[str, str]
    """Color and marker in figures."""


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            name="sft",
            label="SFT",
            long="supervised fine-tuning",
            phase="sft",
            rows="demonstrations",
            has_reference=False,
            trainer="scripts.train.sft",
            headlines=("held_out_loss", "exact_match", "bleu"),
            look=("#0173b2", "o"),
        ),
        Method(
            name="dpo",
            label="DPO",
            long="direct preference optimization",
            phase="preference",
            rows="preferences",
            has_reference=True,
            trainer="scripts.train.dpo",
            headlines=("preference_accuracy", "exact_match", "bleu"),
            look=("#de8f05", "s"),
        ),
    )
}
"""In the order in which a model goes through them."""
