"""The frames and columns that several tables share."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scripts.common.methods import LABELS, METHODS
from scripts.common.metrics import metric
from scripts.report.hyperparameters import batch, modules
from scripts.report.objectives import KEYS, has_options, objective, option
from scripts.report.results import INTERVALS, MODEL, Results, taken
from scripts.report.tables.write import Column
from scripts.report.text import SELECTED, count, decimals, missing, power, short

if TYPE_CHECKING:
    from pandas import DataFrame

WILSON, BY_GROUP = "wilson", "group_bootstrap"
"""The intervals that tables of models have, as names of columns begin."""
ENDS = ("low", "high")

LEADS = (
    "Bold: leads the trials of its experiment and phase, where the paired test against the "
    "runner-up shows a difference after Holm's correction (table differences); elsewhere nobody is."
)
TRAIN_LOSS_NOTE = "Train loss: mean over the run."

# ------------------------------------------------------------------------------------ what stands


def role(method: str) -> str:
    """Return what a method's models are in a report: the rows they learn from, or themselves."""
    return METHODS[method].rows if method in METHODS else method


def standing(results: Results, *roles: str) -> Results:
    """Return the results of the models of these roles alone."""
    return results.only(results.models[results.models["method"].map(role).isin(roles)])


def described(results: Results) -> "DataFrame":
    """Return the models with the columns in which tables say what they are.

    `trial` is the name in the CSV and `_trial` that for people, `seeds` is how many there are, and
    `selected` says whether the reported split selected the adapter.
    """
    found = results.models.merge(selected(results), how="left", on=MODEL)
    marks = [f" {SELECTED}" if it is True else "" for it in found["selected"]]
    return found.assign(
        trial=found["model"],
        seeds=[len(seeds) or None for seeds in found["seeds"]],
        _trial=[f"{label}{mark}" for label, mark in zip(found["label"], marks, strict=True)],
        _method=[LABELS.get(method, method) for method in found["method"]],
    ).astype({"seeds": "Int64"})


def selected(results: Results) -> "DataFrame":
    """Return for each trial whether the split of its held-out metrics selected its adapter."""
    kinds = {"demonstrations": "completions", "preferences": "pairs"}
    splits = results.splits
    found = [
        row["selected_on"] is not None
        and row["method"] in METHODS
        and row["selected_on"] == row["held_out"][kinds[METHODS[row["method"]].rows]]
        for row in splits.to_dict("records")
    ]
    return splits[MODEL].assign(selected=found)


def selection_notes(frame: "DataFrame") -> list[str]:
    """Return what the mark behind a trial means, if one has it."""
    if not any(it is True for it in frame["selected"]):
        return []
    return [
        f"{SELECTED}: the adapter is that of the best evaluation, on the split that is reported: "
        "its held-out metrics are too good."
    ]


# --------------------------------------------------------------------------------------- measured


def with_sets(results: Results, models: "DataFrame", *names: str) -> "DataFrame":
    """Return a row for each model and set of prompts with one of the metrics of answers.

    A set counts where a model of the experiment has such a metric; a model without one has a row.
    """
    found = results.metrics.dropna(subset=["value", "set"])
    answered = found[found["metric"].isin(names)].merge(models[MODEL], on=MODEL)
    places = answered[["experiment", "set"]].drop_duplicates()
    sets = results.sets.merge(places, on=["experiment", "set"])[[*MODEL, "set"]]
    return models.merge(sets, how="left", on=MODEL)


MEASURED = ["sd", "n", "groups", *(f"{it}_{end}" for it in (WILSON, BY_GROUP) for end in ENDS)]


def names_of(name: str, best: bool = False) -> list[str]:
    """Return the columns of a metric in a CSV."""
    return [name, *(f"{name}_{it}" for it in MEASURED), *([f"{name}_best"] if best else [])]


def with_metrics(
    results: Results, frame: "DataFrame", *names: str, best: bool = True
) -> "DataFrame":
    """Return the frame with the columns of these metrics, as `names_of` names them.

    With `best`, which reads the comparisons, `{metric}_best` says whether a trial leads apart. The
    bounds that people read are in `_{metric}_low` and `_{metric}_high`.
    """
    for name in names:
        of_set = metric(name).home == "answers"
        keys = [*MODEL, "set"] if of_set else MODEL
        found = results.metrics[results.metrics["metric"] == name]
        found = found.rename(columns={"value": name} | {it: f"{name}_{it}" for it in MEASURED})
        found = found[found["set"].notna() == of_set][[*keys, *names_of(name)]]
        # Over several seeds a share has no Wilson interval: their items are the same.
        wilson = found[f"{name}_sd"].isna() & (metric(name).interval == WILSON)
        for end in ENDS:
            own = found[f"{name}_{WILSON}_{end}"].where(wilson)
            found[f"_{name}_{end}"] = own.where(wilson, found[f"{name}_{BY_GROUP}_{end}"])
        frame = frame.merge(found, how="left", on=keys)
        if best:
            frame = frame.assign(**{f"{name}_best": _best(results, frame, name, of_set)}).copy()
    return frame


def _best(results: Results, frame: "DataFrame", name: str, of_set: bool) -> list[bool | None]:
    """Return for each row whether the trial leads its method apart; None for a base or lookup."""
    keys = ["experiment", "method", "leading", "set"]
    apart = results.leading[results.leading["apart"].astype(bool)]
    apart = apart[apart["metric"] == name][keys].to_dict("records")
    leaders = {tuple(None if missing(it) else it for it in row.values()) for row in apart}
    return [
        (row["experiment"], row["method"], row["model"], row["set"] if of_set else None) in leaders
        if row["runs"] and row["undone"] is None and row["experiment"] in results.comparisons
        else None
        for row in frame.to_dict("records")
    ]


def measured(name: str, places: int, bold: bool = False, once: bool = True) -> Column:
    """Return the column of a metric with the interval that the registry names."""
    kind = "wilson" if metric(name).interval == WILSON else "group bootstrap"
    return Column(
        f"{metric(name).label}\n[{INTERVALS[kind]}]",
        name,
        decimals(places),
        sd=f"{name}_sd",
        bracket=(f"_{name}_low", f"_{name}_high"),
        bold=f"{name}_best" if bold else "",
        once=once and metric(name).home != "answers",
    )


def value(name: str, places: int, once: bool = True) -> Column:
    """Return the column of a metric without an interval; a label of several words is broken."""
    header = metric(name).label.replace(" ", "\n", 1)
    once = once and metric(name).home != "answers"
    return Column(header, name, decimals(places), sd=f"{name}_sd", once=once)


def size(header: str, name: str, part: str = "n", once: bool = True) -> Column:
    """Return the column of how many items, or groups, a metric is of."""
    return Column(header, f"{name}_{part}", count, once=once and metric(name).home != "answers")


# --------------------------------------------------------------------------------- how it was made

SETTINGS = {
    "r": "lora.r",
    "lora_alpha": "lora.lora_alpha",
    "lora_dropout": "lora.lora_dropout",
    "target_modules": "lora.target_modules",
    "learning_rate": "trainer.learning_rate",
    "lr_scheduler_type": "trainer.lr_scheduler_type",
    "num_train_epochs": "trainer.num_train_epochs",
    "max_steps": "trainer.max_steps",
    "effective_batch": "trainer.per_device_train_batch_size",
}
"""The settings that tables show, by their names there."""


def with_settings(results: Results, frame: "DataFrame", *more: str) -> "DataFrame":
    """Return the frame with the settings of trials, and those of trial.json named in addition."""
    from pandas import Series

    accumulated = "trainer.gradient_accumulation_steps"
    found = _of(frame, results.settings, *SETTINGS.values(), accumulated, *more)
    rows = found.to_dict("records")
    texts = list(map(modules, rows))
    found = found.rename(columns={key: name for name, key in SETTINGS.items()}).assign(
        target_modules=texts,
        _modules=[text.replace("_proj", "") for text in texts],
        effective_batch=Series(list(map(batch, rows)), dtype=object),
    )
    return frame.merge(found.drop(columns=accumulated), how="left", on=MODEL)


def with_outcomes(results: Results, frame: "DataFrame", *names: str) -> "DataFrame":
    """Return the frame with what train.json says of trials."""
    return frame.merge(_of(frame, results.outcomes, *names), how="left", on=MODEL)


def objectives(results: Results) -> "DataFrame":
    """Return the objective of each trial; all options of objectives only where one is used."""
    settings = results.settings
    rows = settings.to_dict("records")
    keys = KEYS if any(map(has_options, rows)) else KEYS[:2]
    options = {key: [_raw(option(row, key)) for row in rows] for key in keys}
    return settings[MODEL].assign(_objective=list(map(objective, rows)), **options)


def _raw(value: Any) -> Any:
    """Return an option as a CSV holds it: the parts of a list with blanks between."""
    return " ".join(map(str, value)) if isinstance(value, list) else value


OF_SOME_METHODS = ("trainer.beta", "step_zero.loss", "step_zero.margin")
"""What only methods with a reference have."""


def _of(frame: "DataFrame", source: "DataFrame", *columns: str) -> "DataFrame":
    """Return columns of settings or outcomes for the models of a frame."""
    models = frame[MODEL].drop_duplicates()
    return taken(models.merge(source, on=MODEL), *columns, optional=OF_SOME_METHODS)


EXPERIMENT = Column("Experiment", "title", align="l")
TRIAL = Column("Trial", "_trial", align="l")
METHOD = Column("Method", "_method", align="l")
SEEDS = Column("Seeds", "seeds", count)
SEED = Column("Seed", "seed")
RANK = Column("r", "r", short)
ALPHA = Column("α", "lora_alpha", short)
DROPOUT = Column("Dropout", "lora_dropout", short)
MODULES = Column("Modules", "_modules", align="l")
LEARNING_RATE = Column("Learning\nrate", "learning_rate", power)
BETA = Column("β", "beta", short)
OBJECTIVE = Column("Objective", "_objective", align="l")
STEPS = Column("Steps", "steps", count)
TRAIN_LOSS = Column("Train\nloss", "train_loss", decimals(3))
SECONDS = Column("Seconds", "seconds", decimals(1))
SET = Column("Prompts", "set", align="l")


def once(*columns: Column) -> tuple[Column, ...]:
    """Return columns that people read once a model, of a table with a row for each set."""
    return tuple(replace(column, once=True) for column in columns)
