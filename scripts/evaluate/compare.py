"""Compares the models of an experiment with each other, on the same items.

    python -m scripts.evaluate.compare --root results/demo \\
        --plan '{"experiment": "tutor", "base": "demo", "trials": {"sft": ["sft-r16/seed-0"]}}' \\
        --out results/demo/comparisons/tutor.json

Every trial against the base, every preference trial against where it starts, and the trials of a
method against each other: all pairs of at most ten, else each against the leading one. Of every
metric that is a mean over items and that means the same for both: the difference with its interval
(groups and seeds resampled), the p-value of a paired test, and Holm's correction of it over all
tests of that metric in the experiment, since a reader who looks for the trial that leads in a
metric looks at all of them.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.common.files import Row, read_json, write_json
from scripts.evaluate.paired import (
    Panel,
    difference_intervals,
    group_deviations,
    holm,
    paired_tests,
)

if TYPE_CHECKING:
    from numpy import ndarray

Key = tuple[str | None, str]
"""A set of prompts, or None, and a metric."""

ALL_PAIRS = 10
"""So many trials of a method are compared pair by pair."""
LEVEL = 0.05
"""A difference is shown where the corrected p-value is below; see `is_shown`."""

METHODS = ("sft", "dpo")
OF_OBJECTIVE = ("preference_loss", "margin")
"""Metrics of the implicit reward, in units of beta: alike only under one objective and start."""
OF_START = ("chosen_fell", "kl", "kl_per_token")
"""Metrics of how far a trial moved from its start: alike only from one start."""
OBJECTIVE = ("beta", "loss_type", "loss_weights")
REFERENCE = "reference_"
"""Begins the metrics of a trial's start, which are not the trial's own."""
START_FIGURES = {"reference_accuracy": "policy_accuracy"}
"""What a trial's file says about its start, and what that is of the start itself."""
UNRANKED = (
    "chosen_logp", "rejected_logp", "chosen_change", "rejected_change", "length_difference",
)  # fmt: skip
"""Metrics that describe, of which higher is no better than lower."""

NEVER = [
    {
        "metrics": [*OF_OBJECTIVE, "rewards"],
        "reason": "between trials of another beta, objective or start, in whose units they are; "
        "a base has none",
    },
    {
        "metrics": list(OF_START),
        "reason": "between trials of another start, which they are measured from",
    },
    {
        "metrics": ["train_loss", "eval_loss"],
        "reason": "they are the objective's, and of no items",
    },
    {
        "metrics": [*UNRANKED, "reference_*"],
        "reason": "higher is not better, and the reference's are of another model",
    },
    {"metrics": ["bleu"], "reason": "as every metric of a whole corpus, no mean over items"},
]
"""What is never compared, for whoever reads the file."""


@dataclass(frozen=True)
class Block:
    """One metric of one run: its items, in the order of their ids."""

    ids: "ndarray"
    groups: "ndarray"
    scores: "ndarray"
    weights: "ndarray"


@dataclass
class Model:
    """A base or a trial, and its metrics: one block a seed."""

    name: str
    method: str
    start: str | None = None
    """The SFT trial that a preference trial starts from; None for the base."""
    objective: tuple[Any, ...] = ()
    blocks: dict[Key, list[Block]] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------ files


def read_blocks(path: Path) -> dict[Key, Block]:
    """Returns the items of each metric of a run."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    key = pc.binary_join_element_wise(pc.fill_null(table["set"], ""), table["metric"], "\n")
    # Numbers from 0 on, in the order in which the metrics first stand in the file.
    numbered = pc.dictionary_encode(key).combine_chunks()
    table = table.append_column("number", numbered.indices)
    table = table.sort_by([("number", "ascending"), ("id", "ascending")])
    columns = [table[name].to_numpy() for name in ("id", "group", "score", "weight")]
    starts = [0, *pc.value_counts(numbered.indices).field("counts").to_numpy().cumsum()]
    found = {}
    for name, start, end in zip(numbered.dictionary.to_pylist(), starts, starts[1:], strict=False):
        set_name, metric = name.split("\n")
        found[set_name or None, metric] = Block(*(column[start:end] for column in columns))
    return found


def read_base(root: Path, experiment: str, name: str) -> Model:
    """Returns the base of an experiment."""
    blocks = read_blocks(root / "bases" / experiment / "items.parquet")
    return Model(name, "base", blocks={key: [block] for key, block in blocks.items()})


def read_trial(root: Path, method: str, name: str, runs: list[str]) -> Model:
    """Returns a trial with all its seeds."""
    folders = [root / "trials" / one for one in runs]
    trial = read_json(folders[0] / "trial.json")
    start = trial.get("start")
    model = Model(
        name,
        method,
        start=start.split("/")[1] if start else None,
        objective=_hashable([trial["trainer"].get(key) for key in OBJECTIVE]),
    )
    for folder in folders:
        for key, block in read_blocks(folder / "items.parquet").items():
            model.blocks.setdefault(key, []).append(block)
    return model


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def read_models(root: Path, plan: Row) -> list[Model]:
    """Returns the base and the trials of an experiment, in the plan's order."""
    models = [read_base(root, plan["experiment"], plan["base"])]
    for method, runs in plan["trials"].items():
        names: dict[str, list[str]] = {}
        for one in runs:
            names.setdefault(one.split("/")[0], []).append(one)
        models += [read_trial(root, method, name, seeds) for name, seeds in names.items()]
    give_starts_their_metrics(models)
    return models


def give_starts_their_metrics(models: list[Model]) -> None:
    """Gives a start what the trials that start from it say about it; it is scored on no pairs."""
    named = {model.name: model for model in models if model.method == "sft"}
    for model in models:
        start = named.get(model.start)
        for theirs, own in START_FIGURES.items():
            if start and (None, theirs) in model.blocks:
                start.blocks.setdefault((None, own), model.blocks[None, theirs])


# ------------------------------------------------------------------------------- what is compared


def compared(models: list[Model]) -> list[Key]:
    """Returns the metrics that are compared."""
    keys = dict.fromkeys(key for model in models for key in model.blocks)
    return [
        (of_set, metric)
        for of_set, metric in keys
        if metric not in UNRANKED and not metric.startswith(REFERENCE)
    ]


def alike(metric: str, model: Model) -> tuple[Any, ...]:
    """Returns what must be the same of two trials whose metrics mean the same; empty for nothing.

    Of such a metric a base has none that means the same.
    """
    if metric in OF_OBJECTIVE or "reward" in metric:
        return (model.objective, model.start)
    return (model.start,) if metric in OF_START else ()


def lower_leads(metric: str) -> bool:
    """Tells whether the lowest value of a metric leads, not the highest."""
    return "loss" in metric or "perplexity" in metric


def on_same_items(key: Key, models: list[Model]) -> tuple[list[Model], list[Model]]:
    """Returns the models with the items that most models have of a metric, and the others."""
    kinds: dict[str, list[Model]] = {}
    uneven = []
    for model in models:
        own = {_items_of(block) for block in model.blocks.get(key, [])}
        if len(own) == 1:
            kinds.setdefault(own.pop(), []).append(model)
        elif own:
            # Its seeds have not the same items: no two of them can be averaged item by item.
            uneven.append(model)
    first, *others = sorted(kinds.values(), key=len, reverse=True) or [[]]
    return first, [*(model for kind in others for model in kind), *uneven]


def _items_of(block: Block) -> str:
    """Returns what is equal for blocks of the same items alone."""
    return "\n".join([*block.ids, "", *block.groups])


def panel_of(key: Key, models: list[Model]) -> Panel:
    """Returns a metric of models on the same items."""
    from numpy import array, repeat, stack, unique

    blocks = [block for model in models for block in model.blocks[key]]
    return Panel(
        scores=stack([block.scores for block in blocks]),
        weights=stack([block.weights for block in blocks]),
        groups=unique(blocks[0].groups.astype(str), return_inverse=True)[1],
        owners=repeat(array(range(len(models))), [len(model.blocks[key]) for model in models]),
    )


@dataclass(frozen=True)
class Question:
    """Two models, by their place, and why they are compared."""

    kind: str
    method: str
    pair: tuple[int, int]


def questions(metric: str, models: list[Model], values: "ndarray") -> Iterator[Question]:
    """Yields what is asked of a metric: against the base, against starts, within each method."""
    names = {model.name: place for place, model in enumerate(models) if model.method == "sft"}
    base = next((place for place, it in enumerate(models) if it.method == "base"), None)
    tuned = [(place, model) for place, model in enumerate(models) if model.method != "base"]
    if not any(alike(metric, model) for _, model in tuned):
        if base is not None:
            yield from (Question("base", model.method, (place, base)) for place, model in tuned)
        for place, model in tuned:
            if model.start in names:
                yield Question("start", model.method, (place, names[model.start]))
    for method in METHODS:
        rivals: dict[Any, list[int]] = {}
        for place, model in tuned:
            if model.method == method:
                rivals.setdefault(alike(metric, model), []).append(place)
        for places in rivals.values():
            yield from (Question("trials", method, pair) for pair in _pairs(metric, places, values))


def _pairs(metric: str, places: list[int], values: "ndarray") -> Iterable[tuple[int, int]]:
    """Returns all pairs of at most ten trials, else the leading one with each other."""
    if len(places) <= ALL_PAIRS:
        return combinations(places, 2)
    first = _ranked(metric, places, values)[0]
    return [(first, other) for other in places if other != first]


def _ranked(metric: str, places: list[int], values: "ndarray") -> list[int]:
    """Returns places in the order of their values, the leading one first."""
    sign = 1 if lower_leads(metric) else -1
    return sorted(places, key=lambda place: sign * values[place])


# ---------------------------------------------------------------------------------------- answers


def compare_metric(key: Key, models: list[Model]) -> tuple[list[Row], list[Row]]:
    """Returns the tests of a metric, and for each method which trial leads and whether apart.

    Trials lead apart where the corrected test against the runner-up shows a difference.
    """
    if not models:
        return [], []
    of_set, metric = key
    panel = panel_of(key, models)
    asked = list(questions(metric, models, panel.values))
    if not asked:
        return [], []
    pairs = [question.pair for question in asked]
    found = paired_tests(panel, pairs)
    corrected = holm([p for _, p in found])
    intervals, deviations = difference_intervals(panel, pairs), group_deviations(panel, pairs)
    tests = [
        {
            "kind": question.kind,
            "method": question.method,
            "set": of_set,
            "metric": metric,
            "a": models[a].name,
            "b": models[b].name,
            "value_a": float(panel.values[a]),
            "value_b": float(panel.values[b]),
            "difference": float(panel.values[a] - panel.values[b]),
            "interval": None if intervals is None else intervals[:, number].tolist(),
            "p": p,
            "holm": corrected[number],
            "n": panel.items,
            "groups": panel.size,
            "seeds": [int(panel.seeds[a]), int(panel.seeds[b])],
            "test": test,
            "group_deviation": None if deviations is None else float(deviations[number]),
        }
        for number, (question, (test, p)) in enumerate(zip(asked, found, strict=True))
        for a, b in [question.pair]
    ]  # fmt: skip
    tests = [test | {"shown": is_shown(test)} for test in tests]
    return tests, leaders(key, models, panel.values, asked, tests)


def is_shown(test: Row) -> bool:
    """Tells whether a difference is shown.

    The test of items takes the seeds for fixed. Where a side has several, the interval, which draws
    them, must leave out 0 as well.
    """
    if test["holm"] >= LEVEL or max(test["seeds"]) == 1:
        return test["holm"] < LEVEL
    return test["interval"] is not None and test["interval"][0] * test["interval"][1] > 0


def leaders(
    key: Key, models: list[Model], values: "ndarray", asked: list[Question], tests: list[Row]
) -> list[Row]:
    """Returns for each method the leading trial, the runner-up and whether a test tells them apart.

    Of trials that are not all compared with each other, none leads.
    """
    of_set, metric = key
    found = []
    for method in METHODS:
        places = [place for place, model in enumerate(models) if model.method == method]
        ranked = _ranked(metric, places, values)
        test = next(
            (
                test
                for question, test in zip(asked, tests, strict=True)
                if question.kind == "trials" and set(question.pair) == set(ranked[:2])
            ),
            None,
        )
        if test and len({alike(metric, models[place]) for place in places}) == 1:
            first, second = (models[place].name for place in ranked[:2])
            found.append(
                {"method": method, "set": of_set, "metric": metric, "leading": first,
                 "runner_up": second, "holm": test["holm"], "apart": test["shown"]}
            )  # fmt: skip
    return found


def compare(experiment: str, models: list[Model]) -> Row:
    """Returns all comparisons of an experiment's models."""
    tests, leading, others = [], [], []
    for key in compared(models):
        same, different = on_same_items(key, models)
        found, first = compare_metric(key, same)
        tests += found
        leading += first
        others += [
            {"set": key[0], "metric": key[1], "model": model.name, "reason": "other items"}
            for model in different
        ]
    return {
        "experiment": experiment,
        "level": LEVEL,
        "pairs": {method: rule_of(method, models) for method in METHODS},
        "family": "all tests of one metric in the experiment",
        "never_compared": NEVER,
        "left_out": others,
        "leading": leading,
        "tests": tests,
    }


def rule_of(method: str, models: list[Model]) -> str | None:
    """Returns which pairs of a method's trials are compared; None for fewer than two trials."""
    trials = sum(model.method == method for model in models)
    if trials < 2:
        return None
    return "all" if trials <= ALL_PAIRS else "leading"


def main(argv: list[str] | None = None) -> int:
    """Writes the comparisons of an experiment."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evaluate.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument(
        "--plan", type=json.loads, required=True,
        help="JSON: experiment, base (its name), trials (by method, lists of trial/seed-0)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    models = read_models(arguments.root, arguments.plan)
    write_json(arguments.out, compare(arguments.plan["experiment"], models))
    return 0


if __name__ == "__main__":
    run(main)
