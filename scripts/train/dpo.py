"""Trains one preference trial: TRL's DPOTrainer on token splits, LoRA through the backend.

The reference is the model that the trial starts from. Its log-probs come from a rule of their own,
so that a sweep computes them once.

A start that is `overwritten`, not `merged`, is what published code does: it loads the supervised
adapter without merging it and wraps the model again, so that a new adapter replaces the old one on
the modules that it targets, while the reference stays the merged start.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows
from scripts.train.work import Work, add_options, at_work, fingerprint_of

if TYPE_CHECKING:
    from datasets import Dataset
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

    from scripts.lm.backends import Backend
    from scripts.train.dpo_trainer import StepZeroGate, TokenDPOTrainer


def with_reference(rows: list[Row], reference: list[Row], ld_alpha: float | None) -> list[Row]:
    """Returns token rows with the reference's log-probs in the columns that TRL reads.

    With `ld_alpha`, tokens of a completion beyond the length of the other count by that much:
    Liu et al. 2024, https://arxiv.org/abs/2409.06411, equation 9.

    Raises
    ------
    BadInput
        When the reference was computed on other rows.
    """
    logps = {row["id"]: row for row in reference}
    if [row["id"] for row in rows] != list(logps):
        raise BadInput("the reference log-probs belong to other rows than the token split's")
    alpha = 1.0 if ld_alpha is None else ld_alpha

    def weighted(logp: Row, name: str) -> float:
        head = logp[f"{name}_head_logp"]
        return head + alpha * (logp[f"{name}_logp"] - head)

    return [
        {
            "prompt_ids": row["prompt_ids"],
            "chosen_ids": row["chosen_ids"],
            "rejected_ids": row["rejected_ids"],
            "ref_chosen_logps": weighted(logps[row["id"]], "chosen"),
            "ref_rejected_logps": weighted(logps[row["id"]], "rejected"),
        }
        for row in rows
    ]


def dpo_dataset(rows: list[Row], reference: list[Row], ld_alpha: float | None = None) -> "Dataset":
    """Returns the dataset that the token trainer takes."""
    from datasets import Dataset

    return Dataset.from_list(with_reference(rows, reference, ld_alpha))


def policy(
    backend: "Backend", trial: dict[str, Any], manifest: Path, start: Path | None
) -> "PeftModel":
    """Returns the model that is trained, as it is at step 0."""
    from scripts.lm.adapters import keep_old_weights, lora_config, overwriting_config
    from scripts.lm.snapshots import merge_adapters

    checkpointing = trial["trainer"]["gradient_checkpointing"]
    base = backend.load(manifest, trial["precision"], trial["quantization"], checkpointing)
    if trial["start_as"] == "overwritten":
        adapter = overwriting_config(base, trial["lora"], start)
        model = backend.attach(base, adapter, trial["seed"], checkpointing)
        keep_old_weights(model, start)
        return model
    base = merge_adapters(base, [start] if start else [])
    adapter = lora_config(base, trial["lora"])
    return backend.attach(base, adapter, trial["seed"], checkpointing)


def dpo_trainer(
    trial: dict[str, Any],
    model: "PeftModel",
    tokenizer: "PreTrainedTokenizerBase",
    dataset: "Dataset",
    valid_dataset: "Dataset | None",
    work: Path,
    gate: "StepZeroGate",
) -> "TokenDPOTrainer":
    """Returns a trainer of the adapter that the model has."""
    from trl import DPOConfig

    from scripts.lm.adapters import adapter_unrounded
    from scripts.train.dpo_trainer import TokenDPOTrainer
    from scripts.train.trials import common_arguments

    dtype = str(model.dtype).removeprefix("torch.")
    with adapter_unrounded(model):
        return TokenDPOTrainer(
            layout=trial["layout"],
            model=model,
            args=DPOConfig(**common_arguments(trial, work, dtype)),
            train_dataset=dataset,
            eval_dataset=valid_dataset,
            processing_class=tokenizer,
            callbacks=[gate],
        )


def main(argv: list[str] | None = None) -> int:
    """Trains and writes the trial's files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.dpo", description=__doc__)
    parser.add_argument("--trial", type=json.loads, required=True, help="the resolved trial")
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument("--start", type=Path, help="adapter that the trial starts from")
    parser.add_argument("--tokens", type=Path, required=True, help="token split to train on")
    parser.add_argument("--reference", type=Path, required=True, help="its reference log-probs")
    parser.add_argument("--valid-tokens", type=Path, help="token split of the loss while training")
    parser.add_argument("--valid-reference", type=Path, help="its reference log-probs")
    add_options(parser)
    arguments = parser.parse_args(argv)

    trial = arguments.trial
    if trial["start_as"] == "overwritten" and not arguments.start:
        raise BadInput(
            "start_as: found overwritten without a start to overwrite; merged is allowed"
        )

    fingerprint = fingerprint_of(
        trial,
        "scripts/train/dpo.py",
        model=arguments.model,
        start=arguments.start,
        tokens=arguments.tokens,
        reference=arguments.reference,
        valid_tokens=arguments.valid_tokens,
        valid_reference=arguments.valid_reference,
    )
    with at_work(arguments.out, fingerprint, arguments.checkpoint_minutes) as work:
        if not work.is_finished():
            train_trial(arguments, work)
        work.publish()
    return 0


def train_trial(arguments: argparse.Namespace, work: Work) -> None:
    """Trains, from the last checkpoint on, and leaves the finished files in the work folder."""
    from scripts.lm.backends import start_backend
    from scripts.lm.tokenizers import load_tokenizer, snapshot_folder
    from scripts.train.processes import check_rows
    from scripts.train.trials import finish, make_reproducible, train

    trial = arguments.trial
    backend = start_backend(trial["backend"], work.scratch)

    from scripts.train.dpo_trainer import StepZeroGate

    make_reproducible(trial["seed"])
    model = policy(backend, trial, arguments.model, arguments.start)
    alpha = trial["trainer"]["ld_alpha"]
    dataset = dpo_dataset(read_rows(arguments.tokens), read_rows(arguments.reference), alpha)
    valid = None
    if arguments.valid_tokens:
        reference = read_rows(arguments.valid_reference)
        valid = dpo_dataset(read_rows(arguments.valid_tokens), reference, alpha)
    check_rows(trial["trainer"], len(dataset), valid and len(valid))
    tokenizer = load_tokenizer(arguments.model)
    gate = StepZeroGate(model.dtype, trial)
    trainer = dpo_trainer(trial, model, tokenizer, dataset, valid, work.folder, gate)
    result = train(trainer, trial, work) | {"step_zero": gate.found()}
    finish(trainer, trial, result, snapshot_folder(arguments.model), work.finished)


if __name__ == "__main__":
    run(main)
