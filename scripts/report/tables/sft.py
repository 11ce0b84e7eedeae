"""The supervised trials: settings, losses and answers, below their base model.

    python -m scripts.report.tables.sft --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv sft.csv --md sft.md --tex sft.tex --json sft.json
"""

from typing import Any

from scripts.common.cli import run
from scripts.report.notes import (
    BY_GROUP_NOTE,
    WILSON_NOTE,
    metric_notes,
    seed_note,
    set_notes,
)
from scripts.report.results import BASE, Results
from scripts.report.tables.columns import (
    ALPHA,
    DROPOUT,
    EXPERIMENT,
    LEADS,
    LEARNING_RATE,
    MODULES,
    RANK,
    SECONDS,
    SEEDS,
    SET,
    TRAIN_LOSS,
    TRAIN_LOSS_NOTE,
    TRIAL,
    described,
    measured,
    names_of,
    once,
    selection_notes,
    size,
    standing,
    with_metrics,
    with_outcomes,
    with_sets,
    with_settings,
)
from scripts.report.tables.write import Column, Table, write_table
from scripts.report.text import count, short, shown

BEST = ("held_out_loss", "exact_match")
METRICS = ("held_out_loss", "bleu", "exact_match")
SETTINGS = (
    "seeds", "r", "lora_alpha", "target_modules", "lora_dropout", "learning_rate",
    "lr_scheduler_type", "num_train_epochs", "max_steps", "steps", "effective_batch",
    "trainable_parameters", "train_loss", "seconds",
)  # fmt: skip
COLUMNS = (
    EXPERIMENT,
    *once(
        TRIAL,
        SEEDS,
        RANK,
        ALPHA,
        MODULES,
        DROPOUT,
        LEARNING_RATE,
        Column("Schedule", "lr_scheduler_type", align="l"),
        Column("Length", "_length", sort="steps"),
        Column("Batch", "effective_batch", count),
        Column("Trainable\nparameters", "trainable_parameters", count),
        TRAIN_LOSS,
        SECONDS,
    ),
    measured("held_out_loss", 3, bold=True),
    size("n\nrows", "held_out_loss"),
    SET,
    measured("bleu", 3),
    measured("exact_match", 2, bold=True),
    size("n\nprompts", "exact_match"),
)


def make(results: Results) -> Table:
    """Return the table: the supervised trials of every experiment that has some, and its base.

    A model has a row for each set of prompts with known answers.
    """
    seen = standing(results, "base", "demonstrations")
    trained = seen.models.loc[seen.models["method"] != BASE, "experiment"]
    seen = seen.only(seen.models[seen.models["experiment"].isin(trained)])
    frame = with_sets(seen, with_settings(seen, described(seen)), *METRICS)
    frame = with_outcomes(seen, frame, "steps", "trainable_parameters", "train_loss", "seconds")
    frame = with_metrics(seen, frame, *METRICS)
    rows = frame.to_dict("records")
    frame["_length"] = list(map(_length, rows))
    frame["_trial"] = [row["_trial"] + " (base)" * (row["method"] == BASE) for row in rows]
    return Table(
        name="sft",
        title="Supervised fine-tuning",
        frame=frame,
        csv=["experiment", "title", "trial", "method", *SETTINGS, "set"]
        + [column for name in METRICS for column in names_of(name, name in BEST)],
        columns=COLUMNS,
        notes=[
            seed_note(seen.models),
            LEADS,
            *selection_notes(frame),
            TRAIN_LOSS_NOTE,
            *metric_notes(seen, seen.models, *METRICS),
            *set_notes(seen, seen.models, *METRICS),
            BY_GROUP_NOTE,
            WILSON_NOTE,
        ],
    )


def _length(row: dict[str, Any]) -> str:
    """Return how long a trial trained, in the unit in which it was set."""
    if row["max_steps"] == -1:
        return f"{short(row['num_train_epochs'])} epochs"
    return shown(row["steps"], lambda steps: f"{count(steps)} steps")


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
