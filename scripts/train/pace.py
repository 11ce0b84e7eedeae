"""What a trial's speed depends on."""

from typing import Any

Part = dict[str, Any]

WARM_UP = 2
"""Steps that are not timed: kernels are chosen and memory is claimed in them."""
KEYS = ("method", "model", "tokens", "precision", "quantization", "backend", "layout")


def pace_of(trial: Part) -> Part:
    """Returns what of a trial determines its speed; trials that agree in it run alike."""
    trainer, lora = trial["trainer"], trial["lora"]
    targets = lora["target_modules"]
    return {
        **{key: trial[key] for key in KEYS},
        # A start that is overwritten leaves its adapter on modules that the trial's own has not.
        **({"start_as": trial["start_as"]} if trial["method"] == "dpo" else {}),
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


def probed_pace(trial: Part) -> Part:
    """Returns the pace of the probe that stands for a trial: no probe overwrites a start."""
    pace = pace_of(trial)
    return pace | {"start_as": "merged"} if "start_as" in pace else pace
