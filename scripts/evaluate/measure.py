"""Compute every metric of one model from the rows that scoring wrote, each with its interval.

Write metrics.json, and items.parquet with each item's score for paired tests.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from math import exp, log1p
from pathlib import Path
from statistics import fmean

from scripts.common.cli import run
from scripts.common.files import Row, read_object, read_rows, write_json, write_rows
from scripts.common.rows import ITEMS
from scripts.common.texts import cut, spoken
from scripts.evaluate.answers import Call, as_call, calls, final_number, marked_number
from scripts.evaluate.calibration import calibration_error
from scripts.evaluate.characters import Usual, odd_characters, usual
from scripts.evaluate.divergence import divergence_metrics
from scripts.evaluate.diversity import diversity_metrics
from scripts.evaluate.intervals import BOOTSTRAP
from scripts.evaluate.likeness import likeness_metrics
from scripts.evaluate.ranking import area_under_roc
from scripts.evaluate.scores import AnyMetric, MeanMetric, WholeMetric, groups_of, item_metric
from scripts.evaluate.signs import signs_of
from scripts.evaluate.titles import title_metrics
from scripts.evaluate.win_rate import length_controlled, win_metrics, with_verdicts

RULES = {"titles": title_metrics}
"""What a set's answers can be held against, by the name of its rules."""

# ----------------------------------------------------------------------------------- completions


def completion_metrics(rows: list[Row], groups: dict[str, str]) -> list[AnyMetric]:
    """Return the held-out loss of demonstrations, and their perplexity."""
    if not rows:
        return []
    items = [
        {
            "id": row["id"],
            "group": groups[row["id"]],
            "score": -row["logp"],
            "weight": float(row["tokens"]),
        }
        for row in rows
    ]
    loss = MeanMetric("held_out_loss", items)
    return [loss, perplexity(loss)]


def perplexity(loss: MeanMetric) -> WholeMetric:
    """Return exp of the held-out loss; its interval is exp of that one's."""
    found = loss.summary()
    bounds = found["intervals"].get(BOOTSTRAP)
    return WholeMetric(
        "perplexity",
        exp(found["value"]),
        [item["group"] for item in loss.items],
        BOOTSTRAP,
        bounds and (exp(bounds[0]), exp(bounds[1])),
    )


def parts_of(rows: list[Row]) -> dict[str, list[Row]]:
    """Return the rows of each dataset of a mixture, whose name their ids begin with; else none."""
    parts: dict[str, list[Row]] = {}
    for row in rows:
        name, slash, _ = row["id"].partition("/")
        if slash:
            parts.setdefault(name, []).append(row)
    return parts


# ----------------------------------------------------------------------------------------- pairs


def pair_metrics(rows: list[Row], groups: dict[str, str], tuned: bool) -> list[AnyMetric]:
    """Return the metrics of preference pairs.

    Those of the implicit reward are of tuned models only: a base is its own reference.
    """
    if not rows:
        return []
    if "label" in rows[0]:
        return unpaired_metrics(rows, groups) if tuned else []

    def mean(name: str, score: Callable[[Row], float]) -> MeanMetric:
        return item_metric(rows, groups, name, score)

    def share(name: str, difference: Callable[[Row], float]) -> MeanMetric:
        return item_metric(rows, groups, name, lambda row: _wins(difference(row)), share=True)

    raw: list[AnyMetric] = [
        share("policy_accuracy", lambda row: row["chosen_logp"] - row["rejected_logp"]),
        share(
            "policy_token_accuracy",
            lambda row: (
                row["chosen_logp"] / row["chosen_tokens"]
                - row["rejected_logp"] / row["rejected_tokens"]
            ),
        ),
        mean("chosen_nll", lambda row: -row["chosen_logp"] / row["chosen_tokens"]),
        mean("chosen_logp", lambda row: row["chosen_logp"]),
        mean("rejected_logp", lambda row: row["rejected_logp"]),
        mean("length_difference", lambda row: row["chosen_tokens"] - row["rejected_tokens"]),
    ]
    if not tuned:
        return raw
    return [
        share("preference_accuracy", lambda row: row["margin"]),
        mean("preference_loss", lambda row: _softplus(-row["margin"])),
        mean("margin", lambda row: row["margin"]),
        calibration_error(rows, groups),
        *raw,
        mean("chosen_change", lambda row: row["chosen_logp"] - row["reference_chosen_logp"]),
        mean("rejected_change", lambda row: row["rejected_logp"] - row["reference_rejected_logp"]),
        share("chosen_fell", lambda row: row["reference_chosen_logp"] - row["chosen_logp"]),
        share(
            "reference_accuracy",
            lambda row: row["reference_chosen_logp"] - row["reference_rejected_logp"],
        ),
        mean("reference_chosen_logp", lambda row: row["reference_chosen_logp"]),
        mean("reference_rejected_logp", lambda row: row["reference_rejected_logp"]),
    ]


def unpaired_metrics(rows: list[Row], groups: dict[str, str]) -> list[AnyMetric]:
    """Return how well the log-ratio to the reference tells good rows, called chosen, from bad."""
    sides = {
        side: [row for row in rows if row["label"] is label]
        for side, label in (("chosen", True), ("rejected", False))
    }
    changes: list[AnyMetric] = [
        item_metric(own, groups, f"{side}_change", lambda row: row["logp"] - row["reference_logp"])
        for side, own in sides.items()
        if own
    ]
    return [area_under_roc(rows, groups), *changes] if all(sides.values()) else changes


def _wins(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


# ----------------------------------------------------------------------------------- generations


def extracted(rows: list[Row], after: str | None, before: str | None) -> list[Row]:
    """Return the answers, each cut to the part that is scored."""
    return [row | {"text": cut(row["text"], after, before)} for row in rows]


def generation_metrics(
    rows: list[Row], groups: dict[str, str], answers: dict[str, str]
) -> list[MeanMetric]:
    """Return how answers end and how long they are, and both exact matches.

    Exact match is over the items whose known answer has a number, strict exact match over those
    where it has one behind `####`.
    """
    if not rows:
        return []
    found = [
        item_metric(rows, groups, "stop_rate", lambda row: row["stop"] == "eos", share=True),
        item_metric(rows, groups, "generated_tokens", lambda row: row["tokens"]),
    ]
    readings = {"exact_match": final_number, "exact_match_strict": marked_number}
    for name, read in readings.items():
        numbers = {row["id"]: read(answers.get(row["id"], "")) for row in rows}
        known = [row for row in rows if numbers[row["id"]] is not None]
        if known:
            right = {row["id"]: read(row["text"]) == numbers[row["id"]] for row in known}
            score = partial(lambda right, row: right[row["id"]], right)
            found.append(item_metric(known, groups, name, score, share=True))
    return found


def call_metrics(
    rows: list[Row], groups: dict[str, str], known: dict[str, list[Call]]
) -> list[MeanMetric]:
    """Return the share of the known answers' calls that the answers make; none without calls."""
    items = [
        {
            "id": row["id"],
            "group": groups[row["id"]],
            # As often as both have it.
            "score": float((Counter(calls(row["text"])) & Counter(wanted)).total()),
            "weight": float(len(wanted)),
        }
        for row in rows
        if (wanted := known.get(row["id"]))
    ]
    return [MeanMetric("equal_calls", items)] if items else []


# ------------------------------------------------------------------------------- sets of prompts


@dataclass(frozen=True)
class Answers:
    """The answers of one model to a set of prompts, as far as they are scored."""

    name: str
    settings: Row
    rows: list[Row]
    groups: dict[str, str]
    known: dict[str, str]
    """The text of the known answer by id, where there is one."""
    called: dict[str, list[Call]]
    """The calls of the known answer by id, where it has any."""
    left_out: int
    usual: Usual
    """Which odd characters the set's own texts use."""

    @cached_property
    def metrics(self) -> list[AnyMetric]:
        """Every metric of the answers."""
        if not self.rows:
            return []
        rows, groups = self.rows, self.groups
        found = [
            *generation_metrics(rows, groups, self.known),
            *diversity_metrics(rows, groups),
            *odd_characters(rows, groups, self.usual),
            *divergence_metrics(rows, groups),
            *win_metrics(rows, groups),
        ]
        found += call_metrics(rows, groups, self.called)
        if told := [row for row in rows if row["id"] in self.known]:
            found += likeness_metrics(told, groups, self.known)
        if self.settings["rules"]:
            found += RULES[self.settings["rules"]](rows, groups)
        return found

    def summary(self) -> Row:
        """Return the set's settings, how many items were left out, and all metrics."""
        metrics = {metric.name: metric.summary() for metric in self.metrics}
        metrics |= length_controlled(self.rows, self.groups)
        return {"settings": self.settings, "left_out": self.left_out, "metrics": metrics}


def answers_to(
    name: str, settings: Row, generations: list[Row], prompts: list[Row], overlap: set[str]
) -> Answers:
    """Return what is scored of a set: answers cut to their part, without items that overlap.

    Nothing is scored of a set that is only for reading.
    """
    mine = [row for row in generations if row["set"] == name and settings["scored"]]
    kept = [row for row in mine if row["id"] not in overlap]
    rows = extracted(kept, settings["answer_after"], settings["answer_before"])
    answers = {row["id"]: spoken(row["completion"])[-1] for row in prompts if "completion" in row}
    known = {key: answer["content"] for key, answer in answers.items() if answer["content"]}
    called = {
        key: [as_call(**call["function"]) for call in answer["tool_calls"]]
        for key, answer in answers.items()
        if "tool_calls" in answer
    }
    left_out, of_set = len(mine) - len(kept), usual(texts_of(prompts))
    return Answers(name, settings, rows, groups_of(prompts), known, called, left_out, of_set)


def texts_of(rows: list[Row]) -> Iterator[str]:
    """Yield what prompts and completions of canonical rows say."""
    for row in rows:
        for part in ("prompt", "completion", "chosen", "rejected"):
            yield from (turn["content"] for turn in row.get(part, ()))


# ---------------------------------------------------------------------------------- command line


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate.measure", description=__doc__)
    parser.add_argument("--subject", type=json.loads, required=True, help="what was scored")
    for kind in ("completions", "pairs"):
        parser.add_argument(f"--{kind}", type=Path, required=True, help=f"{kind}.parquet")
        parser.add_argument(f"--{kind}-rows", type=Path, help="the canonical split behind it")
    parser.add_argument("--base-metrics", type=Path, help="metrics.json of a trial's base")
    parser.add_argument("--start-metrics", type=Path, help="that of the trial that it starts from")
    parser.add_argument("--generations", type=Path, required=True, help="generations.parquet")
    parser.add_argument("--verdicts", type=Path, help="a judge's verdicts.parquet")
    parser.add_argument(
        "--sets", type=json.loads, default={}, help="settings of each set of prompts, by name"
    )
    parser.add_argument(
        "--sets-rows", type=Path, nargs="*", default=[], help="the sets' canonical splits, in order"
    )
    parser.add_argument(
        "--overlaps", type=Path, nargs="*", default=[],
        help="overlap.parquet of each set whose settings name one, in order",
    )  # fmt: skip
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--items", type=Path, required=True, help="Parquet file to write")
    arguments = parser.parse_args(argv)
    compared = [name for name, settings in arguments.sets.items() if settings["overlap"]]
    arguments.sets_rows = dict(zip(arguments.sets, arguments.sets_rows, strict=True))
    arguments.overlaps = dict(zip(compared, arguments.overlaps, strict=True))
    return arguments


def read_sets(arguments: argparse.Namespace) -> list[Answers]:
    """Return the answers of every set."""
    verdicts = _rows(arguments.verdicts)
    generations = with_verdicts(read_rows(arguments.generations), verdicts)
    return [
        answers_to(
            name,
            settings,
            generations,
            read_rows(arguments.sets_rows[name]),
            {row["id"] for row in _rows(arguments.overlaps.get(name))},
        )
        for name, settings in arguments.sets.items()
    ]


def _rows(path: Path | None) -> list[Row]:
    return read_rows(path) if path else []


def rows_read(arguments: argparse.Namespace) -> Row:
    """Return the files of canonical rows, and of overlaps, that were read, relative to the root."""

    def relative(path: Path | None) -> str | None:
        return Path(os.path.relpath(path, arguments.root)).as_posix() if path else None

    return {
        "completions": relative(arguments.completions_rows),
        "pairs": relative(arguments.pairs_rows),
        "sets": {name: relative(path) for name, path in arguments.sets_rows.items()},
        "overlaps": {name: relative(path) for name, path in arguments.overlaps.items()},
    }


def main(argv: list[str] | None = None) -> int:
    """Write metrics.json and items.parquet."""
    arguments = parse_arguments(argv)
    completions_groups = groups_of(_rows(arguments.completions_rows))
    pairs_groups = groups_of(_rows(arguments.pairs_rows))
    tuned = arguments.subject["method"] != "base"
    pairs = read_rows(arguments.pairs)
    completions = read_rows(arguments.completions)
    own = [
        *completion_metrics(completions, completions_groups),
        *pair_metrics(pairs, pairs_groups, tuned),
    ]
    parts = {
        name: completion_metrics(rows, completions_groups)
        for name, rows in parts_of(completions).items()
    } | {name: pair_metrics(rows, pairs_groups, tuned) for name, rows in parts_of(pairs).items()}
    sets = read_sets(arguments)
    measured = {
        **arguments.subject,
        "read": rows_read(arguments),
        "metrics": {metric.name: metric.summary() for metric in own},
        "sets": {answers.name: answers.summary() for answers in sets},
        "parts": {
            name: {"metrics": {metric.name: metric.summary() for metric in found}}
            for name, found in parts.items()
        },
    }
    lengths = [row["chosen_tokens"] if "chosen_tokens" in row else row["tokens"] for row in pairs]
    tokens = fmean(lengths) if lengths else None
    base, start = (
        read_object(path) if path else None
        for path in (arguments.base_metrics, arguments.start_metrics or arguments.base_metrics)
    )
    measured["signs"] = signs_of(measured, base, start, tokens) if base and start else []
    write_json(arguments.metrics, measured)
    scored: list[tuple[str | None, AnyMetric]] = [(None, metric) for metric in own]
    scored += [(answers.name, metric) for answers in sets for metric in answers.metrics]
    scored += [(name, metric) for name, found in parts.items() for metric in found]
    items = [
        {"set": name, "metric": metric.name, "weight": 1.0, **item}
        for name, metric in scored
        for item in metric.items
    ]
    write_rows(arguments.items, items, ITEMS)
    return 0


if __name__ == "__main__":
    run(main)
