"""The baseline without a model: predicts test pairs from what training judged of each completion.

    python -m scripts.evaluate.lookup --train train.parquet --test test.parquet \\
        --dataset youtube-titles --metrics metrics.json --items items.parquet

Counts how often each completion of a group (the same prompt, unless the dataset names a column) won
and lost in the training pairs, and predicts in each test pair the completion with the higher win
rate; one that was never judged has a rate of a half, and ties count half. Where train and test
share no group it scores exactly one half: above that stands what a test gives away.

On the published split of youtube-titles (114 pairs, all of known completions) the win rate scores
82 / 114 = 71.9 %; wins alone, which favour what was judged often, score 70.6 %; wins minus losses
72.4 %.
"""

import argparse
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_json, write_rows
from scripts.common.rows import ITEMS
from scripts.common.texts import said
from scripts.evaluate.scores import MeanMetric, groups_of, item_metric

Completion = tuple[str, str]
"""Group and text."""


@dataclass
class Lookup:
    """What training pairs say of each completion."""

    wins: Counter[Completion] = field(default_factory=Counter)
    losses: Counter[Completion] = field(default_factory=Counter)

    @classmethod
    def of(cls, pairs: list[Row]) -> "Lookup":
        """Returns the counts of training pairs."""
        return cls(
            Counter(completion(pair, "chosen") for pair in pairs),
            Counter(completion(pair, "rejected") for pair in pairs),
        )

    def judged(self, one: Completion) -> int:
        """Returns how often training judged a completion."""
        return self.wins[one] + self.losses[one]

    def rate(self, one: Completion) -> float:
        """Returns the share of judgements that a completion won."""
        return self.wins[one] / self.judged(one) if self.judged(one) else 0.5

    def prediction(self, pair: Row) -> float:
        """Returns 1 where the chosen completion is predicted, 0 where not, 0.5 for a tie."""
        chosen, rejected = (self.rate(completion(pair, side)) for side in ("chosen", "rejected"))
        return 0.5 if chosen == rejected else float(chosen > rejected)

    def knows(self, pair: Row) -> bool:
        """Returns whether training judged both completions."""
        return all(self.judged(completion(pair, side)) for side in ("chosen", "rejected"))


def completion(pair: Row, side: str) -> Completion:
    """Returns one completion of a pair as it is looked up."""
    return pair["group"], said(pair[side])


def lookup_metrics(train: list[Row], test: list[Row]) -> list[MeanMetric]:
    """Returns the accuracy of the lookup, and the share of pairs that it knows."""
    lookup, groups = Lookup.of(train), groups_of(test)
    return [
        item_metric(test, groups, "preference_accuracy", lookup.prediction, share=True),
        item_metric(test, groups, "known_pairs", lookup.knows, share=True),
    ]


def _pairs(path: Path) -> list[Row]:
    rows = read_rows(path)
    if not rows or "chosen" not in rows[0]:
        found = f"columns {', '.join(rows[0])}" if rows else "no rows"
        raise BadInput(f"{path}: found {found}; a lookup needs preference pairs")
    return rows


def main(argv: list[str] | None = None) -> int:
    """Writes metrics.json and items.parquet."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evaluate.lookup",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--train", type=Path, required=True, help="canonical training pairs")
    parser.add_argument("--test", type=Path, required=True, help="canonical pairs to predict")
    parser.add_argument("--dataset", required=True, help="the dataset's name")
    parser.add_argument("--root", type=Path, required=True, help="the results folder")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--items", type=Path, required=True, help="Parquet file to write")
    arguments = parser.parse_args(argv)
    metrics = lookup_metrics(_pairs(arguments.train), _pairs(arguments.test))
    measured = {
        "name": "lookup",
        "dataset": arguments.dataset,
        "method": "lookup",
        "seed": None,
        "read": {"pairs": Path(os.path.relpath(arguments.test, arguments.root)).as_posix()},
        "metrics": {metric.name: metric.summary() for metric in metrics},
    }
    write_json(arguments.metrics, measured)
    items = [
        {"metric": metric.name, "weight": 1.0, **item}
        for metric in metrics
        for item in metric.items
    ]
    write_rows(arguments.items, items, ITEMS)
    return 0


if __name__ == "__main__":
    run(main)
