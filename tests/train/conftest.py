"""Token rows and resolved trials for the tiny model."""

import copy
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from scripts.common.methods import METHODS
from scripts.train.run import make_trainer

if TYPE_CHECKING:
    from scripts.train.layouts import LaidOutTrainer

TRIAL = {
    "name": "t",
    "seed": 0,
    "method": "sft",
    "rows": "demonstrations",
    "model": "tiny",
    "base": "tiny",
    "revision": None,
    "backend": "transformers",
    "layout": "auto",
    "processes": 1,
    "precision": "float32",
    "quantization": "none",
    "dataset": "d",
    "tokens": "d.tiny.chat.64",
    "train": "train",
    "valid": None,
    "lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear",
             "init_lora_weights": True},
    "trainer": {
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "num_train_epochs": 1.0,
        "max_steps": 6,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "dataloader_drop_last": False,
        "optim": "adamw_torch",
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "gradient_checkpointing": False,
        "logging_steps": 2,
        "eval_strategy": "no",
        "eval_steps": None,
        "load_best_model_at_end": False,
    },
}  # fmt: skip


OWN: dict[str, dict[str, Any]] = {
    "sft": {"completion_only_loss": True},
    "dpo": {
        "beta": 0.5,
        "loss_type": ["sigmoid"],
        "loss_weights": None,
        "label_smoothing": 0.0,
        "use_weighting": False,
        "ld_alpha": None,
        "f_divergence_type": "reverse_kl",
        "f_alpha_divergence_coef": 0.5,
        "discopop_tau": 0.05,
        "disable_dropout": True,
    },
    "kto": {
        "beta": 0.5,
        "desirable_weight": 1.0,
        "undesirable_weight": 1.0,
        "disable_dropout": True,
    },
    "orpo": {"beta": 0.5, "disable_dropout": True},
    "cpo": {
        "beta": 0.5,
        "loss_type": "sigmoid",
        "cpo_alpha": 0.5,
        "label_smoothing": 0.0,
        "disable_dropout": True,
    },
    "simpo": {"beta": 2.0, "simpo_gamma": 0.5, "disable_dropout": True},
}
"""What each method's trainer takes besides."""


def resolved(method: str, **trainer: Any) -> dict[str, Any]:
    """Return a resolved trial with some of its trainer's arguments changed."""
    trial = copy.deepcopy(TRIAL) | {"method": method}
    if method != "sft":
        reference = "r" if METHODS[method].has_reference else None
        trial |= {"rows": "preferences", "start": None, "start_as": "merged"}
        trial |= {"reference": reference}
    trial["trainer"] |= OWN[method] | trainer
    return trial


def trainer_of(
    trial: dict[str, Any], model: Any, tokenizer: Any, rows: list[dict[str, Any]],
    reference: list[dict[str, Any]] | None, work: Path, evaluate: bool = False,
) -> "LaidOutTrainer":  # fmt: skip
    """Return the trainer of a trial's method, which may be evaluated on the same rows."""
    kind = importlib.import_module(f"scripts.train.{trial['method']}").TRAINER
    dataset = kind.make_dataset(trial, rows, reference)
    valid = dataset if evaluate else None
    return make_trainer(kind, trial, model, tokenizer, dataset, valid, work)


@pytest.fixture
def demonstrations() -> list[dict[str, Any]]:
    """Return token rows of unequal lengths."""
    return [
        {
            "id": f"train-{i}",
            "prompt_ids": [1, 20 + i, 30],
            "completion_ids": [40 + i] * (i + 1) + [2],
        }
        for i in range(7)
    ]


@pytest.fixture
def pairs() -> list[dict[str, Any]]:
    """Return token rows of unequal lengths; one completion has a single token."""
    return [
        {
            "id": f"train-{i}",
            "prompt_ids": [1, 20 + i, 30],
            "chosen_ids": [40 + i] * (i + 1) + [2],
            "rejected_ids": [60 + i] * (7 - i),
        }
        for i in range(7)
    ]
