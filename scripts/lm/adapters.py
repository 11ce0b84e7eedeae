"""LoRA adapters, as PEFT makes them."""

from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel


def lora_config(model: "PreTrainedModel", lora: dict[str, Any]) -> "LoraConfig":
    """Returns PEFT's configuration of an adapter for this model.

    Raises
    ------
    BadInput
        When the model lacks one of the target modules. PEFT would pass over it in silence.
    """
    from peft import LoraConfig
    from torch.nn import Linear

    layers = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, Linear) and name != "lm_head"
    }
    targets = lora["target_modules"]
    missing = [] if isinstance(targets, str) else sorted(set(targets) - layers)
    if missing:
        raise BadInput(
            f"lora.target_modules: found {', '.join(missing)}; "
            f"the model has {', '.join(sorted(layers))}"
        )
    return LoraConfig(task_type="CAUSAL_LM", **lora)


def train_in_float32(model: "PreTrainedModel") -> None:
    """Casts the weights that are trained to float32.

    The trainers make those of a 4-bit model bfloat16, in which small steps round away.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
