"""LoRA adapters, as PEFT makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

WEIGHTS = "adapter_model.safetensors"


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


def overwriting_config(model: "PreTrainedModel", lora: dict[str, Any], start: Path) -> "LoraConfig":
    """Returns the configuration of the adapter that wrapping a wrapped model again leaves.

    A model that has the adapter `start`, not merged, and is given a new one with get_peft_model
    ends with one adapter, because PEFT names both `default`: the new one on the modules that it
    targets, the old one on its other modules, where it keeps its rank and its scale.

    Raises
    ------
    BadInput
        When the model lacks one of the target modules, when they are not named one by one, or when
        the initialization changes the base.
    """
    from peft import PeftConfig

    if isinstance(lora["target_modules"], str):
        raise BadInput(
            f"lora.target_modules: found {lora['target_modules']}; a start that is overwritten "
            "needs them named, since PEFT counts the lm_head of a wrapped model among all-linear"
        )
    if lora["init_lora_weights"] not in (True, "gaussian"):
        raise BadInput(
            f"lora.init_lora_weights: found {lora['init_lora_weights']}; a start that is "
            "overwritten allows true or gaussian, which leave the base's weights as they are"
        )
    config = lora_config(model, lora)
    kept = _modules(start) - config.target_modules
    if kept:
        old = PeftConfig.from_pretrained(start)
        config.target_modules = config.target_modules | kept
        config.rank_pattern = dict.fromkeys(sorted(kept), old.r)
        config.alpha_pattern = dict.fromkeys(sorted(kept), old.lora_alpha)
    return config


def keep_old_weights(model: "PeftModel", start: Path) -> None:
    """Gives an adapter of overwriting_config the old one's weights and dropout where they stay."""
    from peft import PeftConfig, set_peft_model_state_dict
    from safetensors.torch import load_file
    from torch.nn import Dropout

    kept = set(model.peft_config["default"].rank_pattern)
    weights = load_file(start / WEIGHTS)
    weights = {name: weight for name, weight in weights.items() if _module(name) in kept}
    set_peft_model_state_dict(model, weights)
    dropout = PeftConfig.from_pretrained(start).lora_dropout
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in kept:
            module.lora_dropout["default"] = Dropout(dropout)


def _modules(adapter: Path) -> set[str]:
    """Returns the names of the layers that a saved adapter stands on."""
    from safetensors import safe_open

    with safe_open(adapter / WEIGHTS, "pt") as weights:
        return {_module(name) for name in weights.keys()}  # noqa: SIM118, no dictionary


def _module(weight: str) -> str:
    """Returns the layer of an adapter's weight, named `….{layer}.lora_A.weight`."""
    return weight.split(".")[-3]


@contextmanager
def adapter_unrounded(model: "PeftModel") -> Iterator[None]:
    """Keeps the weights that are trained in float32 through the block.

    The trainers make those of a 4-bit model bfloat16, in which small steps round away.
    """
    kept = {weight: weight.data.float() for weight in model.parameters() if weight.requires_grad}
    yield
    for weight, values in kept.items():
        weight.data = values
