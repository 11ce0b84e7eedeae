"""Compare the models of an experiment with each other, on the same items.

    python -m scripts.evaluate.compare --root results/demo --plan '{"experiment": "tutor",
        "base": "demo", "trials": {"sft": ["sft-r16/seed-0", "sft-r4/seed-0"]},
        "phases": {"sft": "sft"},
        "metrics": {"held_out_loss": {"higher_is_better": false, "comparable": "anything"}}}' \\
        --out results/demo/comparisons/tutor.json

Each trial is compared with the base and with the trial that it starts from, and the trials of a
phase with each other, whatever their method: all pairs of up to ten, otherwise the leading one with
each other one. This is done for every metric that is a mean over items and means the same for both
models: the difference with its interval (groups and seeds resampled), the p-value of a paired test,
and Holm's correction of it over all tests of that metric in the experiment, because readers who
look for the leading trial look at all of them.

The plan says of each metric whether higher is better (null: neither way), and what two trials must
have in common to be compared in it: nothing ("anything"), their "same start", their start and
"same objective"; or it is "never" compared. A metric without a direction is not ranked: no trial
leads in it, and of more than ten trials none is compared with another.
"""

import argparse
import json
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_object, read_table, write_json
from scripts.evaluate.paired import (
    Pair,
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

BASE = "base"
"""What stands in place of the base's method."""
ALL_PAIRS = 10
"""Up to so many trials of a phase are compared pair by pair."""
LEVEL = 0.05
"""A difference is shown where the corrected p-value is below; see `is_shown`."""

OBJECTIVE = ("beta", "loss_type", "loss_weights")
"""The settings of a trainer that give its implicit reward a unit."""
START_METRICS = {"reference_accuracy": "policy_accuracy"}
"""What a trial's file says about its start, and which metric of the start itself that is."""

NEVER = {
    "same objective": "between trials of another beta, objective or start, in whose units they "
    "are; a base has none",
    "same start": "between trials of another start, which they are measured from",
    "never": "they are no means over items, or say nothing about which model is better",
}
"""Between which models metrics are never compared, for people who read the file."""


@dataclass(frozen=True)
class Block:
    """One metric of one run: its items, ordered by id."""

    ids: "ndarray"
    groups: "ndarray"
    scores: "ndarray"
    weights: "ndarray"


@dataclass
class Model:
    """A base or a trial, and its metrics: one block for each seed."""

    name: str
    method: str
    phase: str = ""
    """What its trials are part of: those of a phase are compared with each other."""
    start: str | None = None
    """The trial that it starts from; None for the base."""
    objective: Hashable = ()
    blocks: dict[Key, list[Block]] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------ files


def read_blocks(path: Path) -> dict[Key, Block]:
    """Return the items of each metric of a run."""
    import pyarrow.compute as pc

    table = read_table(path)
    key = pc.binary_join_element_wise(pc.fill_null(table["set"], ""), table["metric"], "\n")
    # Numbers from 0 on, in the order in which the metrics first appear in the file.
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
    """Return the base of an experiment."""
    blocks = read_blocks(root / "bases" / experiment / "items.parquet")
    return Model(name, BASE, blocks={key: [block] for key, block in blocks.items()})


def read_trial(root: Path, method: str, phase: str, name: str, runs: list[str]) -> Model:
    """Return a trial with all its seeds."""
    folders = [root / "trials" / one for one in runs]
    trial = read_object(folders[0] / "trial.json")
    start = trial.get("start")
    model = Model(
        name,
        method,
        phase,
        start=start.split("/")[1] if start else None,
        objective=_hashable([method, *(trial["trainer"].get(key) for key in OBJECTIVE)]),
    )
    for folder in folders:
        for key, block in read_blocks(folder / "items.parquet").items():
            model.blocks.setdefault(key, []).append(block)
    return model


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def read_models(root: Path, plan: Row) -> list[Model]:
    """Return the base and the trials of an experiment, in the plan's order."""
    models = [read_base(root, plan["experiment"], plan["base"])]
    for method, runs in plan["trials"].items():
        names: dict[str, list[str]] = {}
        for one in runs:
            names.setdefault(one.split("/")[0], []).append(one)
        phase = plan["phases"][method]
        models += [read_trial(root, method, phase, name, seeds) for name, seeds in names.items()]
    named = {model.name: model for model in models[1:]}
    for model in models:
        # A start is scored on no pairs: what its trials say about their reference is about it.
        if model.start in named:
            for theirs, own in START_METRICS.items():
                if (None, theirs) in model.blocks:
                    blocks = named[model.start].blocks
                    blocks.setdefault((None, own), model.blocks[None, theirs])
    return models


# ------------------------------------------------------------------------------- what is compared


def compared(models: list[Model], metrics: dict[str, Row]) -> list[Key]:
    """Return what is compared. Raise BadInput where the plan lacks a metric that was measured."""
    keys = dict.fromkeys(key for model in models for key in model.blocks)
    unknown = sorted({metric for _, metric in keys} - metrics.keys())
    if unknown:
        raise BadInput(f"--plan: does not declare {', '.join(unknown)}, which items.parquet has")
    return [key for key in keys if metrics[key[1]]["comparable"] != "never"]


def alike(comparable: str, model: Model) -> tuple[Hashable, ...]:
    """Return what must be equal for two trials to be compared; for "anything" it is empty."""
    return {
        "anything": (),
        "same start": (model.start,),
        "same objective": (model.start, model.objective),
    }[comparable]


def on_same_items(key: Key, models: list[Model]) -> tuple[list[Model], list[Model]]:
    """Return the models with the items that most models have of a metric, and the other models."""
    kinds: dict[str, list[Model]] = {}
    uneven = []
    for model in models:
        own = {_items_of(block) for block in model.blocks.get(key, [])}
        if len(own) == 1:
            kinds.setdefault(own.pop(), []).append(model)
        elif own:
            # Its seeds have different items, so they cannot be averaged item by item.
            uneven.append(model)
    first, *others = sorted(kinds.values(), key=len, reverse=True) or [[]]
    return first, [*(model for kind in others for model in kind), *uneven]


def _items_of(block: Block) -> str:
    """Return a text that is equal only for blocks of the same items."""
    return "\n".join([*block.ids, "", *block.groups])


def panel_of(key: Key, models: list[Model]) -> Panel:
    """Return a metric of models on the same items."""
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
    """Two models, by their place, and why they are compared: base, start or trials."""

    kind: str
    method: str
    pair: Pair


def questions(rule: Row, models: list[Model], values: "ndarray") -> Iterator[Question]:
    """Yield which models are compared: with the base, with starts, within each phase.

    Parameters
    ----------
    rule
        The metric's `higher_is_better` and `comparable`.
    values
        The metric of each model.
    """
    tuned = {place: model for place, model in enumerate(models) if model.method != BASE}
    if rule["comparable"] == "anything":
        base = next((place for place, model in enumerate(models) if model.method == BASE), None)
        named = {model.name: place for place, model in tuned.items()}
        if base is not None:
            yield from (Question("base", it.method, (place, base)) for place, it in tuned.items())
        for place, model in tuned.items():
            if model.start in named:
                yield Question("start", model.method, (place, named[model.start]))
    rivals: dict[Hashable, list[int]] = {}
    for place, model in tuned.items():
        rivals.setdefault((model.phase, *alike(rule["comparable"], model)), []).append(place)
    for places in rivals.values():
        for pair in _pairs(rule, places, values):
            yield Question("trials", models[pair[0]].method, pair)


def _pairs(rule: Row, places: list[int], values: "ndarray") -> Iterable[Pair]:
    """Return all pairs of up to ten trials, otherwise the leading one with each other one."""
    if len(places) <= ALL_PAIRS:
        return combinations(places, 2)
    if rule["higher_is_better"] is None:
        return []
    first = _ranked(rule, places, values)[0]
    return [(first, other) for other in places if other != first]


def _ranked(rule: Row, places: list[int], values: "ndarray") -> list[int]:
    """Return places by their values, the leading one first."""
    sign = -1 if rule["higher_is_better"] else 1
    return sorted(places, key=lambda place: sign * values[place])


# ---------------------------------------------------------------------------------------- answers


def compare_metric(key: Key, rule: Row, models: list[Model]) -> tuple[list[Row], list[Row]]:
    """Return the tests of a metric, and for each phase which trial leads and whether apart.

    A trial leads apart where the corrected test against the runner-up shows a difference.
    """
    if not models:
        return [], []
    set_name, metric = key
    panel = panel_of(key, models)
    asked = list(questions(rule, models, panel.values))
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
            "set": set_name,
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
    ranked = rule["higher_is_better"] is not None
    return tests, leaders(key, rule, models, panel.values, asked, tests) if ranked else []


def is_shown(test: Row) -> bool:
    """Return True if a test shows a difference.

    The test takes the seeds for fixed. Where a model has several, the interval, which draws seeds,
    must leave out 0 as well.
    """
    if test["holm"] >= LEVEL or max(test["seeds"]) == 1:
        return test["holm"] < LEVEL
    return test["interval"] is not None and test["interval"][0] * test["interval"][1] > 0


def leaders(
    key: Key,
    rule: Row,
    models: list[Model],
    values: "ndarray",
    asked: list[Question],
    tests: list[Row],
) -> list[Row]:
    """Return for each phase the leading trial, the runner-up, and whether the test between them
    shows a difference.

    None leads where trials of a phase cannot all be compared with each other.
    """
    found = []
    for phase in dict.fromkeys(model.phase for model in models if model.method != BASE):
        places = [place for place, model in enumerate(models) if model.phase == phase]
        ranked = _ranked(rule, places, values)
        test = next(
            (
                test
                for question, test in zip(asked, tests, strict=True)
                if question.kind == "trials" and set(question.pair) == set(ranked[:2])
            ),
            None,
        )
        if test and len({alike(rule["comparable"], models[place]) for place in places}) == 1:
            first, second = (models[place].name for place in ranked[:2])
            found.append(
                {"method": models[ranked[0]].method, "set": key[0], "metric": key[1],
                 "leading": first, "runner_up": second, "holm": test["holm"],
                 "apart": test["shown"]}
            )  # fmt: skip
    return found


def compare(plan: Row, models: list[Model]) -> Row:
    """Return all comparisons of an experiment's models."""
    tests, leading, others = [], [], []
    for key in compared(models, plan["metrics"]):
        same, different = on_same_items(key, models)
        found, first = compare_metric(key, plan["metrics"][key[1]], same)
        tests += found
        leading += first
        others += [
            {"set": key[0], "metric": key[1], "model": model.name, "reason": "other items"}
            for model in different
        ]
    never = {
        comparable: [it for it, rule in plan["metrics"].items() if rule["comparable"] == comparable]
        for comparable in NEVER
    }
    return {
        "experiment": plan["experiment"],
        "level": LEVEL,
        "pairs": {method: rule_of(phase, models) for method, phase in plan["phases"].items()},
        "family": "all tests of one metric in the experiment",
        "never_compared": [
            {"metrics": names, "reason": NEVER[comparable]}
            for comparable, names in never.items()
            if names
        ],
        "left_out": others,
        "leading": leading,
        "tests": tests,
    }


def rule_of(phase: str, models: list[Model]) -> str | None:
    """Return which pairs of a phase's trials are compared; None for fewer than two trials."""
    trials = sum(model.phase == phase for model in models)
    if trials < 2:
        return None
    return "all" if trials <= ALL_PAIRS else "leading"


def main(argv: list[str] | None = None) -> int:
    """Write the comparisons of an experiment."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evaluate.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument(
        "--plan", type=json.loads, required=True,
        help="JSON: experiment, base (its name), trials (by method, lists of trial/seed-0), phases "
        "(by method), metrics (by name, higher_is_better and comparable)",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    models = read_models(arguments.root, arguments.plan)
    write_json(arguments.out, compare(arguments.plan, models))
    return 0


if __name__ == "__main__":
    run(main)
