"""The table of the seeds: every trial once a seed, with the figures of that seed alone.

    python -m scripts.report.seeds --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv seeds.csv --md seeds.md --tex seeds.tex
"""

from scripts.common.cli import run
from scripts.report.columns import (
    EXPERIMENT,
    METHOD,
    METHOD_NOTES,
    SECONDS,
    SEED,
    SET,
    TRAIN_LOSS,
    TRIAL,
    figure_notes,
    figure_with_interval,
    lines_of,
    of_line,
    once,
    selection_notes,
    set_notes,
)
from scripts.report.command import write_table
from scripts.report.read import BY_GROUP, TRAINED, WILSON, Subject
from scripts.report.render import Table, decimals

COLUMNS = (
    EXPERIMENT.over(lambda line: line.subject),
    *of_line(TRIAL, METHOD, SEED, TRAIN_LOSS, SECONDS),
    once(figure_with_interval("held_out_loss", decimals(3), BY_GROUP)),
    once(figure_with_interval("preference_accuracy", decimals(2), WILSON)),
    SET,
    figure_with_interval("bleu", decimals(3), BY_GROUP),
    figure_with_interval("exact_match", decimals(2), WILSON),
)
FIGURES = ("held_out_loss", "preference_accuracy", "bleu", "exact_match")


def make(subjects: list[Subject]) -> Table:
    """Returns the table: a row for each trial and seed, and set of prompts with known answers."""
    trials = [subject for subject in subjects if subject.method in TRAINED]
    runs = [run for trial in trials for run in trial.each_seed()]
    return Table(
        name="seeds",
        title="Every trial, seed by seed",
        columns=COLUMNS,
        rows=lines_of(runs, FIGURES),
        subject=lambda line: line.subject,
        notes=[
            *selection_notes(runs),
            "Train loss: mean over the run.",
            *figure_notes(runs, FIGURES),
            *set_notes(runs, FIGURES),
            METHOD_NOTES[WILSON],
            METHOD_NOTES[BY_GROUP],
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
