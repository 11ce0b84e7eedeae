"""The preference trials: settings, held-out accuracy, and what moved.

    python -m scripts.report.tables.dpo --root results/demo --plan '[{"experiment": …}, …]' \\
        --csv dpo.csv --md dpo.md --tex dpo.tex --json dpo.json
"""

from typing import Any

from scripts.common.cli import run
from scripts.report.notes import (
    BY_GROUP_NOTE,
    WILSON_NOTE,
    lookup_notes,
    metric_notes,
    seed_note,
)
from scripts.report.objectives import KEYS
from scripts.report.results import MODEL, Results
from scripts.report.tables.columns import (
    ALPHA,
    BETA,
    EXPERIMENT,
    LEADS,
    LEARNING_RATE,
    MODULES,
    OBJECTIVE,
    RANK,
    SEEDS,
    STEPS,
    TRAIN_LOSS,
    TRAIN_LOSS_NOTE,
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
from scripts.report.tables.write import Column, Table, write_table
from scripts.report.text import FELL, change, decimals, missing, shown

OVERWRITTEN = "overwritten"
OVERWRITTEN_NOTE = (
    "Overwritten: the new adapter takes the place of the start's on the modules of both, as the "
    "published code does; the reference is the start whole, so that policy and reference differ "
    "at step 0."
)
METRICS = (
    "preference_loss", "preference_accuracy", "policy_accuracy", "reference_accuracy", "margin",
)  # fmt: skip
SIDES = ("chosen", "rejected")
COLUMNS = (
    EXPERIMENT,
    TRIAL,
    SEEDS,
    Column("Start", "_start", align="l"),
    RANK,
    ALPHA,
    MODULES,
    LEARNING_RATE,
    BETA,
    OBJECTIVE,
    STEPS,
    Column("Loss at\nstep 0", "step_zero_loss", decimals(4)),
    TRAIN_LOSS,
    value("preference_loss", 3),
    measured("preference_accuracy", 2, bold=True),
    Column(
        "[by group]",
        show=decimals(2),
        bracket=("preference_accuracy_group_bootstrap_low",
                 "preference_accuracy_group_bootstrap_high"),
    ),
    value("policy_accuracy", 2),
    value("reference_accuracy", 2),
    value("margin", 3),
    Column("Chosen\nchange", "_chosen_change", sort="chosen_logp_change"),
    Column("Rejected\nchange", "rejected_logp_change", change(2)),
    size("n\npairs", "preference_accuracy"),
    size("Groups", "preference_accuracy", "groups"),
)  # fmt: skip


def make(results: Results) -> Table:
    """Return the table: the preference trials of every experiment, and their lookups."""
    seen = standing(results, "preferences", "lookup")
    frame = with_settings(seen, described(seen), "trainer.beta", "start", "start_as")
    frame = frame.merge(objectives(seen), how="left", on=MODEL)
    frame = with_outcomes(
        seen, frame, "steps", "step_zero.loss", "step_zero.margin", "train_loss"
    ).rename(
        columns={"trainer.beta": "beta", "step_zero.loss": "step_zero_loss"}
        | {"step_zero.margin": "step_zero_margin"}
    )
    logps = [f"{of}{side}_logp" for side in SIDES for of in ("", "reference_")]
    frame = with_metrics(seen, frame, *METRICS, *logps)
    for side in SIDES:
        frame[f"{side}_logp_change"] = frame[f"{side}_logp"] - frame[f"reference_{side}_logp"]
    rows = frame.to_dict("records")
    moved = [row["chosen_logp_change"] for row in rows]
    frame["chosen_fell"] = [None if missing(it) else it < 0 for it in moved]
    marks = [f" {FELL}" if it else "" for it in frame["chosen_fell"]]
    frame["_chosen_change"] = [
        f"{shown(it, change(2))}{mark}" for it, mark in zip(moved, marks, strict=True)
    ]
    frame["start"], frame["_start"] = list(map(_start, rows)), list(map(_start_name, rows))
    options = [key for key in KEYS if key in frame]
    return Table(
        name="dpo",
        title="Preference tuning",
        frame=frame,
        csv=["experiment", "title", "trial", "seeds", "start", "start_as", "r", "lora_alpha"]
        + ["target_modules", "learning_rate", "beta", *options, "steps", "step_zero_loss"]
        + ["step_zero_margin", "train_loss"]
        + [it for name in METRICS for it in names_of(name, name == "preference_accuracy")]
        + ["chosen_logp_change", "chosen_fell", "rejected_logp_change"],
        columns=COLUMNS,
        notes=[
            seed_note(seen.models),
            LEADS,
            *selection_notes(frame),
            "Start is the reference, too.",
            *([OVERWRITTEN_NOTE] if OVERWRITTEN in set(frame["start_as"]) else []),
            f"{TRAIN_LOSS_NOTE} Loss at step 0: ln 2 = 0.6931 under the sigmoid objective where "
            "the policy is still its reference.",
            *metric_notes(seen, seen.models, *METRICS),
            *lookup_notes(seen, seen.models),
            "Change: mean log-prob of the chosen or rejected completions minus the reference's; "
            f"{FELL} marks chosen completions that became less likely.",
            WILSON_NOTE,
            BY_GROUP_NOTE,
        ],
    )


def _start(row: dict[str, Any]) -> str | None:
    """Return the folder of the trial that is start and reference, or `base`."""
    if missing(row["start_as"]):
        return None
    found: str = "base" if missing(row["start"]) else row["start"]
    return found.split("/seed-")[0] if row["seeds"] > 1 else found


def _start_name(row: dict[str, Any]) -> str | None:
    """Return the name of the trial that is start and reference, or `base`."""
    name = _start(row)
    if name is None:
        return None
    name = name.removeprefix("trials/").split("/")[0]
    return f"{name}, {OVERWRITTEN}" if row["start_as"] == OVERWRITTEN else name


def main(argv: list[str] | None = None) -> int:
    """Write the table's forms; return 0."""
    return write_table(make, __doc__, argv)


if __name__ == "__main__":
    run(main)
