"""Times the first steps of a trial on this machine, so that a plan can say how long it will take.

The trial is trained through its own trainer in a temporary folder, on rows drawn from its split.
Reference log-probs are computed for those rows only, and of the base: a trial that starts from a
merged adapter takes as long from there as from the base, so none is asked for. A start that is
overwritten is not asked for either: the trial is run as if it were merged, without the modules that
only the start has, and the probe says that it is of that pace.
"""

import argparse
import copy
import json
import random
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_json
from scripts.lm.devices import device_name
from scripts.train.pace import WARM_UP, pace_of

if TYPE_CHECKING:
    from transformers import Trainer

Part = dict[str, Any]


def probe_trial(trial: Part, steps: int) -> Part:
    """Returns the trial cut down to its first steps, without anything but training."""
    cut = copy.deepcopy(trial) | {"valid": None}
    cut["trainer"] |= {
        "max_steps": steps,
        "eval_strategy": "no",
        "eval_steps": None,
        "load_best_model_at_end": False,
    }
    if cut["method"] == "dpo":
        cut |= {"start": None, "start_as": "merged"}
    return cut


def draw(rows: list[Row], trial: Part, steps: int) -> list[Row]:
    """Returns as many rows as the steps take, drawn from all of them by the trial's seed.

    A split may be sorted, so its head would not do. A short split is taken whole.
    """
    trainer = trial["trainer"]
    wanted = steps * trainer["per_device_train_batch_size"]
    wanted *= trainer["gradient_accumulation_steps"]
    return random.Random(trial["seed"]).sample(rows, min(wanted, len(rows)))


def make_trainer(trial: Part, manifest: Path, rows: list[Row], work: Path) -> "Trainer":
    """Returns the trial's own trainer on the base model, with reference log-probs of the base.

    It starts the trial's backend, and so comes before anything that imports transformers.
    """
    from scripts.lm.backends import start_backend

    backend = start_backend(trial["backend"], work)

    from scripts.lm.adapters import lora_config
    from scripts.lm.pairs import pair_logps
    from scripts.lm.tokenizers import load_tokenizer
    from scripts.train.dpo import dpo_dataset, dpo_trainer
    from scripts.train.sft import sft_trainer
    from scripts.train.trials import make_reproducible

    make_reproducible(trial["seed"])
    trainer = trial["trainer"]
    checkpointing = trainer["gradient_checkpointing"]
    base = backend.load(manifest, trial["precision"], trial["quantization"], checkpointing)
    tokenizer = load_tokenizer(manifest)
    dataset = None
    if trial["method"] == "dpo":
        dataset = dpo_dataset(rows, pair_logps(base, rows), trainer["ld_alpha"])
    adapter = lora_config(base, trial["lora"])
    model = backend.attach(base, adapter, trial["seed"], checkpointing)
    if dataset is None:
        return sft_trainer(trial, model, tokenizer, rows, None, work)

    from scripts.train.dpo_trainer import StepZeroGate

    gate = StepZeroGate(model.dtype, trial)
    return dpo_trainer(trial, model, tokenizer, dataset, None, work, gate)


def measure(trial: Part, manifest: Path, rows: list[Row], steps: int) -> Part:
    """Trains the first steps and returns how fast it went.

    Raises
    ------
    BadInput
        When so few steps are asked for that none would be timed, or there are no rows.
    """
    if steps <= WARM_UP:
        raise BadInput(
            f"--steps: found {steps}; at least {WARM_UP + 1}, of which {WARM_UP} warm up"
        )
    if not rows:
        raise BadInput("the token split has no rows to train on")
    cut = probe_trial(trial, steps)
    with tempfile.TemporaryDirectory() as work:
        trainer = make_trainer(cut, manifest, draw(rows, trial, steps), Path(work))

        from scripts.train.stopwatch import Stopwatch
        from scripts.train.trials import train

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
    """Writes the probe."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.probe", description=__doc__)
    parser.add_argument("--trial", type=json.loads, required=True, help="the resolved trial")
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument("--tokens", type=Path, required=True, help="token split to train on")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps (default 20)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    rows = read_rows(arguments.tokens)
    write_json(arguments.out, measure(arguments.trial, arguments.model, rows, arguments.steps))
    return 0


if __name__ == "__main__":
    run(main)
