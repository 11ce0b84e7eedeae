"""Benchmark models: the published architectures, small, with random float32 weights."""

import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.needed import Weights

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Part = dict[str, Any]

VOCABULARY = 8192
SMALL: dict[str, Part] = {
    "qwen2": {
        "model_type": "qwen2", "hidden_size": 1024, "intermediate_size": 2816,
        "num_hidden_layers": 3, "num_attention_heads": 16, "num_key_value_heads": 4,
    },
    "llama": {
        "model_type": "llama", "hidden_size": 1024, "intermediate_size": 2816,
        "num_hidden_layers": 2, "num_attention_heads": 16, "num_key_value_heads": 2,
    },
    "tiny-qwen2": {
        "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    },
    "tiny-llama": {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    },
}  # fmt: skip
"""Wide enough that matrix products take most of the time, as in real models. The tiny ones are for
tests and for counting tokens, which do not depend on size."""


def write_small(shape: str, tokenizer: Path, folder: Path) -> Path:
    """Write a small model with a tokenizer's files, and return its manifest."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from scripts.models.manifest import write_manifest

    snapshot = folder / "snapshot"
    shutil.copytree(tokenizer, snapshot)
    loaded = AutoTokenizer.from_pretrained(snapshot, local_files_only=True, trust_remote_code=False)
    config = AutoConfig.for_model(
        **SMALL[shape],
        vocab_size=VOCABULARY,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        dtype="float32",
        eos_token_id=loaded.eos_token_id,
        pad_token_id=loaded.pad_token_id,
        bos_token_id=loaded.bos_token_id,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(snapshot)
    write_manifest(folder / "manifest.json", snapshot, {"source": "random"})
    return folder / "manifest.json"


def weights_of(config: "PreTrainedConfig", rank: int) -> Weights:
    """Return the weights of a model with adapters of `rank` on every projection."""
    hidden, inner = config.hidden_size, config.intermediate_size
    width = hidden // config.num_attention_heads
    keys = config.num_key_value_heads * width
    layers = config.num_hidden_layers
    matrices = [(hidden, hidden), (hidden, keys), (hidden, keys), (hidden, hidden)]
    matrices += [(hidden, inner), (hidden, inner), (inner, hidden)]
    return Weights(
        frozen=layers * sum(a * b for a, b in matrices),
        adapter=layers * rank * sum(a + b for a, b in matrices),
        head=config.vocab_size * hidden,
        attention=layers * hidden,
    )


def random_ids(generator: random.Random, count: int) -> list[int]:
    """Return `count` random token ids without special tokens."""
    return [generator.randrange(300, VOCABULARY - 100) for _ in range(count)]
