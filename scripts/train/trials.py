"""What SFT and DPO trials do the same way: seeds, arguments, results.

Imports no transformers on its own: a trial's backend comes first.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.files import Row, make_shared, write_json, write_jsonl
from scripts.common.folders import whole_folder

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import Trainer

    from scripts.train.work import Work

Part = dict[str, Any]


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

    from scripts.train.processes import count, divided

    # An evaluation's batch is a process's own: its loss is a mean over rows or tokens of all.
    trainer = trial["trainer"] | divided(trial["trainer"], count())
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
        # Unsloth's defaults are others than TRL's. A loss that is no number is shown as it is.
        "logging_nan_inf_filter": False,
        "padding_free": False,
        "per_device_eval_batch_size": trainer["per_device_train_batch_size"],
        "save_strategy": trainer["eval_strategy"] if keeps_best else "no",
        "save_steps": trainer["eval_steps"] or 500,
        # The newest and the best.
        "save_total_limit": 2,
        "metric_for_best_model": "eval_loss" if keeps_best else None,
        "report_to": "none",
        "use_cpu": not torch.cuda.is_available(),
        "disable_tqdm": True,
        "dataloader_pin_memory": dtype != "float32",
        "eval_on_start": trainer["eval_strategy"] != "no",
    }


def train(trainer: "Trainer", trial: Part, work: "Work | None" = None) -> Part:
    """Runs the trainer with progress lines and returns what train.json holds of the run.

    Parameters
    ----------
    work
        Where checkpoints are written, and where an earlier one is looked for; without it, neither.
    """
    from transformers import PrinterCallback

    from scripts.lm.backends import versions
    from scripts.train.checkpoints import Saving, last_checkpoint
    from scripts.train.costs import Costs, together
    from scripts.train.layouts import counted_together
    from scripts.train.processes import all_of, count, is_first
    from scripts.train.progress import LostLoss, ProgressFile, ProgressLines
    from scripts.train.stopwatch import Stopwatch

    trainer.remove_callback(PrinterCallback)
    if is_first():
        trainer.add_callback(ProgressLines())
        trainer.add_callback(ProgressFile(Path(trainer.args.output_dir) / "progress.json"))
    trainer.add_callback(LostLoss())
    stopwatch = Stopwatch()
    trainer.add_callback(stopwatch)
    costs = Costs()
    trainer.add_callback(costs)
    checkpoint = None
    if work:
        trainer.add_callback(Saving(work.minutes, work.stop))
        checkpoint = last_checkpoint(work.folder)
    result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    parameters = list(trainer.model.parameters())
    # PEFT counts a 4-bit weight as one, where its tensor holds two in a byte.
    trainable, total = trainer.model.get_nb_trainable_parameters()
    return {
        "train_loss": result.training_loss,
        "first_loss": float(losses[0]),
        "last_loss": float(losses[-1]),
        "last_accuracy": _last_accuracy(trainer.state.log_history),
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "tokens": int(getattr(trainer, "_total_train_tokens", 0)),
        "step_seconds": stopwatch.step_seconds(),
        **together(all_of(costs.kept())),
        "resumed": trainer.resumed,
        "trainable_parameters": trainable,
        "total_parameters": total,
        "precision": str(trainer.model.dtype).removeprefix("torch."),
        "autocast": trainer.accelerator.mixed_precision,
        "adapter_precision": next(str(p.dtype)[6:] for p in parameters if p.requires_grad),
        "optimizer": _optimizer(trainer),
        "layout": asdict(counted_together(all_of(trainer.layout))),
        "processes": count(),
        "backend": trial["backend"],
        "versions": versions(trial["backend"]),
    }


def _last_accuracy(log: list[Row]) -> float | None:
    """Returns the last logged share of training pairs that the policy ranks as they are labelled.

    None for a trial without pairs.
    """
    found = [entry["rewards/accuracies"] for entry in log if "rewards/accuracies" in entry]
    return float(found[-1]) if found else None


def _optimizer(trainer: "Trainer") -> str:
    """Returns the class of the optimizer that ran; a backend may swap the one asked for."""
    wrapped = trainer.optimizer
    kind = type(getattr(wrapped, "optimizer", wrapped))
    fused = " (fused)" if wrapped.defaults.get("fused") else ""
    return f"{kind.__module__}.{kind.__qualname__}{fused}"


def finish(trainer: "Trainer", trial: Part, run: Part, base_folder: Path, folder: Path) -> None:
    """Writes adapter, model card, history.jsonl, train.json and trial.json as one whole folder."""
    from scripts.train.processes import count, is_first, trained_weights

    weights = trained_weights(trainer.model) if count() > 1 else None
    if not is_first():
        return
    with whole_folder(folder) as temporary:
        _save_adapter(trainer.model, weights, trial, base_folder, temporary / "adapter")
        write_jsonl(temporary / "history.jsonl", _history(trainer.state.log_history))
        write_json(temporary / "train.json", run)
        write_json(temporary / "trial.json", trial)


def _save_adapter(
    model: "PeftModel", weights: Part | None, trial: Part, base_folder: Path, folder: Path
) -> None:
    config = model.peft_config["default"]
    config.base_model_name_or_path = trial["base"] if trial["revision"] else str(base_folder)
    config.revision = trial["revision"]
    model.save_pretrained(folder, state_dict=weights)
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
        f"A LoRA adapter trained by {method[trial['method']]} with TRL (backend "
        f"`{trial['backend']}`) on the dataset "
        f"`{trial['dataset']}` (tokens `{trial['tokens']}`, split `{trial['train']}`).",
        f"Base model: `{trial['base']}`"
        + (f" at `{trial['revision']}`." if trial["revision"] else "."),
        _applies_to(trial),
        f"```json\n{settings}\n```",
    ]
    return str(ModelCard("\n\n".join(text) + "\n"))


def _applies_to(trial: Part) -> str:
    """Returns what the adapter is loaded onto, and where its training started."""
    start = trial.get("start")
    if not start:
        return "The adapter applies to the base model as it is."
    if trial["start_as"] == "merged":
        return (
            f"The adapter of `{start}` must be merged into the base first: it is where this trial "
            "starts and its reference."
        )
    return (
        f"The adapter applies to the base model as it is; the adapter of `{start}` must not be "
        "merged first. The trial started with that adapter beside the base's weights, overwritten "
        "by a new one on the new one's target modules; on its other modules it trained on, and is "
        f"part of this adapter. The reference was the base with `{start}` merged, so at step 0 "
        "the policy was not its reference."
    )


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
