"""The summary of whole experiments: base, supervised and preference trials.

    python -m scripts.report.tables.summary --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv summary.csv --md summary.md --tex summary.tex --json summary.json
"""

from scripts.common.cli import run
from scripts.report.notes import (
    BY_GROUP_NOTE,
    WILSON_NOTE,
    lookup_notes,
    metric_notes,
    seed_note,
    set_notes,
)
from scripts.report.results import Results
from scripts.report.tables.columns import (
    EXPERIMENT,
    LEADS,
    METHOD,
    SEEDS,
    SET,
    TRIAL,
    described,
    measured,
    names_of,
    once,
    selection_notes,
    size,
    standing,
    value,
    with_metrics,
    with_sets,
)
from scripts.report.tables.write import Table, write_table

BEST = ("held_out_loss", "preference_accuracy", "exact_match")
METRICS = (
    "held_out_loss", "preference_accuracy", "bleu", "exact_match", "stop_rate", "generated_tokens",
)  # fmt: skip
COLUMNS = (
    EXPERIMENT,
    *once(TRIAL, METHOD, SEEDS),
    measured("held_out_loss", 3, bold=True),
    size("n\nrows", "held_out_loss"),
    measured("preference_accuracy", 2, bold=True),
    size("n\npairs", "preference_accuracy"),
    SET,
    measured("bleu", 3),
    measured("exact_match", 2, bold=True),
    value("stop_rate", 2),
    value("generated_tokens", 1),
    size("n\nprompts", "generated_tokens"),
)


def make(results: Results) -> Table:
    """Return the table: a row for each model and each set of prompts that it answered."""
    seen = standing(results, "base", "demonstrations", "preferences", "lookup")
    frame = with_metrics(seen, with_sets(seen, described(seen), *METRICS), *METRICS)
    return Table(
        name="summary",
        title="Before and after: base model, supervised and preference tuning",
        frame=frame,
        csv=["experiment", "title", "trial", "method", "seeds", "set"]
        + [column for name in METRICS for column in names_of(name, name in BEST)],
        columns=COLUMNS,
        notes=[
            seed_note(seen.models),
            LEADS,
            *selection_notes(frame),
            *metric_notes(seen, seen.models, *METRICS),
            *set_notes(seen, seen.models, *METRICS),
            *lookup_notes(seen, seen.models),
            WILSON_NOTE,
            BY_GROUP_NOTE,
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
