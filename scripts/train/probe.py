"""Times the first steps of a trial on this machine, so that a plan can say how long it will take.

The trial is trained through its own trainer in a temporary folder, on rows drawn from its split.
Reference log-probs are computed for those rows only, and of the base: a trial that starts from a
merged adapter takes as long from there as from the base, so none is asked for.
"""

import argparse
import copy
import json
import platform
import random
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows, write_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, Trainer

Part = dict[str, Any]

WARM_UP = 2
"""Steps that are not timed: kernels are chosen and memory is claimed in them."""


def pace_of(trial: Part) -> Part:
    """Returns what of a trial determines its speed; trials that agree in it run alike."""
    trainer, lora = trial["trainer"], trial["lora"]
    targets = lora["target_modules"]
    return {
        **{key: trial[key] for key in ("method", "model", "tokens", "precision", "quantization")},
        "backend": trial.get("backend", "transformers"),
        "batch": trainer["per_device_train_batch_size"],
        "accumulation": trainer["gradient_accumulation_steps"],
        "gradient_checkpointing": trainer["gradient_checkpointing"],
        "optim": trainer["optim"],
        "lora": {
            "r": lora["r"],
            "target_modules": targets if isinstance(targets, str) else sorted(targets),
            "dropout": lora["lora_dropout"] > 0 and not trainer.get("disable_dropout", False),
        },
    }


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
        cut["start"] = None
    return cut


def draw(rows: list[Row], trial: Part, steps: int) -> list[Row]:
    """Returns as many rows as the steps take, drawn from all of them by the trial's seed.

    A split may be sorted, so its head would not do. A short split is taken whole.
    """
    trainer = trial["trainer"]
    wanted = steps * trainer["per_device_train_batch_size"]
    wanted *= trainer["gradient_accumulation_steps"]
    return random.Random(trial["seed"]).sample(rows, min(wanted, len(rows)))


class Stopwatch(TrainerCallback):
    """Takes the time and the tokens of every step of a trainer."""

    def __init__(self) -> None:
        self.ends: list[float] = []
        self.batches: list[list[tuple[int, torch.Tensor | int]]] = []
        self._step: list[tuple[int, torch.Tensor | int]] = []

    def watch(self, trainer: "Trainer") -> None:
        """Watches a trainer from its next step on."""
        trainer.add_callback(self)
        inner = trainer.training_step

        def counted(model: "PreTrainedModel", inputs: Part, *args: Any, **more: Any) -> Any:
            ids, attention = inputs["input_ids"], inputs.get("attention_mask")
            # Summed up on the device and read later, because reading waits for the GPU.
            real = ids.numel() if attention is None else attention.sum()
            self._step.append((ids.numel(), real))
            return inner(model, inputs, *args, **more)

        trainer.training_step = counted

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Starts the clock."""
        self.ends.append(_now())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Takes the time, once the device is done with the step."""
        self.ends.append(_now())
        self.batches.append(self._step)
        self._step = []

    def steps(self) -> list[tuple[float, int, int]]:
        """Returns each step's seconds, real tokens and padded tokens."""
        seconds = [end - start for start, end in zip(self.ends, self.ends[1:], strict=False)]
        return [
            (took, sum(int(real) for _, real in step), sum(padded for padded, _ in step))
            for took, step in zip(seconds, self.batches, strict=True)
        ]


def _now() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def make_trainer(trial: Part, manifest: Path, rows: list[Row], work: Path) -> "Trainer":
    """Returns the trial's own trainer on the base model, with reference log-probs of the base."""
    from scripts.lm.pairs import pair_logps
    from scripts.lm.snapshots import load_base, load_tokenizer
    from scripts.train.dpo import dpo_dataset, dpo_trainer
    from scripts.train.sft import sft_trainer

    backend = trial.get("backend", "transformers")
    if backend != "transformers":
        raise BadInput(f"backend: found {backend}; allowed here: transformers")
    model = load_base(manifest, trial["precision"], trial["quantization"])
    tokenizer = load_tokenizer(manifest)
    if trial["method"] == "sft":
        return sft_trainer(trial, model, tokenizer, rows, None, work)
    size = trial["trainer"]["per_device_train_batch_size"]
    dataset = dpo_dataset(rows, pair_logps(model, rows, size, tokenizer.pad_token_id))
    return dpo_trainer(trial, model, tokenizer, dataset, None, work)


def measure(trial: Part, manifest: Path, rows: list[Row], steps: int) -> Part:
    """Trains the first steps and returns how fast it went.

    Raises
    ------
    BadInput
        When so few steps are asked for that none would be timed, or there are no rows.
    """
    from scripts.train.trials import make_reproducible, train

    if steps <= WARM_UP:
        raise BadInput(
            f"--steps: found {steps}; at least {WARM_UP + 1}, of which {WARM_UP} warm up"
        )
    if not rows:
        raise BadInput("the token split has no rows to train on")
    cut = probe_trial(trial, steps)
    make_reproducible(trial["seed"])
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as work:
        trainer = make_trainer(cut, manifest, draw(rows, trial, steps), Path(work))
        watch.watch(trainer)
        result = train(trainer)
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
        "for": pace_of(trial),
    }


def device_name() -> str:
    """Returns the name of the GPU, or of the CPU where there is none."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    information = Path("/proc/cpuinfo")
    lines = information.read_text(encoding="utf-8").splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


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
