"""The table of the preference trials: settings, held-out accuracy, and what moved.

    python -m scripts.report.dpo --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv dpo.csv --md dpo.md --tex dpo.tex
"""

from typing import Any

from scripts.common.cli import run
from scripts.report.columns import (
    ALPHA,
    EXPERIMENT,
    LEADS,
    LEARNING_RATE,
    METHOD_NOTES,
    MODULES,
    RANK,
    SEEDS,
    STEPS,
    TRAIN_LOSS,
    TRIAL,
    figure,
    figure_notes,
    groups,
    headline,
    interval,
    lookup_notes,
    number,
    sample,
    seed_note,
    selection_notes,
    setting,
)
from scripts.report.command import write_table
from scripts.report.objectives import DEFAULTS, has_options, objective, option
from scripts.report.read import BY_GROUP, WILSON, Subject
from scripts.report.render import FELL, Column, Raw, Table, change, decimals, shown

OVERWRITTEN = "overwritten"


def _change(subject: Subject, side: str) -> float | None:
    """Returns how far the log-prob of the chosen or rejected side moved from the reference's."""
    after = subject.figure(f"{side}_logp").value
    before = subject.figure(f"reference_{side}_logp").value
    return None if after is None or before is None else after - before


def _chosen_fell(subject: Subject) -> bool | None:
    moved = _change(subject, "chosen")
    return None if moved is None else moved < 0


def _chosen_change(subject: Subject) -> str:
    text = shown(_change(subject, "chosen"), change(2))
    return f"{text} {FELL}" if _chosen_fell(subject) else text


def _start(subject: Subject) -> str | None:
    """Returns the folder of the SFT trial that is start and reference, or `base`."""
    if subject.method != "dpo" or not subject.done:
        return None
    start = subject.setting("start") or "base"
    return start.split("/seed-")[0] if len(subject.seeds) > 1 else start


def _start_name(subject: Subject) -> str:
    if _start(subject) in (None, "base"):
        return shown(_start(subject), str)
    name = _start(subject).removeprefix("trials/").split("/")[0]
    return f"{name}, {OVERWRITTEN}" if _overwritten(subject) else name


def _overwritten(subject: Subject) -> bool:
    return subject.setting("start_as") == OVERWRITTEN


def _step_zero(subject: Subject, key: str) -> float | None:
    return subject.outcome("step_zero", key)


BEFORE = (
    EXPERIMENT,
    TRIAL,
    SEEDS,
    Column(
        "Start",
        text=_start_name,
        names=("start", "start_as"),
        values=lambda subject: (_start(subject), subject.setting("start_as")),
        align="l",
    ),
    RANK,
    ALPHA,
    MODULES,
    LEARNING_RATE,
    setting("β", "trainer", "beta"),
)
AFTER = (
    STEPS,
    Column(
        "Loss at\nstep 0",
        text=lambda subject: shown(_step_zero(subject, "loss"), decimals(4)),
        names=("step_zero_loss", "step_zero_margin"),
        values=lambda subject: (_step_zero(subject, "loss"), _step_zero(subject, "margin")),
    ),
    TRAIN_LOSS,
    figure("preference_loss", decimals(3)),
    headline("preference_accuracy", decimals(2), WILSON),
    interval("preference_accuracy", decimals(2), BY_GROUP),
    figure("policy_accuracy", decimals(2)),
    figure("reference_accuracy", decimals(2)),
    figure("margin", decimals(3)),
    Column(
        "Chosen\nchange",
        text=_chosen_change,
        names=("chosen_logp_change", "chosen_fell"),
        values=lambda subject: (_change(subject, "chosen"), _chosen_fell(subject)),
    ),
    number("Rejected\nchange", "rejected_logp_change",
           lambda subject: _change(subject, "rejected"), change(2)),
    sample("n\npairs", "preference_accuracy"),
    groups("Groups", "preference_accuracy"),
)  # fmt: skip

OVERWRITTEN_NOTE = (
    "Overwritten: the new adapter takes the place of the start's on the modules of both, as the "
    "published code does; the reference is the start whole, so that policy and reference differ "
    "at step 0."
)


def objective_column(subjects: list[Subject]) -> Column:
    """Return the column of objectives; the CSV has all their options where one is used."""
    more = DEFAULTS if any(has_options(_row(subject)) for subject in subjects) else {}
    keys = ("loss_type", "label_smoothing", *more)
    return Column(
        "Objective",
        text=lambda subject: objective(_row(subject)),
        names=keys,
        values=lambda subject: tuple(_raw(option(_row(subject), key)) for key in keys),
        align="l",
    )


def _row(subject: Subject) -> dict[str, Any]:
    settings = subject.setting("trainer") if subject.method == "dpo" else None
    return {f"trainer.{key}": value for key, value in (settings or {}).items()}


def _raw(value: Any) -> Raw:
    """Return an option as a CSV holds it: a list's parts with blanks between."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


def make(subjects: list[Subject]) -> Table:
    """Returns the table: the DPO trials of every experiment, and the lookup of their pairs."""
    rows = [subject for subject in subjects if subject.method in ("dpo", "lookup")]
    keys = (
        "preference_loss", "preference_accuracy", "policy_accuracy", "reference_accuracy", "margin",
    )  # fmt: skip
    return Table(
        name="dpo",
        title="Preference tuning",
        columns=(*BEFORE, objective_column(rows), *AFTER),
        rows=rows,
        notes=[
            seed_note(rows),
            LEADS,
            *selection_notes(rows),
            "Start is the reference, too.",
            *([OVERWRITTEN_NOTE] if any(map(_overwritten, rows)) else []),
            "Train loss: mean over the run. Loss at step 0: ln 2 = 0.6931 under the sigmoid "
            "objective where the policy is still its reference.",
            *figure_notes(rows, keys),
            *lookup_notes(rows),
            "Change: mean log-prob of the chosen or rejected completions minus the reference's; "
            f"{FELL} marks chosen completions that became less likely.",
            METHOD_NOTES[WILSON],
            METHOD_NOTES[BY_GROUP],
        ],
    )


def main(argv: list[str] | None = None) -> int:
    """Writes the table as CSV, Markdown and LaTeX; returns 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
