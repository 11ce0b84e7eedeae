"""Trains one preference trial: TRL's DPOTrainer on token splits, LoRA through PEFT.

The reference is the model that the trial starts from. Its log-probs come from a rule of their own,
so that a sweep computes them once.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, read_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl import DPOTrainer


def with_reference(rows: list[Row], reference: list[Row]) -> list[Row]:
    """Returns token rows with the reference's log-probs in the columns that TRL reads.

    Raises
    ------
    BadInput
        When the reference was computed on other rows.
    """
    logps = {row["id"]: row for row in reference}
    if [row["id"] for row in rows] != list(logps):
        raise BadInput("the reference log-probs belong to other rows than the token split's")
    return [
        {
            "prompt_ids": row["prompt_ids"],
            "chosen_ids": row["chosen_ids"],
            "rejected_ids": row["rejected_ids"],
            "ref_chosen_logps": logps[row["id"]]["chosen_logp"],
            "ref_rejected_logps": logps[row["id"]]["rejected_logp"],
        }
        for row in rows
    ]


def dpo_dataset(rows: list[Row], reference: list[Row]) -> "Dataset":
    """Returns the dataset that the token trainer takes."""
    from datasets import Dataset

    return Dataset.from_list(with_reference(rows, reference))


def dpo_trainer(
    trial: dict[str, Any],
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    dataset: "Dataset",
    valid_dataset: "Dataset | None",
    work: Path,
) -> "DPOTrainer":
    """Returns a trainer that gives the model a fresh adapter, made from the trial's seed alone."""
    from transformers import set_seed
    from trl import DPOConfig

    from scripts.lm.adapters import lora_config, train_in_float32
    from scripts.train.dpo_trainer import StepZeroGate, TokenDPOTrainer
    from scripts.train.trials import common_arguments

    dtype = str(model.dtype).removeprefix("torch.")
    adapter = lora_config(model, trial["lora"])
    set_seed(trial["seed"])
    # TRL makes the adapter itself: handed a model that has one, it would add a copy as reference.
    trainer = TokenDPOTrainer(
        model=model,
        peft_config=adapter,
        args=DPOConfig(**common_arguments(trial, work, dtype)),
        train_dataset=dataset,
        eval_dataset=valid_dataset,
        processing_class=tokenizer,
        callbacks=[StepZeroGate(dtype)],
    )
    train_in_float32(trainer.model)
    return trainer


def main(argv: list[str] | None = None) -> int:
    """Trains and writes the trial's files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.train.dpo", description=__doc__)
    parser.add_argument("--trial", type=json.loads, required=True, help="the resolved trial")
    parser.add_argument("--model", type=Path, required=True, help="the base model's manifest.json")
    parser.add_argument("--start", type=Path, help="adapter to merge before training")
    parser.add_argument("--tokens", type=Path, required=True, help="token split to train on")
    parser.add_argument("--reference", type=Path, required=True, help="its reference log-probs")
    parser.add_argument("--valid-tokens", type=Path, help="token split of the loss while training")
    parser.add_argument("--valid-reference", type=Path, help="its reference log-probs")
    parser.add_argument("--out", type=Path, required=True, help="the trial's folder")
    arguments = parser.parse_args(argv)

    from scripts.lm.snapshots import load_base, load_tokenizer, merge_adapters, snapshot_folder
    from scripts.train.trials import make_reproducible, publish, train, work_folder

    trial = arguments.trial
    make_reproducible(trial["seed"])
    with work_folder(arguments.out) as work:
        base = load_base(arguments.model, trial["precision"], trial["quantization"])
        model = merge_adapters(base, [arguments.start] if arguments.start else [])
        dataset = dpo_dataset(read_rows(arguments.tokens), read_rows(arguments.reference))
        valid = None
        if arguments.valid_tokens:
            reference = read_rows(arguments.valid_reference)
            valid = dpo_dataset(read_rows(arguments.valid_tokens), reference)
        tokenizer = load_tokenizer(arguments.model)
        trainer = dpo_trainer(trial, model, tokenizer, dataset, valid, work)
        publish(trainer, trial, train(trainer), snapshot_folder(arguments.model), arguments.out)
    return 0


if __name__ == "__main__":
    run(main)
