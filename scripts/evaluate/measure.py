"""Computes every figure of one model from the rows that scoring wrote, each with its interval.

Makes metrics.json, and items.parquet with each item's score for paired tests.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import exp, log1p
from pathlib import Path

from scripts.common.cli import run
from scripts.common.files import Row, read_rows, write_json, write_rows
from scripts.common.rows import ITEMS
from scripts.evaluate.answers import final_number
from scripts.evaluate.intervals import group_bootstrap, wilson


@dataclass(frozen=True)
class Figure:
    """A figure that is a mean over items: sum of scores over sum of weights."""

    name: str
    unit: str
    definition: str
    items: list[Row]
    """id, group and score; and weight, where items do not count alike."""
    share: bool = False
    """Whether each item is a success, a failure or (0.5) a tie."""

    def summary(self) -> Row:
        """Returns value, n, number of groups, unit, intervals and definition."""
        scores = [item["score"] for item in self.items]
        weights = [item.get("weight", 1.0) for item in self.items]
        groups = [item["group"] for item in self.items]
        intervals = {}
        if self.share:
            intervals["wilson"] = wilson(sum(scores), len(scores))
        resampled = group_bootstrap(scores, weights, groups)
        if resampled:
            intervals["group bootstrap"] = resampled
        return {
            "value": sum(scores) / sum(weights),
            "n": len(self.items),
            "groups": len(set(groups)),
            "unit": self.unit,
            "intervals": intervals,
            "definition": self.definition,
        }


def item_figure(
    rows: list[Row],
    groups: dict[str, str],
    name: str,
    unit: str,
    definition: str,
    score: Callable[[Row], float],
    share: bool = False,
) -> Figure:
    """Returns the figure of which each row is an item that counts once."""
    items = [
        {"id": row["id"], "group": groups[row["id"]], "score": float(score(row))} for row in rows
    ]
    return Figure(name, unit, definition, items, share)


# ----------------------------------------------------------------------------------- completions


def completion_figures(rows: list[Row], groups: dict[str, str]) -> list[Figure]:
    """Returns the held-out loss of demonstrations."""
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
    definition = "negative log-prob of held-out completions, summed, per completion token"
    return [Figure("held_out_loss", "nats per token", definition, items)]


# ----------------------------------------------------------------------------------------- pairs


def pair_figures(rows: list[Row], groups: dict[str, str], tuned: bool) -> list[Figure]:
    """Returns the figures of preference pairs; a base, its own reference, has only raw ones."""
    if not rows:
        return []

    figure = partial(item_figure, rows, groups)

    def logp(name: str, column: str, whose: str) -> Figure:
        definition = f"mean log-prob of the {whose} completion, summed over its tokens"
        return figure(name, "nats", definition, lambda row: row[column])

    raw = [
        figure(
            "policy_accuracy",
            "share",
            "pairs whose chosen completion has the higher log-prob under the model; ties half",
            lambda row: _wins(row["chosen_logp"] - row["rejected_logp"]),
            share=True,
        ),
        logp("chosen_logp", "chosen_logp", "chosen"),
        logp("rejected_logp", "rejected_logp", "rejected"),
    ]
    if not tuned:
        return raw
    return [
        figure(
            "preference_accuracy",
            "share",
            "pairs whose chosen completion has the higher implicit reward; ties count half",
            lambda row: _wins(row["margin"]),
            share=True,
        ),
        figure(
            "preference_loss",
            "nats",
            "mean -log sigmoid(margin), the sigmoid DPO loss, whatever the trial's objective",
            lambda row: _softplus(-row["margin"]),
        ),
        figure(
            "margin",
            "nats",
            "mean implicit reward of chosen minus that of rejected, beta included",
            lambda row: row["margin"],
        ),
        *raw,
        figure(
            "reference_accuracy",
            "share",
            "pairs whose chosen completion has the higher log-prob under the reference; ties half",
            lambda row: _wins(row["reference_chosen_logp"] - row["reference_rejected_logp"]),
            share=True,
        ),
        logp("reference_chosen_logp", "reference_chosen_logp", "chosen"),
        logp("reference_rejected_logp", "reference_rejected_logp", "rejected"),
    ]


def _wins(difference: float) -> float:
    return 0.5 if difference == 0 else float(difference > 0)


def _softplus(x: float) -> float:
    return max(x, 0.0) + log1p(exp(-abs(x)))


# ----------------------------------------------------------------------------------- generations


def decoding(settings: Row) -> str:
    """Returns how answers were generated, in words."""
    sampled = [f"{key} {settings[key]}" for key in ("temperature", "top_p") if settings[key]]
    way = ", ".join(["sampled", *sampled]) if settings["do_sample"] else "greedy"
    return f"{way}, at most {settings['max_new_tokens']} new tokens"


def generation_figures(
    rows: list[Row], groups: dict[str, str], answers: dict[str, str], how: str
) -> list[Figure]:
    """Returns the figures of answers; exact match over those whose known answer has a number."""
    if not rows:
        return []

    figure = partial(item_figure, rows, groups)
    figures = [
        figure(
            "stop_rate",
            "share",
            f"answers that end by themselves ({how})",
            lambda row: row["stop"] == "eos",
            share=True,
        ),
        figure(
            "generated_tokens",
            "tokens",
            f"mean new tokens of an answer ({how})",
            lambda row: row["tokens"],
        ),
    ]
    numbers = {row["id"]: final_number(answers.get(row["id"], "")) for row in rows}
    known = [row for row in rows if numbers[row["id"]] is not None]
    if known:
        figures.append(
            item_figure(
                known,
                groups,
                "exact_match",
                "share",
                f"answers whose final number equals the known answer's ({how})",
                lambda row: final_number(row["text"]) == numbers[row["id"]],
                share=True,
            )
        )
    return figures


def bleu_summary(rows: list[Row], groups: dict[str, str], answers: dict[str, str], how: str) -> Row:
    """Returns corpus BLEU against the known answers; it is no mean over items."""
    from scripts.evaluate.bleu import DESCRIPTION, bleu, bleu_interval

    texts = [row["text"] for row in rows], [answers[row["id"]] for row in rows]
    score = bleu(*texts)
    interval = bleu_interval(*texts, [groups[row["id"]] for row in rows])
    return {
        "value": score["bleu"],
        "n": len(rows),
        "groups": len({groups[row["id"]] for row in rows}),
        "unit": "0 to 1",
        "intervals": {"group bootstrap": interval} if interval else {},
        "definition": f"{DESCRIPTION} ({how}; sacrebleu {score['signature']})",
    }


# ---------------------------------------------------------------------------------- command line


def groups_of(rows: list[Row]) -> dict[str, str]:
    """Returns each row's group by id."""
    return {row["id"]: row["group"] for row in rows}


def answers_of(rows: list[Row]) -> dict[str, str]:
    """Returns the known answer of each demonstration by id; pairs have none."""
    return {row["id"]: row["completion"][-1]["content"] for row in rows if "completion" in row}


def main(argv: list[str] | None = None) -> int:
    """Writes metrics.json and items.parquet."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate.measure", description=__doc__)
    parser.add_argument("--subject", type=json.loads, required=True, help="what was scored")
    for kind in ("completions", "pairs", "generations"):
        parser.add_argument(f"--{kind}", type=Path, required=True, help=f"{kind}.parquet")
        parser.add_argument(f"--{kind}-rows", type=Path, help="the canonical split behind it")
    parser.add_argument("--generate", type=json.loads, help="how answers were generated")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--items", type=Path, required=True, help="Parquet file to write")
    arguments = parser.parse_args(argv)

    def canonical(path: Path | None) -> list[Row]:
        return read_rows(path) if path else []

    generations = read_rows(arguments.generations)
    prompts = canonical(arguments.generations_rows)
    answers = answers_of(prompts)
    how = decoding(arguments.generate) if generations else ""
    figures = [
        *completion_figures(
            read_rows(arguments.completions), groups_of(canonical(arguments.completions_rows))
        ),
        *pair_figures(
            read_rows(arguments.pairs),
            groups_of(canonical(arguments.pairs_rows)),
            tuned=arguments.subject["method"] != "base",
        ),
        *generation_figures(generations, groups_of(prompts), answers, how),
    ]
    summaries = {figure.name: figure.summary() for figure in figures}
    if generations and answers:
        summaries["bleu"] = bleu_summary(generations, groups_of(prompts), answers, how)
    write_json(arguments.metrics, {**arguments.subject, "figures": summaries})
    items = [
        {"figure": figure.name, "weight": 1.0, **item}
        for figure in figures
        for item in figure.items
    ]
    write_rows(arguments.items, items, ITEMS)
    return 0


if __name__ == "__main__":
    run(main)
