"""Trains one supervised trial: TRL's SFTTrainer on token splits, LoRA through the backend."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import run
from scripts.common.files import Row, read_rows
from scripts.train.work import Work, add_options, at_work, fingerprint_of

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from scripts.train.sft_trainer import TokenSFTTrainer

IGNORED = -100


def labelled(row: Row, completion_only: bool) -> Row:
    """Returns a token row as input ids and labels; the loss passes over ignored labels.

    Labels are given ready-made, because the trainer ignores a completion mask on tokens unless it
    is told about it twice.
    """
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    head = [IGNORED] * len(prompt) if completion_only else prompt
    return {"input_ids": prompt + completion, "labels": head + completion}


def sft_dataset(rows: list[Row], completion_only: bool) -> "Dataset":
    """Returns the dataset that SFTTrainer takes: columns input_ids and labels."""
    from datasets import Dataset

    return Dataset.from_list([labelled(row, completion_only) for row in rows])


def sft_trainer(
    trial: dict[str, Any],
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: list[Row],
    valid_rows: list[Row] | None,
    work: Path,
) -> "TokenSFTTrainer":
    """Returns a trainer of the adapter that the model has."""
    from trl import SFTConfig

    from scripts.lm.adapters import adapter_unrounded
    from scripts.train.sft_trainer import TokenSFTTrainer
    from scripts.train.trials import common_arguments

    dtype = str(model.dtype).removeprefix("torch.")
    arguments = common_arguments(trial, work, dtype)
    completion_only = arguments.pop("completion_only_loss")
    with adapter_unrounded(model):
        return TokenSFTTrainer(
            layout=trial["layout"],
            model=model,
            args=SFTConfig(**arguments, dataset_kwargs={"skip_prepare_dataset": True}),
            train_dataset=sft_dataset(rows, completion_only),
            eval_dataset=sft_dataset(valid_rows, completion_only)
            if valid_rows is not None
            else None,
            processing_class=tokenizer,
        )


def main(argv: list[str] | None = None) -> int:
    """Trains and writes the trial's files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.sft", description=__doc__)
    parser.add_argument("--trial", type=json.loads, required=True, help="the resolved trial")
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument("--tokens", type=Path, required=True, help="token split to train on")
    parser.add_argument("--valid-tokens", type=Path, help="token split of the loss while training")
    add_options(parser)
    arguments = parser.parse_args(argv)
    fingerprint = fingerprint_of(
        arguments.trial,
        "scripts/train/sft.py",
        model=arguments.model,
        tokens=arguments.tokens,
        valid_tokens=arguments.valid_tokens,
    )
    with at_work(arguments.out, fingerprint, arguments.checkpoint_minutes) as work:
        if not work.is_finished():
            train_trial(arguments, work)
        work.publish()
    return 0


def train_trial(arguments: argparse.Namespace, work: Work) -> None:
    """Trains, from the last checkpoint on, and leaves the finished files in the work folder."""
    from scripts.lm.adapters import lora_config
    from scripts.lm.backends import start_backend
    from scripts.lm.tokenizers import load_tokenizer, snapshot_folder
    from scripts.train.processes import check_rows
    from scripts.train.trials import finish, make_reproducible, train

    trial = arguments.trial
    checkpointing = trial["trainer"]["gradient_checkpointing"]
    backend = start_backend(trial["backend"], work.scratch)
    make_reproducible(trial["seed"])
    base = backend.load(arguments.model, trial["precision"], trial["quantization"], checkpointing)
    adapter = lora_config(base, trial["lora"])
    model = backend.attach(base, adapter, trial["seed"], checkpointing)
    valid = read_rows(arguments.valid_tokens) if arguments.valid_tokens else None
    tokenizer = load_tokenizer(arguments.model)
    rows = read_rows(arguments.tokens)
    check_rows(trial["trainer"], len(rows), valid and len(valid))
    trainer = sft_trainer(trial, model, tokenizer, rows, valid, work.folder)
    result = train(trainer, trial, work)
    finish(trainer, trial, result, snapshot_folder(arguments.model), work.finished)


if __name__ == "__main__":
    run(main)
