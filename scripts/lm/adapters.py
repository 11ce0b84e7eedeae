"""LoRA adapters, as PEFT makes them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput
from scripts.common.states import read_if_there
from scripts.lm.checks import brief, read_object
from scripts.lm.devices import check_precision
from scripts.lm.weights import Tensor, read_tensors

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
REFERENCE = "reference"
"""The name of an adapter that is loaded beside a model's own."""


def lora_config(model: "PreTrainedModel", lora: dict[str, Any]) -> "LoraConfig":
    """Return PEFT's configuration of an adapter for this model.

    Raises
    ------
    BadInput
        When the model lacks one of the modules or layers, which PEFT would ignore silently; or when
        a module that is trained whole shares its weights with another.
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
    _check_layers(model, lora.get("layers_to_transform") or [])
    _check_saved(model, lora.get("modules_to_save") or [])
    # The optimizer's, not the adapter's.
    settings = {key: value for key, value in lora.items() if key != "loraplus_lr_ratio"}
    if lora.get("layers_to_transform") and isinstance(targets, str):
        # PEFT counts layers only where modules are named.
        settings["target_modules"] = sorted(layers)
    return LoraConfig(task_type="CAUSAL_LM", **settings)


def _check_layers(model: "PreTrainedModel", layers: list[int]) -> None:
    count = model.config.get_text_config().num_hidden_layers
    if beyond := [number for number in layers if number >= count]:
        raise BadInput(
            f"lora.layers_to_transform: found {beyond[0]}; the model has layers 0 to {count - 1}"
        )


def _check_saved(model: "PreTrainedModel", modules: list[str]) -> None:
    own = {name.rpartition(".")[2] for name, module in model.named_modules() if name}
    if missing := sorted(set(modules) - own):
        raise BadInput(
            f"lora.modules_to_save: found {', '.join(missing)}; "
            f"the model has {', '.join(sorted(it for it in own if not it.isdigit()))}"
        )
    tied = [model.get_input_embeddings(), model.get_output_embeddings()]
    if tied[0].weight is tied[1].weight:
        names = {name.rpartition(".")[2] for name, it in model.named_modules() if it in tied}
        if shared := sorted(names & set(modules)):
            raise BadInput(
                f"lora.modules_to_save: found {shared[0]}, which shares its weights with "
                f"{', '.join(sorted(names - {shared[0]}))} in this model; only one would be trained"
            )


def read_adapter(model: "PreTrainedModel", adapter: Path) -> "PeftModel":
    """Return the model with a saved adapter beside its weights.

    Raises
    ------
    BadInput
        When the adapter's files are not whole, its tensors are not those of its configuration, or
        it was trained in another precision. PEFT would leave missing tensors as they are drawn,
        silently.
    """
    from peft import PeftModel, get_peft_model_state_dict

    tensors = adapter_tensors(adapter)
    check_trained_alike(adapter, model)
    try:
        loaded = PeftModel.from_pretrained(model, adapter)
    except (LookupError, RuntimeError, TypeError, ValueError) as error:
        if isinstance(error, RuntimeError) and "size mismatch" not in str(error):
            # The machine's, such as memory, not the adapter's.
            raise
        raise BadInput(f"{adapter}: PEFT does not take it: {brief(error)}") from None
    needed = get_peft_model_state_dict(loaded, save_embedding_layers=False)
    if others := sorted(needed.keys() ^ tensors.keys()):
        raise BadInput(
            f"{adapter / WEIGHTS}: not the weights of an adapter as adapter_config.json describes "
            f"it: {others[0]} is {'missing' if others[0] in needed else 'not one of its tensors'}"
        )
    return loaded


def check_trained_alike(adapter: Path, model: "PreTrainedModel") -> None:
    """Raise BadInput if the run that an adapter is of computed in another precision."""
    record = adapter.parent / "train.json"
    check_precision(record, read_if_there(record), model)


def adapter_tensors(adapter: Path) -> dict[str, Tensor]:
    """Return the names and shapes of a saved adapter's tensors.

    Raises
    ------
    BadInput
        When one of its files is missing or not whole.
    """
    for name in (CONFIG, WEIGHTS):
        if not (adapter / name).is_file():
            raise BadInput(f"{adapter}: an adapter needs {CONFIG} and {WEIGHTS}; found no {name}")
    read_object(adapter / CONFIG)
    return read_tensors(adapter / WEIGHTS)


def module_of(weight: str) -> str:
    """Return the module of an adapter's weight, which is named `….{module}.lora_A.weight`."""
    return weight.split(".")[-3]


@contextmanager
def adapter_unrounded(model: "PeftModel") -> Iterator[None]:
    """Keep the weights that are trained in float32 through the block.

    TRL's trainers convert those of a 4-bit model to bfloat16, where small updates round to 0.
    """
    kept = {weight: weight.data.float() for weight in model.parameters() if weight.requires_grad}
    yield
    for weight, values in kept.items():
        weight.data = values


@contextmanager
def as_reference(model: "PeftModel", adapter: Path | None) -> Iterator[None]:
    """Turn the model into its own reference in the block, with its weights in memory once.

    Without `adapter`, that is the model with its own adapter disabled. With it, the reference has
    that adapter instead of the model's own, for a trial whose start was not merged.
    """
    if adapter is None:
        with model.disable_adapter():
            yield
        return
    own = model.active_adapter
    adapter_tensors(adapter)
    model.load_adapter(adapter, adapter_name=REFERENCE)
    model.set_adapter(REFERENCE)
    try:
        yield
    finally:
        model.set_adapter(own)
        model.delete_adapter(REFERENCE)
