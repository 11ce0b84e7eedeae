"""How large a trial is, from configurations alone: nothing is downloaded, nothing allocated.

Memory is counted for blocks as Llama, Mistral and Qwen have them (RMSNorm, rotary positions,
grouped queries, a gated MLP), with the attention of PyTorch's sdpa and the losses of TRL.
"""

from dataclasses import dataclass
from math import ceil, prod
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

FLOAT32 = 4
BLOCK, NESTED_BLOCK = 64, 256
"""Weights that share one 8-bit scale in NF4, and scales that share one float32 scale."""
CODE_BYTES = 4 * (16 + 256 + 1)
"""The float32 tables that bitsandbytes keeps with each weight: NF4's, the scales' and an offset."""
CHUNK = 256
"""Tokens that TRL's chunked cross-entropy projects onto the vocabulary at a time."""
EIGHT_BIT_BLOCK, EIGHT_BIT_MINIMUM = 256, 4096
"""Of bitsandbytes' 8-bit optimizers: values a scale, and the smallest tensor that is 8-bit."""
SHARED_INPUTS = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention",
                 "gate_proj": "mlp", "up_proj": "mlp"}  # fmt: skip
"""Projections that read the same tensor."""


@dataclass(frozen=True)
class Layout:
    """The weights of a model and of its adapter."""

    quantizable: tuple[int, ...]
    """Elements of each weight that bitsandbytes quantizes: every linear layer but lm_head."""
    kept: int
    """Elements of all other weights: embeddings, lm_head, norms, biases."""
    adapter: tuple[tuple[int, ...], ...]
    """Shape of each matrix that is trained."""
    targets: tuple[tuple[str, int, int], ...]
    """Path, input width and rank of each linear layer that has an adapter."""

    @property
    def parameters(self) -> int:
        """The base's weights."""
        return sum(self.quantizable) + self.kept

    @property
    def trainable(self) -> int:
        """The adapter's weights."""
        return sum(map(prod, self.adapter))

    @property
    def modules(self) -> set[str]:
        """The names of the linear layers that have an adapter."""
        return {path.rpartition(".")[2] for path, _, _ in self.targets}


@dataclass(frozen=True)
class Batch:
    """The largest batch of a run, and how it is computed."""

    sequences: int
    longest: int
    itemsize: int
    """Bytes of a number in the forward pass: 2 for bfloat16 and float16."""
    quantized: bool
    checkpointing: bool
    dropout: bool
    mask_itemsize: int = 1
    """Bytes that dropout keeps of each element: a GPU's mask; a CPU's is of the input's type."""

    @property
    def tokens(self) -> int:
        """Padding included."""
        return self.sequences * self.longest


def layout(model: "PreTrainedConfig", lora: dict[str, Any]) -> Layout:
    """Returns the weights of a model and of a LoRA adapter for it.

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
    from peft.tuners.lora import LoraLayer
    from transformers import AutoModelForCausalLM

    from scripts.lm.adapters import lora_config

    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(model)
        linear = tuple(
            module.weight.numel()
            for name, module in base.named_modules()
            if isinstance(module, torch.nn.Linear) and name != "lm_head"
        )
        whole = sum(weight.numel() for weight in base.parameters())
        adapted = get_peft_model(base, lora_config(base, lora))
    return Layout(
        quantizable=linear,
        kept=whole - sum(linear),
        adapter=tuple(tuple(w.shape) for w in adapted.parameters() if w.requires_grad),
        targets=tuple(
            (name, module.in_features, module.r["default"])
            for name, module in adapted.named_modules()
            if isinstance(module, LoraLayer)
        ),
    )


def overwriting_lora(
    lora: dict[str, Any], start: dict[str, Any], modules: set[str]
) -> dict[str, Any]:
    """Returns the one adapter that is left, all of it trained, where a trial overwrites its start.

    It is that of scripts.lm.adapters.overwriting_config, without the start's files.

    Parameters
    ----------
    lora
        The trial's own adapter, its target modules named one by one.
    start
        The adapter of the trial that it starts from.
    modules
        The modules that the start stands on; where the trial's own adapter is not, it stays.
    """
    kept = sorted(modules - set(lora["target_modules"]))
    if not kept:
        return lora
    return lora | {
        "target_modules": [*lora["target_modules"], *kept],
        "rank_pattern": dict.fromkeys(kept, start["r"]),
        "alpha_pattern": dict.fromkeys(kept, start["lora_alpha"]),
        # Memory is counted as if all modules had dropout where some have.
        "lora_dropout": max(lora["lora_dropout"], start["lora_dropout"]),
    }


def trainable_parameters(model: "PreTrainedConfig", lora: dict[str, Any]) -> int:
    """Returns the number of weights that a LoRA adapter adds to a model of this configuration.

    Raises
    ------
    BadInput
        When the model lacks one of the target modules.
    """
    return layout(model, lora).trainable


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


def weight_bytes(layout: Layout, itemsize: int, quantization: str) -> int:
    """Returns the bytes of the base's weights as they lie in memory.

    NF4 with double quantization (https://arxiv.org/abs/2305.14314): 4 bits a weight, an 8-bit scale
    for each 64 weights and a float32 for each 256 scales, 4.127 bits together. Biases, norms,
    embeddings and lm_head keep `itemsize` bytes a weight.
    """
    if quantization == "none":
        return layout.parameters * itemsize
    return layout.kept * itemsize + sum(map(_nf4_bytes, layout.quantizable))


def _nf4_bytes(elements: int) -> int:
    scales = ceil(elements / BLOCK)
    return ceil(elements / 2) + scales + FLOAT32 * ceil(scales / NESTED_BLOCK) + CODE_BYTES


def optimizer_bytes(layout: Layout, optim: str) -> int:
    """Returns the bytes of an optimizer's state.

    AdamW keeps two float32 a weight; in 8 bit two bytes and a float32 for each 256 of either.
    Adafactor keeps the sums over rows and over columns (https://arxiv.org/abs/1804.04235), SGD
    without momentum nothing.
    """
    return sum(_state_bytes(shape, optim) for shape in layout.adapter)


def _state_bytes(shape: tuple[int, ...], optim: str) -> int:
    elements = prod(shape)
    if optim == "sgd":
        return 0
    if optim == "adafactor":
        return FLOAT32 * sum(shape)
    if optim.endswith("8bit") and elements >= EIGHT_BIT_MINIMUM:
        return 2 * (elements + FLOAT32 * ceil(elements / EIGHT_BIT_BLOCK))
    return 2 * FLOAT32 * elements


def activation_bytes(model: "PreTrainedConfig", layout: Layout, batch: Batch) -> int:
    """Returns the bytes that a forward pass keeps for the backward pass, logits aside.

    Counted tensor by tensor as in Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198,
    section 4), for what differs here: frozen weights, whose inputs are not kept; adapters, whose
    inputs are; the float32 input of RMSNorm; three tensors of a gated MLP; sdpa, which keeps no
    attention matrix. With gradient checkpointing only each block's input is kept.
    """
    final_norm = FLOAT32 * model.hidden_size
    if batch.checkpointing:
        inputs = model.num_hidden_layers * model.hidden_size * batch.itemsize
        return batch.tokens * (inputs + final_norm)
    copies = layout.trainable * batch.itemsize if batch.itemsize < FLOAT32 else 0
    return batch.tokens * (_blocks(model, layout, batch) + final_norm) + copies


def block_bytes(model: "PreTrainedConfig", layout: Layout, batch: Batch) -> int:
    """Returns the bytes at work while the backward pass is in one block.

    The block's recomputed activations where only its input was kept, two gradients as wide as the
    MLP, the residual's, adapter inputs cast to float32, and one weight taken out of NF4.
    """
    gradients = 2 * (model.intermediate_size + model.hidden_size) * batch.itemsize
    cast = FLOAT32 * model.intermediate_size if _casts(batch) else 0
    recomputed = 0
    if batch.checkpointing:
        recomputed = ceil(_blocks(model, layout, batch) / model.num_hidden_layers)
    dequantized = max(layout.quantizable) * batch.itemsize if batch.quantized else 0
    return batch.tokens * (recomputed + gradients + cast) + dequantized


def _blocks(model: "PreTrainedConfig", layout: Layout, batch: Batch) -> int:
    """Returns the bytes a token that all blocks together keep."""
    hidden, size = model.hidden_size, batch.itemsize
    heads = model.num_attention_heads
    head = getattr(model, "head_dim", None) or hidden // heads
    # A mask, needed once rows of several lengths share a batch, makes sdpa repeat keys and values
    # for every head, and is kept itself.
    masked = batch.sequences > 1
    groups = heads if masked else model.num_key_value_heads
    norms = 2 * FLOAT32 * hidden
    attention = 2 * (heads + groups) * head * size + FLOAT32 * heads
    attention += batch.longest * size if masked else 0
    mlp = 3 * model.intermediate_size * size
    return model.num_hidden_layers * (norms + attention + mlp) + _adapter_inputs(layout, batch)


def _adapter_inputs(layout: Layout, batch: Batch) -> int:
    """Returns the bytes a token that adapters keep: their inputs, and what lies between A and B."""
    size = batch.itemsize
    between = sum(rank for _, _, rank in layout.targets) * size
    if batch.dropout:
        return between + sum(width for _, width, _ in layout.targets) * (size + batch.mask_itemsize)
    if _casts(batch):
        return between + sum(width for _, width, _ in layout.targets) * size
    read = {}
    for path, width, _ in layout.targets:
        parent, _, name = path.rpartition(".")
        # o_proj reads sdpa's own output, which is kept already.
        if name != "o_proj":
            read[parent, SHARED_INPUTS.get(name, name)] = width * size
    return between + sum(read.values())


def _casts(batch: Batch) -> bool:
    """Says whether PEFT casts each adapter's input to float32, and autocast back, on its own."""
    return batch.itemsize < FLOAT32 and not batch.quantized


def logit_bytes(vocabulary: int, method: str, batch: Batch, fused: bool = True) -> int:
    """Returns the bytes at work where logits are, at the peak, in TRL's losses.

    DPO projects every token of both sequences: float32 logits and their gradient. Without TRL's
    fused kernel, which needs a GPU, two more of that size. SFT projects 256 tokens at a time:
    logits, log-probs, probabilities and a product of both, in float32.
    """
    if method == "sft":
        return min(CHUNK, batch.tokens) * vocabulary * FLOAT32 * 4
    return batch.tokens * vocabulary * FLOAT32 * (2 if fused else 4)


def check_architecture(model: "PreTrainedConfig") -> None:
    """Raises BadInput when a configuration lacks a size that memory is counted from."""
    needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
              "num_key_value_heads", "vocab_size")  # fmt: skip
    missing = [name for name in needed if not isinstance(getattr(model, name, None), int)]
    if missing:
        raise BadInput(
            f"{model.model_type}: its configuration has no {', '.join(missing)}; "
            "memory is known for models built as Llama, Mistral or Qwen are"
        )
