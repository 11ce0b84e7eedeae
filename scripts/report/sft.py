"""The table of the supervised trials: settings, losses and generations, under their base model.

    python -m scripts.report.sft --root results/demo --plan '[{"folder": …}, …]' \\
        --csv sft.csv --md sft.md --tex sft.tex
"""

from scripts.common.cli import run
from scripts.report.columns import (
    ALPHA,
    BATCH,
    DROPOUT,
    EXPERIMENT,
    LEARNING_RATE,
    METHOD,
    METHOD_NOTES,
    MODULES,
    RANK,
    SECONDS,
    SEED,
    STEPS,
    TRAIN_LOSS,
    TRAINABLE,
    TRIAL,
    figure,
    figure_notes,
    figure_with_interval,
    sample,
    seed_note,
    words,
)
from scripts.report.command import write_table
from scripts.report.read import BY_GROUP, WILSON, Subject, by_experiment
from scripts.report.render import Column, Table, decimals, short, shown


def _budget(subject: Subject) -> str:
    """Returns the training budget in the unit in which it was set."""
    steps = subject.setting("trainer", "max_steps")
    if steps == -1:
        return f"{short(subject.setting('trainer', 'num_train_epochs'))} epochs"
    return shown(steps, lambda value: f"{value:,} steps")


COLUMNS = (
    EXPERIMENT,
    TRIAL,
    METHOD,
    SEED,
    RANK,
    ALPHA,
    MODULES,
    DROPOUT,
    LEARNING_RATE,
    words("Schedule", "lr_scheduler_type",
          lambda subject: subject.setting("trainer", "lr_scheduler_type")),
    Column(
        "Budget",
        text=_budget,
        names=("num_train_epochs", "max_steps"),
        values=lambda subject: (
            subject.setting("trainer", "num_train_epochs"),
            subject.setting("trainer", "max_steps"),
        ),
    ),
    STEPS,
    BATCH,
    TRAINABLE,
    TRAIN_LOSS,
    figure_with_interval("held_out_loss", decimals(3), BY_GROUP),
    sample("n\nrows", "held_out_loss"),
    figure("bleu", decimals(3)),
    figure_with_interval("exact_match", decimals(2), WILSON),
    sample("n\nprompts", "exact_match"),
    SECONDS,
)  # fmt: skip


def make(subjects: list[Subject]) -> Table:
    """Returns the table: the SFT trials of every experiment below their base model."""
    rows = [
        subject
        for members in by_experiment(subjects).values()
        for subject in members
        if subject.method in ("base", "sft") and "sft" in {it.method for it in members}
    ]
    return Table(
        name="sft",
        title="Supervised fine-tuning",
        columns=COLUMNS,
        rows=rows,
        notes=[
            seed_note(rows),
            "Train loss: mean over the run.",
            *figure_notes(rows, ("held_out_loss", "bleu", "exact_match")),
            METHOD_NOTES[BY_GROUP],
            METHOD_NOTES[WILSON],
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
