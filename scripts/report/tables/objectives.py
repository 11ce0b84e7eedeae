"""The preference trials by what means the same for every objective.

    python -m scripts.report.tables.objectives --root results/demo \\
        --plan '[{"experiment": …}, …]' \\
        --csv objectives.csv --md objectives.md --tex objectives.tex --json objectives.json
"""

from scripts.common.cli import run
from scripts.report.notes import BY_GROUP_NOTE, WILSON_NOTE, metric_notes, seed_note
from scripts.report.objectives import KEYS
from scripts.report.results import MODEL, Results
from scripts.report.tables.columns import (
    BETA,
    EXPERIMENT,
    LEADS,
    LEARNING_RATE,
    OBJECTIVE,
    SEEDS,
    STEPS,
    TRIAL,
    described,
    measured,
    names_of,
    objectives,
    selection_notes,
    size,
    standing,
    value,
    with_metrics,
    with_outcomes,
    with_settings,
)
from scripts.report.tables.write import Table, write_table

DESCRIBED = ("experiment", "title", "trial", "method", "seeds", "learning_rate", "beta")
LED = ("chosen_nll", "preference_accuracy", "policy_accuracy", "policy_token_accuracy")
METRICS = (*LED, "auc", "chosen_change")
COLUMNS = (
    EXPERIMENT,
    TRIAL,
    OBJECTIVE,
    SEEDS,
    LEARNING_RATE,
    BETA,
    STEPS,
    *(measured(name, 2, bold=True) for name in LED),
    measured("auc", 2),
    value("chosen_change", 2),
    size("n\npairs", "policy_accuracy"),
    size("Groups", "policy_accuracy", "groups"),
)
"""Those of metrics only where a model has one: unpaired rows have others than pairs."""


def make(results: Results) -> Table:
    """Return the table: the base and the preference trials of every experiment."""
    seen = standing(results, "base", "preferences")
    frame = with_settings(seen, described(seen), "trainer.beta")
    frame = frame.merge(objectives(seen), how="left", on=MODEL)
    frame = with_outcomes(seen, frame, "steps").rename(columns={"trainer.beta": "beta"})
    frame = with_metrics(seen, frame, *METRICS)
    options = [key for key in KEYS if key in frame]
    with_intervals = [it for name in METRICS for it in names_of(name, name in LED)]
    return Table(
        name="objectives",
        title="Preference objectives",
        frame=frame,
        csv=[*DESCRIBED, *options, "steps", *with_intervals],
        columns=tuple(
            it for it in COLUMNS if it.source not in METRICS or frame[it.source].notna().any()
        ),
        notes=[
            seed_note(seen.models),
            LEADS,
            *selection_notes(frame),
            "Losses and margins of different objectives have no common unit; these have.",
            *metric_notes(seen, seen.models, *METRICS),
            WILSON_NOTE,
            BY_GROUP_NOTE,
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
