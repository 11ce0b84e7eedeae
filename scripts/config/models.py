"""Base models: where they come from, and how their weights are held in memory."""

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator

from scripts.config.base import (
    LARGEST,
    LARGEST_SIZE,
    Closed,
    Commit,
    Count,
    PlainPath,
    Positive,
    Seed,
    Size,
    tagged,
)


class HubModel(Closed):
    """A repository on the hub, at a commit."""

    hub: str = Field(description="owner/name")
    revision: Commit


class FolderModel(Closed):
    """A local folder with config.json, tokenizer.json and model.safetensors or its shards."""

    folder: PlainPath


class DemoModel(Closed):
    """A small Llama that a rule trains from scratch, with its tokenizer."""

    demo: PlainPath = Field(description="JSON lines of texts to train on")
    vocab_size: int = Field(1024, ge=300, le=LARGEST_SIZE)
    hidden_size: int = Field(128, ge=8, le=LARGEST_SIZE)
    num_hidden_layers: Size = 3
    num_attention_heads: Size = 4
    intermediate_size: int = Field(256, ge=8, le=LARGEST_SIZE)
    max_position_embeddings: int = Field(256, ge=16, le=LARGEST)
    sequence_length: int = Field(128, ge=16, le=LARGEST)
    batch_size: Count = 4
    steps: Count = 1200
    learning_rate: Positive = 4e-3
    warmup_steps: int = Field(30, ge=0, le=LARGEST)
    seed: Seed = 0

    @model_validator(mode="after")
    def can_be_built(self) -> "DemoModel":
        heads, size = self.num_attention_heads, self.hidden_size
        # Rotary positions turn halves of a head.
        if size % (2 * heads):
            raise ValueError(
                f"hidden_size: found {size}; allowed are multiples of twice num_attention_heads "
                f"({2 * heads})"
            )
        if self.sequence_length > self.max_position_embeddings:
            raise ValueError(
                f"sequence_length: found {self.sequence_length}; allowed is at most "
                f"max_position_embeddings ({self.max_position_embeddings})"
            )
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps: found {self.warmup_steps}; allowed is at most steps ({self.steps})"
            )
        return self


ModelSource = Annotated[
    Annotated[HubModel, Tag("hub")]
    | Annotated[FolderModel, Tag("folder")]
    | Annotated[DemoModel, Tag("demo")],
    tagged("hub", "folder", "demo"),
]


class Model(Closed):
    """A base model, and how its weights are held in memory."""

    source: ModelSource
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="auto: bfloat16 where the GPU has it, else float16; on a CPU bfloat16 with "
        "AMX or AVX512_BF16, else float32. Each job records what it used, and stops if it was "
        "given what another precision made",
    )
    quantization: Literal["none", "nf4"] = Field(
        "none", description="nf4: 4-bit NormalFloat with double quantization (bitsandbytes)"
    )
