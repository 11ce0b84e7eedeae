"""Computes every figure of one model from the rows that scoring wrote, each with its interval.

Makes metrics.json, and items.parquet with each item's score for paired tests.
"""

import argparse
import json
from dataclasses import dataclass
from functools import cached_property, partial
from math import exp, log1p
from pathlib import Path

from scripts.common.cli import run
from scripts.common.files import Row, read_rows, write_json, write_rows
from scripts.common.rows import ITEMS
from scripts.common.texts import cut
from scripts.evaluate.answers import final_number, marked_number
from scripts.evaluate.calibration import calibration_error
from scripts.evaluate.divergence import divergence_figures
from scripts.evaluate.diversity import diversity_figures
from scripts.evaluate.figures import AnyFigure, Figure, WholeFigure, groups_of, item_figure
from scripts.evaluate.intervals import BOOTSTRAP
from scripts.evaluate.likeness import likeness_figures
from scripts.evaluate.titles import title_figures
from scripts.evaluate.win_rate import length_controlled, win_figures, with_verdicts

RULES = {"titles": title_figures}
"""What a set's answers can be held against, by the name of its rules."""

# ----------------------------------------------------------------------------------- completions


def completion_figures(rows: list[Row], groups: dict[str, str]) -> list[AnyFigure]:
    """Returns the held-out loss of demonstrations, and their perplexity."""
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
    loss = Figure("held_out_loss", "nats per token", definition, items)
    return [loss, perplexity(loss)]


def perplexity(loss: Figure) -> WholeFigure:
    """Returns exp of the held-out loss; its interval is exp of that one's."""
    summary = loss.summary()
    bounds = summary["intervals"].get(BOOTSTRAP)
    return WholeFigure(
        "perplexity",
        "1 or more",
        "exp of the held-out loss: of a completion token, as this model's tokenizer cuts it",
        exp(summary["value"]),
        [item["group"] for item in loss.items],
        BOOTSTRAP,
        bounds and (exp(bounds[0]), exp(bounds[1])),
    )


# ----------------------------------------------------------------------------------------- pairs


def pair_figures(rows: list[Row], groups: dict[str, str], tuned: bool) -> list[AnyFigure]:
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
        figure(
            "policy_token_accuracy",
            "share",
            "pairs whose chosen completion has the higher log-prob per token under the model; ties "
            "half",
            lambda row: _wins(
                row["chosen_logp"] / row["chosen_tokens"]
                - row["rejected_logp"] / row["rejected_tokens"]
            ),
            share=True,
        ),
        logp("chosen_logp", "chosen_logp", "chosen"),
        logp("rejected_logp", "rejected_logp", "rejected"),
        figure(
            "length_difference",
            "tokens",
            "mean tokens of the chosen completion minus those of the rejected one",
            lambda row: row["chosen_tokens"] - row["rejected_tokens"],
        ),
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
        calibration_error(rows, groups),
        *raw,
        figure(
            "chosen_change",
            "nats",
            "mean log-prob of the chosen completion minus that under the reference",
            lambda row: row["chosen_logp"] - row["reference_chosen_logp"],
        ),
        figure(
            "rejected_change",
            "nats",
            "mean log-prob of the rejected completion minus that under the reference",
            lambda row: row["rejected_logp"] - row["reference_rejected_logp"],
        ),
        figure(
            "chosen_fell",
            "share",
            "pairs whose chosen completion is less likely than under the reference; ties half",
            lambda row: _wins(row["reference_chosen_logp"] - row["chosen_logp"]),
            share=True,
        ),
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


def extracted(rows: list[Row], after: str | None, before: str | None) -> list[Row]:
    """Returns the answers, each cut to the part that is scored."""
    return [row | {"text": cut(row["text"], after, before)} for row in rows]


def generation_figures(
    rows: list[Row], groups: dict[str, str], answers: dict[str, str]
) -> list[Figure]:
    """Returns the figures of answers; exact match over those whose known answer has a number.

    Strict exact match is over those whose known answer has one behind `####`.
    """
    if not rows:
        return []

    figure = partial(item_figure, rows, groups)
    figures = [
        figure(
            "stop_rate",
            "share",
            "answers that end by themselves",
            lambda row: row["stop"] == "eos",
            share=True,
        ),
        figure(
            "generated_tokens",
            "tokens",
            "mean new tokens of an answer",
            lambda row: row["tokens"],
        ),
    ]
    return [*figures, *_exact_matches(rows, groups, answers)]


def _exact_matches(
    rows: list[Row], groups: dict[str, str], answers: dict[str, str]
) -> list[Figure]:
    """Returns both exact matches, each over the items whose known answer has such a number."""
    readings = {
        "exact_match": (
            final_number,
            "answers whose final number equals the known answer's; a number behind #### goes "
            "before all others, else this is lm-evaluation-harness's flexible-extract",
        ),
        "exact_match_strict": (
            marked_number,
            "answers whose first number behind #### is the known answer's, as written but for "
            "commas: lm-evaluation-harness's strict-match on GSM8K",
        ),
    }
    figures = []
    for name, (read, definition) in readings.items():
        numbers = {row["id"]: read(answers.get(row["id"], "")) for row in rows}
        known = [row for row in rows if numbers[row["id"]] is not None]
        if known:
            figures.append(
                item_figure(
                    known,
                    groups,
                    name,
                    "share",
                    definition,
                    lambda row, read=read, numbers=numbers: read(row["text"]) == numbers[row["id"]],
                    share=True,
                )
            )
    return figures


# ------------------------------------------------------------------------------- sets of prompts


@dataclass(frozen=True)
class Answers:
    """One model's answers to a set of prompts, as far as they are scored."""

    name: str
    settings: Row
    rows: list[Row]
    groups: dict[str, str]
    known: dict[str, str]
    """The known answer by id; empty where the set has none."""
    left_out: int

    @cached_property
    def figures(self) -> list[AnyFigure]:
        """Every figure of the answers."""
        if not self.rows:
            return []
        rows, groups = self.rows, self.groups
        figures = [
            *generation_figures(rows, groups, self.known),
            *diversity_figures(rows, groups),
            *divergence_figures(rows, groups),
            *win_figures(rows, groups),
        ]
        if self.known:
            figures += likeness_figures(rows, groups, self.known)
        if self.settings["rules"]:
            figures += RULES[self.settings["rules"]](rows, groups)
        return figures

    def summary(self) -> Row:
        """Returns the set's settings, how many items were left out, and all figures."""
        figures = {figure.name: figure.summary() for figure in self.figures}
        figures |= length_controlled(self.rows, self.groups)
        return {"settings": self.settings, "left_out": self.left_out, "figures": figures}


def answers_to(
    name: str, settings: Row, generations: list[Row], prompts: list[Row], overlap: set[str]
) -> Answers:
    """Returns what is scored of a set: answers cut to their part, less items that overlap.

    Nothing of a set that is only to be read.
    """
    mine = [row for row in generations if row["set"] == name and settings["scored"]]
    kept = [row for row in mine if row["id"] not in overlap]
    rows = extracted(kept, settings["answer_after"], settings["answer_before"])
    known = {row["id"]: row["completion"][-1]["content"] for row in prompts if "completion" in row}
    return Answers(name, settings, rows, groups_of(prompts), known, len(mine) - len(kept))


# ---------------------------------------------------------------------------------- command line


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Returns the command line's arguments."""
    parser = argparse.ArgumentParser(prog="python -m scripts.evaluate.measure", description=__doc__)
    parser.add_argument("--subject", type=json.loads, required=True, help="what was scored")
    for kind in ("completions", "pairs"):
        parser.add_argument(f"--{kind}", type=Path, required=True, help=f"{kind}.parquet")
        parser.add_argument(f"--{kind}-rows", type=Path, help="the canonical split behind it")
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
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--items", type=Path, required=True, help="Parquet file to write")
    return parser.parse_args(argv)


def read_sets(arguments: argparse.Namespace) -> list[Answers]:
    """Returns the answers of every set."""
    verdicts = read_rows(arguments.verdicts) if arguments.verdicts else []
    generations = with_verdicts(read_rows(arguments.generations), verdicts)
    overlaps = iter(arguments.overlaps)
    return [
        answers_to(
            name,
            settings,
            generations,
            read_rows(path),
            {row["id"] for row in read_rows(next(overlaps))} if settings["overlap"] else set(),
        )
        for (name, settings), path in zip(arguments.sets.items(), arguments.sets_rows, strict=True)
    ]


def main(argv: list[str] | None = None) -> int:
    """Writes metrics.json and items.parquet."""
    arguments = parse_arguments(argv)

    def canonical(path: Path | None) -> list[Row]:
        return read_rows(path) if path else []

    figures = [
        *completion_figures(
            read_rows(arguments.completions), groups_of(canonical(arguments.completions_rows))
        ),
        *pair_figures(
            read_rows(arguments.pairs),
            groups_of(canonical(arguments.pairs_rows)),
            tuned=arguments.subject["method"] != "base",
        ),
    ]
    sets = read_sets(arguments)
    metrics = {
        **arguments.subject,
        "figures": {figure.name: figure.summary() for figure in figures},
        "sets": {answers.name: answers.summary() for answers in sets},
    }
    write_json(arguments.metrics, metrics)
    scored = [(None, figure) for figure in figures]
    scored += [(answers.name, figure) for answers in sets for figure in answers.figures]
    items = [
        {"set": name, "figure": figure.name, "weight": 1.0, **item}
        for name, figure in scored
        for item in figure.items
    ]
    write_rows(arguments.items, items, ITEMS)
    return 0


if __name__ == "__main__":
    run(main)
