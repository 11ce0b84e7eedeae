"""Time the first steps of a trial on this machine, so that an estimate can say how long it takes.

The trial is trained by its own trainer in a temporary folder, on rows drawn from its split. It
starts from the base, which is as fast as starting from an adapter, so it needs no other trial; and
a reference is the base too, computed for the drawn rows only.
"""

import argparse
import copy
import importlib
import json
import random
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_json
from scripts.train.estimate.pace import pace_of
from scripts.train.starts import from_base

if TYPE_CHECKING:
    from scripts.train.layouts import LaidOutTrainer

Part = dict[str, Any]


def first_steps(trial: Part, steps: int) -> Part:
    """Return the trial cut down to its first steps, from the base, without evaluation."""
    cut = copy.deepcopy(trial) | {"valid": None}
    cut["trainer"] |= {
        "max_steps": steps,
        "eval_strategy": "no",
        "eval_steps": None,
        "load_best_model_at_end": False,
    }
    return from_base(cut)


def draw(rows: list[Row], trial: Part, steps: int) -> list[Row]:
    """Return as many rows as the steps take, drawn from all of them by the trial's seed.

    Not the first rows, because a split may be sorted. A short split is taken whole.
    """
    trainer = trial["trainer"]
    wanted = steps * trainer["per_device_train_batch_size"]
    wanted *= trainer["gradient_accumulation_steps"]
    return random.Random(trial["seed"]).sample(rows, min(wanted, len(rows)))


def trainer_of(trial: Part, manifest: Path, rows: list[Row], work: Path) -> "LaidOutTrainer":
    """Return the trainer of a trial's method on the base model, its reference the base.

    It starts the trial's backend, so it has to come before any import of transformers.
    """
    from scripts.lm.backends import start_backend

    backend = start_backend(trial["backend"], work)

    from scripts.lm.tokenizers import load_tokenizer
    from scripts.train.run import make_reproducible, make_trainer
    from scripts.train.starts import start_of

    kind = importlib.import_module(f"scripts.train.{trial['method']}").TRAINER
    make_reproducible(trial["seed"])
    checkpointing = trial["trainer"]["gradient_checkpointing"]
    base = backend.load(manifest, trial["precision"], trial["quantization"], checkpointing)
    reference = kind.reference_of(base, trial, rows) if trial.get("reference") else None
    dataset = kind.make_dataset(trial, rows, reference)
    model = start_of(trial).attach(backend, base, trial, None)
    return make_trainer(kind, trial, model, load_tokenizer(manifest), dataset, None, work)


def measure(trial: Part, manifest: Path, rows: list[Row], steps: int) -> Part:
    """Train the first steps and return how fast they were.

    Raises
    ------
    BadInput
        When so few steps are asked for that none would be timed.
    """
    cut = first_steps(trial, steps)
    with tempfile.TemporaryDirectory() as work:
        trainer = trainer_of(cut, manifest, draw(rows, trial, steps), Path(work))

        from scripts.lm.devices import device_name
        from scripts.train.costs import WARM_UP, Stopwatch
        from scripts.train.run import train

        if steps <= WARM_UP:
            raise BadInput(
                f"--steps: found {steps}; at least {WARM_UP + 1}, of which {WARM_UP} warm up"
            )
        watch = Stopwatch()
        watch.watch(trainer)
        result = train(trainer, cut)
    seconds, real, padded = zip(*watch.steps()[WARM_UP:], strict=True)
    return {
        "device": device_name(),
        "steps": steps,
        "timed_steps": len(seconds),
        "step_seconds": median(seconds),
        "real_tokens_per_second": sum(real) / sum(seconds),
        "padded_tokens_per_second": sum(padded) / sum(seconds),
        "peak_memory_mb": result["peak_memory_mb"],
        "precision": result["precision"],
        "versions": result["versions"],
        "for": pace_of(cut),
    }


def main(argv: list[str] | None = None) -> int:
    """Write the probe; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train.estimate.probe", description=__doc__
    )
    parser.add_argument("--trial", type=json.loads, required=True, help="the resolved trial")
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument("--tokens", type=Path, required=True, help="token split to train on")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps (default 20)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    rows = read_rows(arguments.tokens)
    if not rows:
        raise BadInput(f"{arguments.tokens}: no rows to train on")
    write_json(arguments.out, measure(arguments.trial, arguments.model, rows, arguments.steps))
    return 0


if __name__ == "__main__":
    run(main)
