"""Train one trial: what the trainers of all methods share.

A method is a module of this folder, such as `scripts.train.sft`, which is also its command line.
It sets `TRAINER`, a `LaidOutTrainer` mixed into one of TRL's trainers, that says what its dataset
and TRL's configuration look like. Only `main` imports it, by its name, after the trial's backend
has started: Unsloth must be imported before transformers and TRL. So this module imports neither
at the top, and the digest of a method's code does not contain another method.
"""

import argparse
import importlib
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput
from scripts.common.files import Row, make_shared, read_rows, write_json, write_jsonl
from scripts.common.folders import whole_folder
from scripts.common.signs import said
from scripts.common.states import read_if_there
from scripts.train.work import MINUTES, Work, at_work, fingerprint_of

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from scripts.train.layouts import LaidOutTrainer

Part = dict[str, Any]

FILES = {
    "model": "the base model's manifest.json",
    "start": "adapter that the trial starts from",
    "tokens": "token split to train on",
    "reference": "the reference's log-probs of it, for a method that has a reference",
    "valid_tokens": "token split of the loss while training",
    "valid_reference": "the reference's log-probs of that",
}


def main(module: str, argv: list[str] | None = None) -> int:
    """Train the trial of a command line and write its files; return 0.

    Parameters
    ----------
    module
        The method's module, such as `scripts.train.sft`.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}", description="Train one trial, or resume its training."
    )
    parser.add_argument("--trial", type=json.loads, required=True, help="the resolved trial")
    for name, text in FILES.items():
        required = name in ("model", "tokens")
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=Path, required=required, help=text)
    parser.add_argument("--out", type=Path, required=True, help="the trial's folder")
    parser.add_argument(
        "--stop-when",
        default="",
        help="signs that training goes wrong which end it, separated by commas",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=MINUTES,
        help=f"minutes between two checkpoints; 0 writes one after each step (default {MINUTES})",
    )
    arguments = parser.parse_args(argv)
    files = {name: getattr(arguments, name) for name in FILES}
    fingerprint = fingerprint_of(arguments.trial, f"{module.replace('.', '/')}.py", **files)
    with at_work(arguments.out, fingerprint, arguments.checkpoint_minutes) as work:
        if not work.is_finished():
            train_trial(module, arguments, work)
        work.publish()
    return 0


def train_trial(module: str, files: argparse.Namespace, work: Work) -> None:
    """Train from the last checkpoint, and leave the finished files in the work folder."""
    from scripts.lm.backends import start_backend
    from scripts.lm.devices import check_precision
    from scripts.lm.tokenizers import load_tokenizer, snapshot_folder
    from scripts.train.processes import check_rows
    from scripts.train.starts import start_of

    trial = files.trial
    backend = start_backend(trial["backend"], work.scratch)
    kind: type[LaidOutTrainer] = importlib.import_module(module).TRAINER
    make_reproducible(trial["seed"])
    checkpointing = trial["trainer"]["gradient_checkpointing"]
    base = backend.load(files.model, trial["precision"], trial["quantization"], checkpointing)
    model = start_of(trial).attach(backend, base, trial, files.start)

    def dataset(tokens: Path, reference: Path | None) -> "Dataset":
        rows = read_rows(tokens)
        if not rows:
            raise BadInput(f"{tokens}: no rows to train on, or to take a loss of")
        made = kind.make_dataset(trial, rows, read_rows(reference) if reference else None)
        if "id" in made.column_names:
            return made
        # For messages; no batch has it.
        return made.add_column("id", [row["id"] for row in rows])

    for logps in filter(None, (files.reference, files.valid_reference)):
        record = logps.with_suffix(".json")
        check_precision(record, read_if_there(record), model)
    rows, valid = dataset(files.tokens, files.reference), None
    if files.valid_tokens:
        valid = dataset(files.valid_tokens, files.valid_reference)
    check_rows(trial["trainer"], len(rows), valid and len(valid))
    tokenizer = load_tokenizer(files.model)
    trainer = make_trainer(kind, trial, model, tokenizer, rows, valid, work.folder)
    stop_when = filter(None, files.stop_when.split(","))
    result = train(trainer, trial, work, stop_when)
    save(trainer, trial, result, snapshot_folder(files.model), work.finished)


def make_reproducible(seed: int) -> None:
    """Seed every generator, and use one thread on a CPU."""
    from transformers import set_seed

    from scripts.lm.devices import pin_threads

    set_seed(seed)
    pin_threads()


def make_trainer(
    kind: "type[LaidOutTrainer]",
    trial: Part,
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    dataset: "Dataset",
    valid_dataset: "Dataset | None",
    work: Path,
) -> "LaidOutTrainer":
    """Return a method's trainer of the adapter that the model has."""
    from scripts.lm.adapters import adapter_unrounded
    from scripts.lm.devices import precision_of

    dtype = precision_of(model)
    with adapter_unrounded(model):
        return kind(
            trial=trial,
            model=model,
            args=kind.make_config(trainer_arguments(trial, work, dtype)),
            train_dataset=dataset,
            eval_dataset=valid_dataset,
            processing_class=tokenizer,
        )


def trainer_arguments(trial: Part, work: Path, dtype: str) -> Part:
    """Return the arguments of TRL's configuration, with every default of TRL's that matters set.

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

    # The batches of an evaluation are not divided over processes: its loss is a mean over the rows
    # or tokens of all of them.
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
        # Unsloth's defaults differ from TRL's. A non-finite loss is logged as it is.
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


def train(
    trainer: "LaidOutTrainer",
    trial: Part,
    work: "Work | None" = None,
    stop_when: Iterable[str] = (),
) -> Part:
    """Run the trainer with progress lines and return the content of train.json.

    Parameters
    ----------
    work
        Where checkpoints are written and looked for; without it, neither happens.
    stop_when
        The signs that end the training.
    """
    from transformers import PrinterCallback

    from scripts.lm.backends import versions
    from scripts.lm.devices import precision_of
    from scripts.train.checkpoints import Saving, last_checkpoint
    from scripts.train.costs import Costs, Stopwatch, sum_costs
    from scripts.train.layouts import sum_tokens
    from scripts.train.processes import all_of, count, is_first
    from scripts.train.progress import ProgressFile, ProgressLines, SignCheck
    from scripts.train.signs import adapter_gains

    trainer.remove_callback(PrinterCallback)
    if is_first():
        trainer.add_callback(ProgressLines())
    check = SignCheck(trainer, stop_when)
    trainer.add_callback(check)
    if is_first():
        path = Path(trainer.args.output_dir) / "progress.json"
        trainer.add_callback(ProgressFile(path, signs=check.signs))
    stopwatch = Stopwatch()
    trainer.add_callback(stopwatch)
    costs = Costs()
    trainer.add_callback(costs)
    checkpoint = None
    if work:
        trainer.add_callback(Saving(work.minutes, work.stop))
        checkpoint = last_checkpoint(work.folder)
    result = trainer.train(resume_from_checkpoint=checkpoint and str(checkpoint))
    log = trainer.state.log_history
    losses = [float(entry["loss"]) for entry in log if "loss" in entry]
    accuracies = [entry["rewards/accuracies"] for entry in log if "rewards/accuracies" in entry]
    parameters = list(trainer.model.parameters())
    # PEFT counts a 4-bit weight as one, although its tensor holds two in a byte.
    trainable, total = trainer.model.get_nb_trainable_parameters()
    gains = adapter_gains(trainer.model)
    return {
        "train_loss": result.training_loss,
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "last_accuracy": float(accuracies[-1]) if accuracies else None,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "tokens": int(getattr(trainer, "_total_train_tokens", 0)),
        "step_seconds": stopwatch.step_seconds(),
        **sum_costs(all_of(costs.state_dict())),
        "resumed": trainer.resumed,
        "adapter_gain": max(gains.values(), default=None),
        "signs": check.at_end(gains, trainer.state, trainer.args.load_best_model_at_end),
        "trainable_parameters": trainable,
        "total_parameters": total,
        "precision": precision_of(trainer.model),
        "autocast": trainer.accelerator.mixed_precision,
        "adapter_precision": next(str(p.dtype)[6:] for p in parameters if p.requires_grad),
        "optimizer": _optimizer(trainer),
        "layout": asdict(sum_tokens(all_of(trainer.layout))),
        "processes": count(),
        "backend": trial["backend"],
        "versions": versions(trial["backend"]),
        **trainer.findings(),
    }


def _optimizer(trainer: "LaidOutTrainer") -> str:
    """Return the class of the optimizer that ran, which a backend may have replaced."""
    wrapped = trainer.optimizer
    kind = type(getattr(wrapped, "optimizer", wrapped))
    fused = " (fused)" if wrapped.defaults.get("fused") else ""
    return f"{kind.__module__}.{kind.__qualname__}{fused}"


def save(
    trainer: "LaidOutTrainer", trial: Part, result: Part, base_folder: Path, folder: Path
) -> None:
    """Write adapter, model card, history.jsonl, train.json and trial.json as one whole folder."""
    from scripts.train.processes import count, is_first, trained_weights

    weights = trained_weights(trainer.model) if count() > 1 else None
    if not is_first():
        return
    with whole_folder(folder) as temporary:
        adapter = temporary / "adapter"
        _save_adapter(trainer.model, weights, trial, base_folder, adapter)
        (adapter / "README.md").write_text(
            _model_card(trial, trainer.method, result["signs"]), encoding="utf-8"
        )
        write_jsonl(temporary / "history.jsonl", history(trainer.state.log_history))
        write_json(temporary / "train.json", result)
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
    for key in ("target_modules", "modules_to_save"):
        if isinstance(settings[key], list):
            settings[key].sort()
    write_json(path, settings)


def _model_card(trial: Part, method: str, signs: list[Row]) -> str:
    from huggingface_hub import ModelCard, ModelCardData

    from scripts.train.starts import start_of

    data = ModelCardData(
        base_model=trial["base"],
        library_name="peft",
        pipeline_tag="text-generation",
        tags=["lora", "trl", trial["method"]],
    )
    settings = json.dumps({"lora": trial["lora"], "trainer": trial["trainer"]}, indent=2)
    start = trial.get("start")
    text = [
        f"---\n{data.to_yaml()}\n---",
        f"# {trial['name']}, seed {trial['seed']}",
        f"A LoRA adapter trained by {method} with TRL (backend "
        f"`{trial['backend']}`) on the dataset "
        f"`{trial['dataset']}` (tokens {_code(trial['tokens'])}, split `{trial['train']}`).",
        f"Base model: {_code(trial['base'])}"
        + (f" at `{trial['revision']}`." if trial["revision"] else "."),
        start_of(trial).applies_to(start)
        if start
        else "The adapter applies to the base model as it is.",
        _signs(signs),
        f"```json\n{settings}\n```",
    ]
    return str(ModelCard("\n\n".join(text) + "\n"))


def _signs(signs: list[Row]) -> str:
    """Return the model card's paragraph on signs that training went wrong."""
    if not signs:
        return "No sign that training went wrong was found."
    lines = [f"- {said(found)}" for found in signs]
    return "\n".join(["Signs at the end of training:", "", *lines])


def _code(text: str) -> str:
    """Return text, such as a folder's name, as code in Markdown, which none of its signs ends."""
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    room = " " if "`" in text else ""
    return f"{ticks}{room}{text}{room}{ticks}"


def history(log: list[Row]) -> list[Row]:
    """Return the logged curve without times, which differ from run to run."""
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
    """Return a logged value as a number; a gradient norm that overflows in float16 as None."""
    number = float(value) if isinstance(value, str) else value
    overflown = isinstance(number, float) and not math.isfinite(number)
    return None if overflown and key == "grad_norm" else number
