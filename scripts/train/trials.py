"""What SFT and DPO trials do the same way: seeds, adapters, arguments, progress, results."""

import json
import math
import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from scripts.common.files import Row, make_shared, write_json, write_jsonl

if TYPE_CHECKING:
    from transformers import PreTrainedModel, Trainer, TrainerState

Part = dict[str, Any]


@contextmanager
def work_folder(out: Path) -> Iterator[Path]:
    """Yields the trial's work folder, empty; no rule declares it, and it goes on success.

    When the block fails, `failed.json` in it says why.
    """
    work = out / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        yield work
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        write_json(work / "failed.json", {"reason": reason, "traceback": traceback.format_exc()})
        raise
    shutil.rmtree(work)


def make_reproducible(seed: int) -> None:
    """Seeds every generator, and on a CPU pins one thread."""
    from transformers import set_seed

    from scripts.lm.devices import pin_threads

    set_seed(seed)
    pin_threads()


def common_arguments(trial: Part, work: Path, dtype: str) -> Part:
    """Returns the arguments that both of TRL's configs take, every default of theirs settled.

    Parameters
    ----------
    trial
        The resolved trial.
    work
        Where checkpoints go.
    dtype
        Of the base's weights: float32, bfloat16 or float16.
    """
    import torch

    trainer = trial["trainer"]
    keeps_best = trainer["load_best_model_at_end"]
    return {
        **trainer,
        "output_dir": str(work),
        "seed": trial["seed"],
        "data_seed": trial["seed"],
        "bf16": dtype == "bfloat16",
        "fp16": dtype == "float16",
        # Rows were cut to length when they were tokenized.
        "max_length": None,
        "logging_first_step": True,
        "per_device_eval_batch_size": trainer["per_device_train_batch_size"],
        "save_strategy": trainer["eval_strategy"] if keeps_best else "no",
        "save_steps": trainer["eval_steps"] or 500,
        "save_total_limit": 1,
        "metric_for_best_model": "eval_loss" if keeps_best else None,
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,
        "dataloader_pin_memory": dtype != "float32",
        "eval_on_start": trainer["eval_strategy"] != "no",
    }


class ProgressLines(TrainerCallback):
    """Writes one line to stderr whenever the trainer logs."""

    def __init__(self) -> None:
        self.start = time.monotonic()

    def on_log(
        self, args: Any, state: "TrainerState", control: Any, logs: Part | None = None, **_: Any
    ) -> None:
        """Prints step, losses and the time that is left at the pace so far."""
        shown = {key: logs[key] for key in ("loss", "eval_loss") if key in (logs or {})}
        if not shown:
            return
        step, steps = state.global_step, state.max_steps
        passed = time.monotonic() - self.start
        left = f", {passed / step * (steps - step):.0f} s left" if step else ""
        losses = ", ".join(f"{name} {float(loss):.4f}" for name, loss in shown.items())
        print(f"step {step}/{steps}: {losses}{left}", file=sys.stderr, flush=True)


def train(trainer: "Trainer") -> Part:
    """Runs the trainer with progress lines and returns what train.json holds of the run."""
    import torch
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(ProgressLines())
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.monotonic()
    result = trainer.train()
    seconds = time.monotonic() - start
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    parameters = list(trainer.model.parameters())
    return {
        "train_loss": result.training_loss,
        "first_loss": float(losses[0]),
        "last_loss": float(losses[-1]),
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "tokens": int(getattr(trainer, "_total_train_tokens", 0)),
        "seconds": round(seconds, 3),
        "peak_memory_mb": round(_peak_memory_mb(), 1),
        "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "total_parameters": sum(p.numel() for p in parameters),
        "device": str(trainer.args.device),
        "precision": str(trainer.model.dtype).removeprefix("torch."),
        "adapter_precision": next(str(p.dtype)[6:] for p in parameters if p.requires_grad),
        "versions": _versions(),
    }


def _peak_memory_mb() -> float:
    """Returns the GPU's peak allocation, or on a CPU the process's peak resident size."""
    import resource

    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")
    return {package: version(package) for package in packages}


def publish(trainer: "Trainer", trial: Part, run: Part, base_folder: Path, out: Path) -> None:
    """Writes adapter, model card, history.jsonl, train.json and trial.json into `out`."""
    saved = Path(trainer.args.output_dir) / "adapter"
    _save_adapter(trainer.model, trial, base_folder, saved)
    (out / "adapter").mkdir(parents=True, exist_ok=True)
    for path in saved.iterdir():
        os.replace(path, out / "adapter" / path.name)
    write_jsonl(out / "history.jsonl", _history(trainer.state.log_history))
    write_json(out / "train.json", run)
    write_json(out / "trial.json", trial)


def _save_adapter(model: "PreTrainedModel", trial: Part, base_folder: Path, folder: Path) -> None:
    config = model.peft_config["default"]
    config.base_model_name_or_path = trial["base"] if trial["revision"] else str(base_folder)
    config.revision = trial["revision"]
    model.save_pretrained(folder)
    make_shared(folder / "adapter_model.safetensors")
    # PEFT writes a set in the order of this process's string hashes.
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(settings["target_modules"], list):
        settings["target_modules"].sort()
    write_json(path, settings)
    (folder / "README.md").write_text(_model_card(trial), encoding="utf-8")


def _model_card(trial: Part) -> str:
    from huggingface_hub import ModelCard, ModelCardData

    method = {"sft": "supervised fine-tuning", "dpo": "direct preference optimization"}
    start = trial.get("start")
    data = ModelCardData(
        base_model=trial["base"],
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "trl", trial["method"]],
    )
    settings = json.dumps({"lora": trial["lora"], "trainer": trial["trainer"]}, indent=2)
    text = [
        f"---\n{data.to_yaml()}\n---",
        f"# {trial['name']}, seed {trial['seed']}",
        f"A LoRA adapter trained by {method[trial['method']]} with TRL on the dataset "
        f"`{trial['dataset']}` (tokens `{trial['tokens']}`, split `{trial['train']}`).",
        f"Base model: `{trial['base']}`"
        + (f" at `{trial['revision']}`." if trial["revision"] else "."),
        f"The adapter of `{start}` must be merged into the base first: it is where this trial "
        "starts and its reference."
        if start
        else "The adapter applies to the base model as it is.",
        f"```json\n{settings}\n```",
    ]
    return str(ModelCard("\n\n".join(text) + "\n"))


def _history(log: list[Row]) -> list[Row]:
    """Returns the logged curve without times, which differ from run to run."""
    timed = ("runtime", "per_second")
    return [
        {
            key: _logged(key, value)
            for key, value in entry.items()
            if not any(word in key for word in timed)
        }
        for entry in log
        if "loss" in entry or "eval_loss" in entry
    ]


def _logged(key: str, value: Any) -> Any:
    """Returns a logged value as a number; an overflown gradient, usual in float16, as None."""
    number = float(value) if isinstance(value, str) else value
    overflown = isinstance(number, float) and not math.isfinite(number)
    return None if overflown and key == "grad_norm" else number
