"""Base models and adapters, loaded without the network and without remote code."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.lm.tokenizers import snapshot_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def weights_dtype(precision: str) -> "torch.dtype":
    """Return the dtype that a configured precision means on this machine.

    Raises
    ------
    BadInput
        When the machine cannot compute in it.
    """
    import torch

    gpu = torch.cuda.is_available()
    if precision == "auto":
        if not gpu:
            return torch.float32
        return torch.bfloat16 if _has_bfloat16() else torch.float16
    if precision == "bfloat16" and gpu and not _has_bfloat16():
        raise BadInput(
            f"precision bfloat16: {torch.cuda.get_device_name()} does not support it; "
            "use auto or float16"
        )
    if precision == "float16" and not gpu:
        raise BadInput("precision float16 needs a GPU; on a CPU use auto, float32 or bfloat16")
    return getattr(torch, precision)


def _has_bfloat16() -> bool:
    """Return True if the GPU computes in bfloat16, without torch's emulation."""
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def load_base(manifest: str | Path, precision: str, quantization: str) -> "PreTrainedModel":
    """Return the base model on the GPU, or on the CPU if there is no GPU, in evaluation mode.

    Parameters
    ----------
    manifest
        The model's manifest.json.
    precision, quantization
        As in the configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    dtype = weights_dtype(precision)
    device, options = "cuda" if torch.cuda.is_available() else "cpu", {}
    # One of several processes: they shard the model when training begins.
    place = os.environ.get("LOCAL_RANK")
    if quantization == "nf4":
        options["quantization_config"] = _nf4(dtype, sharded=place is not None)
        device = f"cuda:{place}" if place and device == "cuda" else device
    elif place:
        device = "cpu"
    model = AutoModelForCausalLM.from_pretrained(
        snapshot_folder(manifest),
        dtype=dtype,
        device_map={"": device},
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **options,
    )
    _keep_gradients(model)
    return model.eval()


def _nf4(dtype: "torch.dtype", sharded: bool = False) -> object:
    """Return QLoRA's quantization (https://arxiv.org/abs/2305.14314): NF4, doubly quantized.

    To be sharded, weights have to be stored as floating point, which changes no value.
    """
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        bnb_4bit_quant_storage=dtype if sharded else None,
    )


def _keep_gradients(model: "PreTrainedModel") -> None:
    """Prevent bitsandbytes from packing 4-bit weights on a CPU when it first evaluates them.

    Its kernel for packed weights rounds differently and, in 0.50.2, passes no gradient on: after an
    evaluation, gradients would silently reach a trial's adapters only past the frozen weights.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def merge_adapters(model: "PreTrainedModel", adapters: list[Path]) -> "PreTrainedModel":
    """Return the model with the adapters merged into its weights, one after the other."""
    from peft import PeftModel

    for adapter in adapters:
        model = PeftModel.from_pretrained(model, adapter).merge_and_unload()
    return model


def attach_adapter(model: "PreTrainedModel", adapter: Path) -> "PreTrainedModel":
    """Return the model with a trained adapter, not merged, as it was trained."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, adapter).eval()
