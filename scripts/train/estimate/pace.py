"""What a trial's speed depends on. Light: the rules import it."""

from typing import Any

Part = dict[str, Any]

KEYS = ("method", "model", "tokens", "precision", "quantization", "backend", "layout")


def pace_of(trial: Part) -> Part:
    """Return what determines a trial's speed: one probe serves all trials that have it in common.

    How a trial starts is left out: a probe starts from the base.
    """
    trainer, lora = trial["trainer"], trial["lora"]
    targets = lora["target_modules"]
    return {
        **{key: trial[key] for key in KEYS},
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
