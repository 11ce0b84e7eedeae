"""Base models and adapters, loaded without the network and without remote code."""

import os
import re
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.lm.adapters import read_adapter
from scripts.lm.checks import brief, read_config
from scripts.lm.tokenizers import snapshot_folder
from scripts.lm.weights import INDEX, WEIGHTS, Tensor, read_weights

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

TABLE = re.compile(
    r"\.weight\.(nested_)?(absmax|quant_map)$|\.weight\.quant_state\.|\.(SCB|weight_format)$"
)
"""Names of what bitsandbytes saves beside a weight."""
STORED = {"U8": 1, "F16": 2, "BF16": 2, "F32": 4}
"""Bytes of the types in which it packs 4-bit weights."""
MASK = re.compile(r"\.(masked_bias|(attn|attention)\.bias|causal_mask)$")
"""Names of masks that old versions of transformers saved with the weights."""
CPU_BFLOAT16 = ("amx_bf16", "avx512_bf16")
"""Capabilities, as torch names them, of a CPU that computes in bfloat16 faster than in float32."""
SHOWN = 3
"""Tensors that a message names."""


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
        other = torch.float16 if gpu else torch.float32
        return torch.bfloat16 if _has_bfloat16() else other
    if precision == "bfloat16" and gpu and not _has_bfloat16():
        raise BadInput(
            f"precision bfloat16: {torch.cuda.get_device_name()} does not support it; "
            "use auto or float16"
        )
    if precision == "float16" and not gpu:
        raise BadInput("precision float16 needs a GPU; on a CPU use auto, float32 or bfloat16")
    return getattr(torch, precision)


def _has_bfloat16() -> bool:
    """Return True if the GPU, or a CPU without one, computes in bfloat16 without emulation."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in CPU_BFLOAT16)


def check_weights(manifest: str | Path) -> None:
    """Raise BadInput unless a snapshot has the tensors of its model: all, and no others.

    The model is built and loaded without memory for weights, so that transformers itself says what
    it would leave out or make up. Of weights that another library than bitsandbytes quantized, only
    the files are checked.

    Parameters
    ----------
    manifest
        The model's manifest.json.
    """
    import torch
    from transformers import AutoModelForCausalLM

    folder, tensors = _files(manifest)
    config = read_config(folder)
    path = folder / "config.json"
    # Building so many would take longer than loading them.
    layers = getattr(config.get_text_config(), "num_hidden_layers", None) or 0
    if layers > len(tensors):
        raise BadInput(
            f"{path}: num_hidden_layers: found {layers}; the weights have {len(tensors)} tensors"
        )
    quantized = vars(config).pop("quantization_config", None)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    except Exception as error:
        raise BadInput(f"{path}: transformers cannot build its model: {brief(error)}") from None
    if quantized is not None:
        if not _by_bitsandbytes(path, quantized):
            return
        tensors = _unpacked(path, tensors, model)
    elif whole := [
        name for name, of in tensors.items() if name.endswith("weight") and of.dtype[0] in "IU"
    ]:
        tensor = tensors[whole[0]]
        raise BadInput(
            f"{tensor.file}: {whole[0]} has whole numbers ({tensor.dtype}), without a "
            "quantization_config in config.json that says what they mean"
        )
    _refuse_others(folder, tensors, model, _loaded(model, tensors))


def _files(manifest: str | Path) -> tuple[Path, dict[str, Tensor]]:
    """Return a snapshot's folder and its tensors."""
    folder = snapshot_folder(manifest)
    names = {file["name"] for file in read_json(manifest)["files"]}
    # transformers would prefer some that the manifest does not list.
    return folder, read_weights(folder, names | {path.name for path in folder.glob(f"{WEIGHTS}*")})


def _loaded(model: "PreTrainedModel", tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Return what transformers would find missing, additional or of another shape."""
    import torch
    from transformers.utils import logging

    logging.disable_progress_bar()
    level = logging.get_verbosity()
    # What it has to report, is reported here.
    logging.set_verbosity_error()
    try:
        return type(model).from_pretrained(
            None,
            config=model.config,
            state_dict={
                name: torch.empty(tensor.shape, device="meta") for name, tensor in tensors.items()
            },
            dtype=torch.float32,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )[1]
    finally:
        logging.set_verbosity(level)


def _by_bitsandbytes(path: Path, quantized: Any) -> bool:
    """Return True if bitsandbytes quantized the weights, False if another library did.

    Raises
    ------
    BadInput
        If transformers does not know that library, or it is not installed.
    """
    from transformers.quantizers import AutoHfQuantizer, AutoQuantizationConfig

    try:
        config = AutoQuantizationConfig.from_dict(quantized)
        if config.quant_method == "bitsandbytes":
            return True
        AutoHfQuantizer.from_config(config).validate_environment()
    except RuntimeError:
        # It asks for a GPU, and the check of a model may run without one.
        pass
    except Exception as error:
        raise BadInput(f"{path}: quantization_config: cannot be loaded: {brief(error)}") from None
    return False


def _unpacked(
    path: Path, tensors: dict[str, Tensor], model: "PreTrainedModel"
) -> dict[str, Tensor]:
    """Return tensors that bitsandbytes quantized with the shapes they had, without its tables.

    A 4-bit weight is a column of bytes, and has as many halves of a byte as it had elements.
    """
    expected = dict(model.named_parameters())
    packed = {name.partition(".quant_state.")[0] for name in tensors if ".quant_state." in name}
    found = {name: tensor for name, tensor in tensors.items() if not TABLE.search(name)}
    if len(found) == len(tensors):
        raise BadInput(f"{path}: found quantization_config, but no quantized weight; remove it")
    for name in packed & found.keys() & expected.keys():
        halves = 2 * prod(found[name].shape) * STORED.get(found[name].dtype, 0)
        if halves == expected[name].numel():
            found[name] = found[name]._replace(shape=tuple(expected[name].shape))
    return found


def _refuse_others(
    folder: Path, tensors: dict[str, Tensor], model: "PreTrainedModel", found: dict[str, Any]
) -> None:
    """Raise BadInput if transformers found tensors that are not exactly a model's."""
    missing = sorted(found["missing_keys"])
    unknown = sorted(key for key in found["unexpected_keys"] if not _is_mask(key, tensors))
    other = sorted(found["mismatched_keys"])
    needed = model.state_dict() if missing else {}
    prefix = f"{model.base_model_prefix}."
    twice = sorted(name for name in tensors if prefix + name in tensors)
    named = [*twice, *(name for name, _, _ in other), *unknown]
    all_files = folder / (INDEX if (folder / INDEX).exists() else WEIGHTS)
    path = min((tensors[name].file for name in named if name in tensors), default=all_files)
    faults = [
        *(f"{name} and {prefix}{name} are one tensor" for name in twice),
        *(f"{name} is {_size(has)}, not {_size(needs)}" for name, has, needs in other),
        *(f"{name} is not one of its tensors" for name in unknown),
        *(f"{name} ({_size(needed[name].shape)}) is missing" for name in missing),
    ]
    more = f", and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    if faults:
        raise BadInput(
            f"{path}: not the weights of {type(model).__name__} as config.json describes it: "
            f"{', '.join(faults[:SHOWN])}{more}"
        )


def _is_mask(name: str, tensors: dict[str, Tensor]) -> bool:
    """Return True for a mask, which unlike a bias has a first and second dimension of 1."""
    return bool(MASK.search(name)) and name in tensors and set(tensors[name].shape[:2]) <= {1}


def _size(shape: Iterable[int]) -> str:
    """Return a shape as text."""
    return "×".join(map(str, shape)) or "a number"


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
    check_weights(manifest)
    dtype = weights_dtype(precision)
    device, options = "cuda" if torch.cuda.is_available() else "cpu", {}
    # One of several processes: they shard the model when training begins.
    place = os.environ.get("LOCAL_RANK")
    if quantization == "nf4":
        options["quantization_config"] = _nf4(dtype, sharded=place is not None)
        device = f"cuda:{place}" if place and device == "cuda" else device
    elif place:
        device = "cpu"
    folder, tensors = _files(manifest)
    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        # A config may name another attention, which would overrule the one that is asked for.
        config=read_config(folder),
        dtype=dtype,
        device_map={"": device},
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        **options,
    )
    _refuse_others(folder, tensors, model, found)
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
    for adapter in adapters:
        model = read_adapter(model, adapter).merge_and_unload()
    return model


def attach_adapter(model: "PreTrainedModel", adapter: Path) -> "PreTrainedModel":
    """Return the model with a trained adapter, not merged, as it was trained."""
    from scripts.lm.lora import fuse_lora

    attached = read_adapter(model, adapter).eval()
    fuse_lora(attached)
    return attached
