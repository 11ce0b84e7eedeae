"""The summary of a whole experiment: base model, supervised trials, preference trials.

    python -m scripts.report.summary --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv summary.csv --md summary.md --tex summary.tex
"""

from scripts.common.cli import run
from scripts.report.columns import (
    EXPERIMENT,
    LEADS,
    METHOD,
    METHOD_NOTES,
    SEEDS,
    SET,
    TRIAL,
    figure,
    figure_notes,
    figure_with_interval,
    headline,
    lines_of,
    lookup_notes,
    of_line,
    once,
    sample,
    seed_note,
    selection_notes,
    set_notes,
)
from scripts.report.command import write_table
from scripts.report.read import BY_GROUP, WILSON, Subject
from scripts.report.render import Table, decimals

COLUMNS = (
    EXPERIMENT.over(lambda line: line.subject),
    *of_line(TRIAL, METHOD, SEEDS),
    once(headline("held_out_loss", decimals(3), BY_GROUP)),
    once(sample("n\nrows", "held_out_loss")),
    once(headline("preference_accuracy", decimals(2), WILSON)),
    once(sample("n\npairs", "preference_accuracy")),
    SET,
    figure_with_interval("bleu", decimals(3), BY_GROUP),
    headline("exact_match", decimals(2), WILSON),
    figure("stop_rate", decimals(2)),
    figure("generated_tokens", decimals(1)),
    sample("n\nprompts", "generated_tokens"),
)
FIGURES = (
    "held_out_loss", "preference_accuracy", "bleu", "exact_match", "stop_rate", "generated_tokens",
)  # fmt: skip


def make(subjects: list[Subject]) -> Table:
    """Returns the table: every model of every experiment, before and after.

    A model has a line for each set of prompts that it answered.
    """
    return Table(
        name="summary",
        title="Before and after: base model, supervised and preference tuning",
        columns=COLUMNS,
        rows=lines_of(subjects, FIGURES),
        subject=lambda line: line.subject,
        notes=[
            seed_note(subjects),
            LEADS,
            *selection_notes(subjects),
            *figure_notes(subjects, FIGURES),
            *set_notes(subjects, FIGURES),
            *lookup_notes(subjects),
            METHOD_NOTES[WILSON],
            METHOD_NOTES[BY_GROUP],
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
