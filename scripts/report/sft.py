"""The table of the supervised trials: settings, losses and generations, under their base model.

    python -m scripts.report.sft --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv sft.csv --md sft.md --tex sft.tex
"""

from scripts.common.cli import run
from scripts.report.columns import (
    ALPHA,
    BATCH,
    DROPOUT,
    EXPERIMENT,
    LEADS,
    LEARNING_RATE,
    METHOD_NOTES,
    MODULES,
    RANK,
    SECONDS,
    SEEDS,
    SET,
    TRAIN_LOSS,
    TRAINABLE,
    figure_notes,
    figure_with_interval,
    headline,
    lines_of,
    marked,
    of_line,
    once,
    sample,
    seed_note,
    selection_notes,
    set_notes,
    words,
)
from scripts.report.command import write_table
from scripts.report.read import BY_GROUP, WILSON, Subject, by_experiment
from scripts.report.render import Column, Table, count, decimals, short, shown


def _name(subject: Subject) -> str:
    return f"{subject.name} (base)" if subject.method == "base" else marked(subject, subject.name)


def _length(subject: Subject) -> str:
    """Returns how long a trial trained, in the unit in which it was set."""
    if subject.setting("trainer", "max_steps") == -1:
        return f"{short(subject.setting('trainer', 'num_train_epochs'))} epochs"
    return shown(subject.outcome("steps"), lambda steps: f"{count(steps)} steps")


SETTINGS = (
    Column(
        "Trial",
        text=_name,
        names=("trial", "method"),
        values=lambda subject: (subject.name, subject.method),
        align="l",
    ),
    SEEDS,
    RANK,
    ALPHA,
    MODULES,
    DROPOUT,
    LEARNING_RATE,
    words(
        "Schedule",
        "lr_scheduler_type",
        lambda subject: subject.setting("trainer", "lr_scheduler_type"),
    ),
    Column(
        "Length",
        text=_length,
        names=("num_train_epochs", "max_steps", "steps"),
        values=lambda subject: (
            subject.setting("trainer", "num_train_epochs"),
            subject.setting("trainer", "max_steps"),
            subject.outcome("steps"),
        ),
        key=lambda subject: subject.outcome("steps"),
    ),
    BATCH,
    TRAINABLE,
    TRAIN_LOSS,
    SECONDS,
)
COLUMNS = (
    EXPERIMENT.over(lambda line: line.subject),
    *of_line(*SETTINGS),
    once(headline("held_out_loss", decimals(3), BY_GROUP)),
    once(sample("n\nrows", "held_out_loss")),
    SET,
    figure_with_interval("bleu", decimals(3), BY_GROUP),
    headline("exact_match", decimals(2), WILSON),
    sample("n\nprompts", "exact_match"),
)
FIGURES = ("held_out_loss", "bleu", "exact_match")


def make(subjects: list[Subject]) -> Table:
    """Returns the table: the SFT trials of every experiment below their base model.

    A model has a line for each set of prompts with known answers.
    """
    models = [
        subject
        for members in by_experiment(subjects).values()
        for subject in members
        if subject.method in ("base", "sft") and "sft" in {it.method for it in members}
    ]
    return Table(
        name="sft",
        title="Supervised fine-tuning",
        columns=COLUMNS,
        rows=lines_of(models, FIGURES),
        subject=lambda line: line.subject,
        notes=[
            seed_note(models),
            LEADS,
            *selection_notes(models),
            "Train loss: mean over the run.",
            *figure_notes(models, FIGURES),
            *set_notes(models, FIGURES),
            METHOD_NOTES[BY_GROUP],
            METHOD_NOTES[WILSON],
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
