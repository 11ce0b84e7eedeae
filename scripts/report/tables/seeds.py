"""Every trial once a seed, with the metrics of that seed alone.

    python -m scripts.report.tables.seeds --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv seeds.csv --md seeds.md --tex seeds.tex --json seeds.json
"""

from scripts.common.cli import run
from scripts.report.notes import BY_GROUP_NOTE, WILSON_NOTE, metric_notes, set_notes
from scripts.report.results import Results
from scripts.report.tables.columns import (
    EXPERIMENT,
    METHOD,
    SECONDS,
    SEED,
    SET,
    TRAIN_LOSS,
    TRAIN_LOSS_NOTE,
    TRIAL,
    described,
    measured,
    names_of,
    once,
    selection_notes,
    standing,
    with_metrics,
    with_outcomes,
    with_sets,
)
from scripts.report.tables.write import Table, write_table

METRICS = ("held_out_loss", "preference_accuracy", "bleu", "exact_match")
COLUMNS = (
    EXPERIMENT,
    *once(TRIAL, METHOD, SEED, TRAIN_LOSS, SECONDS),
    measured("held_out_loss", 3),
    measured("preference_accuracy", 2),
    SET,
    measured("bleu", 3),
    measured("exact_match", 2),
)


def make(results: Results) -> Table:
    """Return the table: a row for each run, and each of its sets of prompts with known answers."""
    seen = standing(results.each_seed, "demonstrations", "preferences")
    frame = with_outcomes(seen, with_sets(seen, described(seen), *METRICS), "train_loss", "seconds")
    frame = with_metrics(seen, frame, *METRICS, best=False)
    return Table(
        name="seeds",
        title="Every trial, seed by seed",
        frame=frame,
        csv=["experiment", "title", "trial", "method", "seed", "train_loss", "seconds", "set"]
        + [column for name in METRICS for column in names_of(name)],
        columns=COLUMNS,
        notes=[
            *selection_notes(frame),
            TRAIN_LOSS_NOTE,
            *metric_notes(seen, seen.models, *METRICS),
            *set_notes(seen, seen.models, *METRICS),
            WILSON_NOTE,
            BY_GROUP_NOTE,
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
