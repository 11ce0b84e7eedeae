"""Make a sweep of very many measured trials from a run with few.

python -m tests.workflow.sweep results/demo tutor /tmp/sweep --trials 1000
"""

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scripts.common.files import (
    Row,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_table,
)
from scripts.common.metrics import METRICS

METHODS = ("sft", "dpo")
RANKS = (2, 4, 8, 16, 32, 64)
LEARNING_RATES = (1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 4e-3)
VARIED = 0.1
"""A trial's value differs from the first trial's by about this share."""


def many(results: Path, experiment: str, out: Path, trials: int) -> Row:
    """Write `trials` trials into `out`, half of them SFT, and return the experiment's plan.

    Each is a copy of the experiment's first trial of its method under another name, with other
    hyperparameters, and with every metric, item, loss and time changed a little, so that trials
    differ as in a sweep. The base, the lookups and the data are the run's.
    """
    for room in ("bases", "baselines", "data", "references", "tokens"):
        shutil.copytree(results / room, out / room)
    plan = {
        "experiment": experiment,
        "title": "A sweep",
        "base": read_json(results / "bases" / experiment / "metrics.json")["name"],
        "trials": {},
        "lookup": _lookup_of(results, experiment),
        "shown": {},
    }
    draw = np.random.default_rng(0)
    for method in METHODS:
        model = _first(results, experiment, method)
        rows = pq.read_table(model / "items.parquet")
        for number in range(trials // 2):
            name = f"{method}-{number}"
            _multiply(model, rows, out / "trials" / name, name, draw)
            plan["trials"].setdefault(method, []).append(f"{name}/{model.name}")
    return plan


def _first(results: Path, experiment: str, method: str) -> Path:
    """Return the folder of an experiment's first trial of a method, with its first seed."""
    for path in sorted(results.glob("trials/*/seed-*/metrics.json")):
        metrics = read_json(path)
        if (metrics["experiment"], metrics["method"]) == (experiment, method):
            return path.parent
    raise ValueError(f"{results}: no {method} trial of {experiment}")


def _lookup_of(results: Path, experiment: str) -> str | None:
    """Return the lookup of the pairs of an experiment's preference trials."""
    trial = read_json(_first(results, experiment, "dpo") / "trial.json")
    found = sorted(results.glob(f"baselines/{trial['dataset']}.*"))
    return found[0].name if found else None


def _multiply(
    model: Path, items: pa.Table, folder: Path, name: str, draw: np.random.Generator
) -> None:
    """Write one more trial with one seed."""

    def moved() -> float:
        return float(1 + VARIED * draw.standard_normal())

    run = folder / model.name
    run.mkdir(parents=True)
    trial = read_json(model / "trial.json") | {"name": name}
    trial["lora"] |= {"r": int(draw.choice(RANKS)), "lora_alpha": int(draw.choice(RANKS))}
    trial["trainer"] |= {"learning_rate": float(draw.choice(LEARNING_RATES))}
    if trial.get("start"):
        trial["start"] = f"trials/sft-0/{model.name}"
    write_json(run / "trial.json", trial)
    for kind in ("train", "score"):
        cost = read_json(model / f"{kind}.json")
        write_json(run / f"{kind}.json", cost | {"seconds": cost["seconds"] * moved()})
    scale = moved()
    lines = [
        line | {key: line[key] * scale for key in ("loss", "eval_loss") if key in line}
        for line in read_jsonl(model / "history.jsonl")
    ]
    write_jsonl(run / "history.jsonl", lines)
    for source, target in ((model, run), (model.parent, folder)):
        metrics = read_json(source / "metrics.json") | {"name": name}
        for name, value in _values(metrics):
            _move(name, value, moved)
        write_json(target / "metrics.json", metrics)
    write_table(run / "items.parquet", _other_scores(items, draw))
    shutil.copyfile(model / "generations.parquet", run / "generations.parquet")


def _values(metrics: Row) -> list[tuple[str, Row]]:
    places = [metrics, *metrics["sets"].values()]
    return [found for place in places for found in place["metrics"].items()]


def _move(name: str, found: Row, moved: Callable[[], float]) -> None:
    """Change a metric and its intervals together; a share stays at most 1."""
    if found["value"] is None:
        return
    new = found["value"] * moved()
    new = min(new, 1.0) if METRICS[name].unit == "share" else new
    by = new - found["value"]
    found["value"] = new
    found["intervals"] = {
        kind: [bound + by for bound in bounds] for kind, bounds in found["intervals"].items()
    }
    if "seeds" in found:
        found["seeds"] = dict.fromkeys(found["seeds"], new)


def _other_scores(items: pa.Table, draw: np.random.Generator) -> pa.Table:
    """Return items with other scores: one success in ten is flipped, other scores change."""
    scores = items["score"].to_numpy()
    single = np.isin(scores, (0.0, 1.0))
    swapped = np.where(draw.random(len(scores)) < VARIED, 1 - scores, scores)
    moved = scores * (1 + VARIED * draw.standard_normal(len(scores)))
    place = items.schema.get_field_index("score")
    return items.set_column(place, "score", pa.array(np.where(single, swapped, moved)))


def main() -> None:
    """Write the sweep, and its plan as plan.json."""
    parser = argparse.ArgumentParser(description=many.__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("experiment")
    parser.add_argument("out", type=Path)
    parser.add_argument("--trials", type=int, default=1000)
    args = parser.parse_args()
    plan = many(args.results, args.experiment, args.out, args.trials)
    (args.out / "plan.json").write_text(json.dumps([plan]), encoding="utf-8")


if __name__ == "__main__":
    main()
