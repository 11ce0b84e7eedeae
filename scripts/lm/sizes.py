"""How large a trial is, from configurations alone: nothing is downloaded, nothing allocated."""

from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def trainable_parameters(model: "PreTrainedConfig", lora: dict[str, Any]) -> int:
    """Returns the number of weights that a LoRA adapter adds to a model of this configuration.

    Parameters
    ----------
    model
        As in a snapshot's config.json.
    lora
        The adapter, as in the resolved trial.

    Raises
    ------
    BadInput
        When the model lacks one of the target modules.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    from scripts.lm.adapters import lora_config

    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(model)
        adapted = get_peft_model(base, lora_config(base, lora))
    return sum(weight.numel() for weight in adapted.parameters() if weight.requires_grad)


def optimizer_steps(rows: int, trainer: dict[str, Any]) -> int:
    """Returns how many steps a trainer takes over so many rows, as transformers' Trainer counts.

    A partial window of batches at an epoch's end is a step of its own; a partial batch is left out
    where dataloader_drop_last says so.
    """
    if trainer["max_steps"] > 0:
        return trainer["max_steps"]
    batches = rows / trainer["per_device_train_batch_size"]
    batches = int(batches) if trainer["dataloader_drop_last"] else ceil(batches)
    windows = max(ceil(batches / trainer["gradient_accumulation_steps"]), 1)
    return ceil(trainer["num_train_epochs"] * windows)
