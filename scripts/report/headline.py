"""The headline metric: the one number by which the trials of an experiment and method are compared.

And which models a figure or the page shows where there are more trials than it has room for.
"""

from typing import TYPE_CHECKING

from scripts.common.methods import LABELS, METHODS
from scripts.common.metrics import metric
from scripts.report.notes import metric_notes
from scripts.report.results import MODEL, Results

if TYPE_CHECKING:
    from pandas import DataFrame

ROOM = 40
"""How many trials of an experiment and method have a row, a panel or a line in a figure."""

OF_ANSWERS = ("exact_match", "bleu", "title_only", "title_length")
"""What says whether answers to a set of prompts became better. A set has the first two where the
right answers are known, and the others where its config names the rules of titles."""

MAIN = tuple(
    dict.fromkeys([*(name for it in METHODS.values() for name in it.headlines), *OF_ANSWERS])
)
"""The metrics that a reader looks at first."""


def measured(
    results: Results, models: "DataFrame", name: str, set_name: str | None = None
) -> "DataFrame":
    """Return the models with a metric over all seeds: value, sd, n, groups and bounds.

    They are missing for a model without the metric.

    Parameters
    ----------
    set_name
        The set of prompts that the metric belongs to; None for pairs and demonstrations.
    """
    found = results.metrics[results.metrics["metric"] == name]
    found = found[found["set"].isna() if set_name is None else found["set"] == set_name]
    found = found.drop(columns=["set", "metric"])
    return models.merge(found, how="left", on=MODEL).assign(metric=name, set=set_name)


def sets_with(results: Results, models: "DataFrame", *names: str) -> list[str]:
    """Return the sets of prompts for which one of the models has one of the metrics."""
    found = results.metrics.dropna(subset=["value", "set"])
    found = models[MODEL].merge(found[found["metric"].isin(names)], on=MODEL)
    return list(dict.fromkeys(found["set"]))


def headlines(results: Results) -> "DataFrame":
    """Return the trials with the headline metric of their experiment and method, as `measured`.

    Where one trial of an experiment and method has a value, those without one stay, and else none.
    `low` and `high` are the interval by group, as items may share a prompt, or else Wilson's.
    """
    from pandas import concat

    trials = results.models[results.models["method"].isin(METHODS)]
    parts = [measured(results, trials.head(0), "")]
    for (_, method), members in trials.groupby(["experiment", "method"], sort=False):
        found = (
            measured(results, members, name, set_name)
            for name in METHODS[method].headlines
            for set_name in (None, *sets_with(results, members, name))
        )
        parts += [part for part in found if part["value"].notna().any()][:1]
    found = concat(parts, ignore_index=True)
    by_group = found["group_bootstrap_low"].notna()
    return found.assign(
        low=found["group_bootstrap_low"].where(by_group, found["wilson_low"]),
        high=found["group_bootstrap_high"].where(by_group, found["wilson_high"]),
    )


def falls(name: str) -> bool:
    """Return True if less of a metric is better."""
    return metric(name).higher_is_better is False


def leading(results: Results) -> tuple[Results, list[str]]:
    """Return the results that a figure or page has room for, and in words what is left out.

    Of an experiment and method with very many trials they are of those that lead in the headline
    metric, in the plan's order.
    """
    models = results.models
    notes, left_out = [], set()
    trials = models[models["method"].isin(METHODS)]
    for (_, method), members in trials.groupby(["experiment", "method"], sort=False):
        if len(members) <= ROOM:
            continue
        ranked, by = headlines(results.only(members)), "that lead in {}"
        if len(ranked):
            name = ranked["metric"].iloc[0]
            ranked = ranked.sort_values("value", ascending=falls(name), kind="stable")
            by = by.format(metric(name).label.lower())
        else:
            ranked, by = members, "that come first"
        left_out |= set(ranked["folder"].iloc[ROOM:])
        notes.append(
            f"{members['title'].iloc[0]}, {LABELS[method]}: of {len(members):,} trials the {ROOM} "
            f"{by}, picked by what is shown of them; the tables have all."
        )
    return results.only(models[~models["folder"].isin(left_out)]), notes


def headline_notes(results: Results) -> list[str]:
    """Return what the headline metrics are, on how many items, and which interval is drawn."""
    found = headlines(results)
    lacking = found.loc[found["value"].isna(), "model"]
    return [
        *metric_notes(results, found, *dict.fromkeys(found["metric"])),
        "Interval: 95 %; bootstrap over whole groups, so that items of one prompt stay together; "
        "Wilson's where a metric has none by group.",
        *([f"Not drawn, as the metric is missing: {', '.join(lacking)}."] if len(lacking) else []),
    ]


def pair_scores(results: Results, *names: str) -> "DataFrame":
    """Return the scores of pairs in metrics, a column each: a row for each run and pair.

    Only runs of trials that learn from preferences, of experiments in which one of them has the
    first metric; `name` is the trial, with its seed where it has several. A run without any has one
    row without a pair.
    """
    learn = [name for name, method in METHODS.items() if method.rows == "preferences"]
    results = results.only(results.models[results.models["method"].isin(learn)])
    runs = results.each_seed.models
    several = runs.groupby(["experiment", "model"])["seed"].transform("size") > 1
    named = runs["label"] + ", seed " + runs["seed"].astype(str)
    runs = runs.assign(name=runs["label"].where(~several, named))
    items = results.items.reindex(columns=[*MODEL, "set", "metric", "id", "score"])
    items = items[items["set"].isna() & items["metric"].isin(names)]
    scores = items.pivot(index=[*MODEL, "id"], columns="metric", values="score").reset_index()
    scores = scores.reindex(columns=[*MODEL, "id", *names])
    found = runs.merge(scores, how="left", on=MODEL).astype(dict.fromkeys(names, float))
    has = found[names[0]].notna().groupby(found["experiment"]).transform("any")
    return found[has]
