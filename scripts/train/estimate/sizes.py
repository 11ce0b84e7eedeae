"""How large a trial is, from configurations only: nothing is downloaded or allocated.

Memory is counted for blocks like those of Llama, Mistral and Qwen (RMSNorm, rotary positions,
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
"""Float32 tables that bitsandbytes keeps with each weight: NF4's, the scales' and an offset."""
STOCK_CHUNK, PACKED_CHUNK = (256, 4), (128, 3)
"""Tokens that a supervised loss projects onto the vocabulary at a time, and its float32 numbers for
each logit: TRL's has logits, log-probs, probabilities and a product of both, that of packed rows
log-probs and two gradients."""
EIGHT_BIT_BLOCK, EIGHT_BIT_MINIMUM = 256, 4096
"""Of bitsandbytes' 8-bit optimizers: values per scale, and the smallest tensor that is 8-bit."""
SHARED_INPUTS = {"q_proj": "attention", "k_proj": "attention", "v_proj": "attention",
                 "gate_proj": "mlp", "up_proj": "mlp"}  # fmt: skip
"""Projections that read the same tensor."""


@dataclass(frozen=True)
class Layout:
    """The weights of a model and of its adapter."""

    quantizable: tuple[int, ...]
    """Elements of each weight that bitsandbytes quantizes: every linear layer except lm_head."""
    kept: int
    """Elements of all other weights: embeddings, lm_head, norms, biases."""
    adapter: tuple[tuple[int, ...], ...]
    """Shape of each matrix that is trained."""
    targets: tuple[tuple[str, int, int], ...]
    """Path, input width and rank of each linear layer that has an adapter."""

    @property
    def parameters(self) -> int:
        """The number of the base's weights."""
        return sum(self.quantizable) + self.kept

    @property
    def trainable(self) -> int:
        """The number of the adapter's weights."""
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
    """Return the weights of a model and of a LoRA adapter for it.

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


def optimizer_steps(rows: int, trainer: dict[str, Any]) -> int:
    """Return how many steps transformers' Trainer takes over so many rows.

    An incomplete window of batches at an epoch's end is a step of its own; an incomplete batch is
    left out with dataloader_drop_last.
    """
    if trainer["max_steps"] > 0:
        return trainer["max_steps"]
    batches = rows / trainer["per_device_train_batch_size"]
    batches = int(batches) if trainer["dataloader_drop_last"] else ceil(batches)
    windows = max(ceil(batches / trainer["gradient_accumulation_steps"]), 1)
    return ceil(trainer["num_train_epochs"] * windows)


def weight_bytes(layout: Layout, itemsize: int, quantization: str) -> int:
    """Return the bytes of the base's weights in memory.

    NF4 with double quantization (https://arxiv.org/abs/2305.14314): 4 bits per weight, an 8-bit
    scale for 64 weights and a float32 for 256 scales, 4.127 bits together. Biases, norms,
    embeddings and lm_head keep `itemsize` bytes per weight.
    """
    if quantization == "none":
        return layout.parameters * itemsize
    return layout.kept * itemsize + sum(map(_nf4_bytes, layout.quantizable))


def _nf4_bytes(elements: int) -> int:
    scales = ceil(elements / BLOCK)
    return ceil(elements / 2) + scales + FLOAT32 * ceil(scales / NESTED_BLOCK) + CODE_BYTES


def optimizer_bytes(layout: Layout, optim: str) -> int:
    """Return the bytes of an optimizer's state.

    AdamW keeps two float32 per weight; in 8 bit two bytes, and a float32 for 256 of either.
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
    """Return the bytes that a forward pass keeps for the backward pass, without logits.

    Counted tensor by tensor as in Korthikanti et al. 2022 (https://arxiv.org/abs/2205.05198,
    section 4), with what differs here: the inputs of frozen weights are not kept, those of adapters
    are; RMSNorm's input is float32; a gated MLP keeps three tensors; sdpa keeps no attention
    matrix. With gradient checkpointing only each block's input is kept.
    """
    final_norm = FLOAT32 * model.hidden_size
    if batch.checkpointing:
        inputs = model.num_hidden_layers * model.hidden_size * batch.itemsize
        return batch.tokens * (inputs + final_norm)
    copies = layout.trainable * batch.itemsize if batch.itemsize < FLOAT32 else 0
    return batch.tokens * (_blocks(model, layout, batch) + final_norm) + copies


def block_bytes(model: "PreTrainedConfig", layout: Layout, batch: Batch) -> int:
    """Return the bytes in use while the backward pass is in one block.

    The block's recomputed activations if only its input was kept, two gradients as wide as the MLP,
    the residual's, adapter inputs cast to float32, and one weight dequantized from NF4.
    """
    gradients = 2 * (model.intermediate_size + model.hidden_size) * batch.itemsize
    cast = FLOAT32 * model.intermediate_size if _casts(batch) else 0
    recomputed = 0
    if batch.checkpointing:
        recomputed = ceil(_blocks(model, layout, batch) / model.num_hidden_layers)
    dequantized = max(layout.quantizable) * batch.itemsize if batch.quantized else 0
    return batch.tokens * (recomputed + gradients + cast) + dequantized


def _blocks(model: "PreTrainedConfig", layout: Layout, batch: Batch) -> int:
    """Return the bytes per token that all blocks together keep."""
    hidden, size = model.hidden_size, batch.itemsize
    heads = model.num_attention_heads
    head = getattr(model, "head_dim", None) or hidden // heads
    # A mask, which rows of different lengths need, makes sdpa repeat keys and values for every
    # head, and is kept too.
    masked = batch.sequences > 1
    groups = heads if masked else model.num_key_value_heads
    norms = 2 * FLOAT32 * hidden
    attention = 2 * (heads + groups) * head * size + FLOAT32 * heads
    attention += batch.longest * size if masked else 0
    mlp = 3 * model.intermediate_size * size
    return model.num_hidden_layers * (norms + attention + mlp) + _adapter_inputs(layout, batch)


def _adapter_inputs(layout: Layout, batch: Batch) -> int:
    """Return the bytes per token that adapters keep: their inputs, and the outputs of A."""
    size = batch.itemsize
    between = sum(rank for _, _, rank in layout.targets) * size
    if batch.dropout:
        return between + sum(width for _, width, _ in layout.targets) * (size + batch.mask_itemsize)
    if _casts(batch):
        return between + sum(width for _, width, _ in layout.targets) * size
    read = {}
    for path, width, _ in layout.targets:
        parent, _, name = path.rpartition(".")
        # o_proj reads sdpa's output, which is kept anyway.
        if name != "o_proj":
            read[parent, SHARED_INPUTS.get(name, name)] = width * size
    return between + sum(read.values())


def _casts(batch: Batch) -> bool:
    """Return True if PEFT casts each adapter's input to float32, and autocast casts it back."""
    return batch.itemsize < FLOAT32 and not batch.quantized


def logit_bytes(
    vocabulary: int, chunk: tuple[int, int] | None, batch: Batch, fused: bool = True
) -> int:
    """Return the bytes that losses use for logits at the peak.

    SFT projects a chunk of tokens at a time. DPO has none: it projects every token of both
    sequences, to float32 logits and their gradient. Without TRL's fused kernel, which needs a GPU,
    two more of that size.
    """
    if chunk:
        tokens, copies = chunk
        return min(tokens, batch.tokens) * vocabulary * FLOAT32 * copies
    return batch.tokens * vocabulary * FLOAT32 * (2 if fused else 4)


def check_architecture(model: "PreTrainedConfig") -> None:
    """Raise BadInput if a configuration lacks a size that memory is counted from."""
    needed = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
              "num_key_value_heads", "vocab_size")  # fmt: skip
    missing = [name for name in needed if not isinstance(getattr(model, name, None), int)]
    if missing:
        raise BadInput(
            f"{model.model_type}: its configuration has no {', '.join(missing)}; "
            "memory is known for models built like Llama, Mistral or Qwen"
        )
