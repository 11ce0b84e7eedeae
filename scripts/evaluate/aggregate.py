"""Put the seeds of a trial together: the mean over seeds of every metric, and its deviation.

    python -m scripts.evaluate.aggregate --subject '{"name": "dpo-r16", …}' \\
        --metrics seed-0/metrics.json seed-1/metrics.json \\
        --items seed-0/items.parquet seed-1/items.parquet --out metrics.json

A metric that is a mean over items gets an interval that draws seeds and groups; with one seed it
keeps its own intervals. One that is not, such as corpus BLEU, gets no interval over several seeds:
the mean of their bounds would not be an interval of the mean.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean, stdev

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_object, read_rows, write_json
from scripts.evaluate.intervals import Interval, crossed_bootstrap
from scripts.evaluate.paired import by_group

Key = tuple[str | None, str]
"""A set of prompts, or None, and a metric."""
Items = dict[Key, list[Row]]


def aggregate(subject: Row, metrics: list[Row], items: list[Items]) -> Row:
    """Return the metrics of a trial from those of its seeds.

    Parameters
    ----------
    items
        The items of each seed; empty for one seed.
    """
    seeds = [str(one["seed"]) for one in metrics]

    def together(set_name: str | None, places: list[Row]) -> Row:
        # A seed may lack a metric, such as the result of a regression that has no fit.
        names = dict.fromkeys(name for place in places for name in place)
        return {
            name: over_seeds(
                dict(zip(seeds, (place.get(name) for place in places), strict=True)),
                [rows.get((set_name, name), []) for rows in items],
            )
            for name in names
        }

    sets = {
        name: {
            **of_set,
            "metrics": together(name, [one["sets"][name]["metrics"] for one in metrics]),
        }
        for name, of_set in metrics[0]["sets"].items()
    }
    parts = {
        name: {"metrics": together(name, [one["parts"][name]["metrics"] for one in metrics])}
        for name in metrics[0].get("parts", {})
    }
    return {
        **subject,
        "seeds": [one["seed"] for one in metrics],
        "read": metrics[0]["read"],
        "metrics": together(None, [one["metrics"] for one in metrics]),
        "sets": sets,
        "parts": parts,
        "signs": [
            found | {"seed": one["seed"]} for one in metrics for found in one.get("signs", [])
        ],
    }


def over_seeds(found: dict[str, Row | None], items: list[list[Row]]) -> Row:
    """Return a metric's mean over seeds, their standard deviation (n - 1) and each seed's value.

    There is no mean if a seed lacks the metric.

    Parameters
    ----------
    found
        The metric by seed, as `measure` wrote it, or None.
    items
        Its items by seed; empty if it is not a mean over items.
    """
    first = next(metric for metric in found.values() if metric)
    each = {"seeds": {seed: metric["value"] if metric else None for seed, metric in found.items()}}
    if len(found) == 1:
        return first | {"sd": None} | each
    values = [metric["value"] for metric in found.values() if metric]
    whole = len(values) == len(found) and None not in values
    interval = crossed_interval(items) if whole and items and all(items) else None
    return first | {
        "value": fmean(values) if whole else None,
        "sd": stdev(values) if whole else None,
        "n": len({row["id"] for rows in items for row in rows}) or first["n"],
        "groups": len({row["group"] for rows in items for row in rows}) or first["groups"],
        "intervals": {"group bootstrap": interval} if interval else {},
        **each,
    }


def crossed_interval(items: list[list[Row]]) -> Interval | None:
    """Return the interval of a mean over seeds, from the items of each seed."""
    from numpy import array, zeros

    names = dict.fromkeys(row["group"] for rows in items for row in rows)
    places = {group: place for place, group in enumerate(names)}
    sums = zeros((2, len(items), len(places)))
    for seed, rows in enumerate(items):
        mine = array([places[row["group"]] for row in rows])
        for part, column in enumerate(("score", "weight")):
            # A group of which this seed has no item weighs nothing in it.
            present = array(sorted(set(mine.tolist())))
            dense = array([row[column] for row in rows])[None]
            sums[part, seed, present] = by_group(dense, present.searchsorted(mine))[0]
    return crossed_bootstrap(*sums)


# ---------------------------------------------------------------------------------- command line


def read_metrics(paths: list[Path]) -> list[Row]:
    """Return the metrics of each seed. Raise BadInput if one lacks a set that another has."""
    metrics = [read_object(path) for path in paths]
    for path, one in zip(paths, metrics, strict=True):
        for other_path, other in zip(paths, metrics, strict=True):
            lacks = other["sets"].keys() - one["sets"].keys()
            if lacks:
                raise BadInput(f"{path}: has no sets.{min(lacks)}, which {other_path} has")
    return metrics


def read_items(path: Path) -> Items:
    """Return the items of each metric."""
    found: Items = {}
    for row in read_rows(path):
        found.setdefault((row["set"], row["metric"]), []).append(row)
    return found


def main(argv: list[str] | None = None) -> int:
    """Write the trial's metrics.json."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.evaluate.aggregate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--subject", type=json.loads, required=True, help="which trial it is")
    parser.add_argument("--metrics", type=Path, nargs="+", required=True, help="one for each seed")
    parser.add_argument("--items", type=Path, nargs="+", required=True, help="one for each seed")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    metrics = read_metrics(arguments.metrics)
    items = [read_items(path) for path in arguments.items] if len(metrics) > 1 else []
    write_json(arguments.out, aggregate(arguments.subject, metrics, items))
    return 0


if __name__ == "__main__":
    run(main)
