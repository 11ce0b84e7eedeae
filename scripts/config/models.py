"""Base models: where they come from, and how their weights are held in memory."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from scripts.config.base import Closed, Commit, PlainPath, tagged


class HubModel(Closed):
    """A repository on the hub, at a commit."""

    hub: str = Field(description="owner/name")
    revision: Commit


class FolderModel(Closed):
    """A local folder with config.json, safetensors and tokenizer files."""

    folder: PlainPath


class DemoModel(Closed):
    """A small Llama that a rule trains from scratch, with its tokenizer."""

    demo: PlainPath = Field(description="JSON lines of texts to train on")
    vocab_size: int = Field(1024, ge=300)
    hidden_size: int = Field(128, ge=8)
    num_hidden_layers: int = Field(3, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    intermediate_size: int = Field(256, ge=8)
    max_position_embeddings: int = Field(256, ge=16)
    sequence_length: int = Field(128, ge=16)
    batch_size: int = Field(4, ge=1)
    steps: int = Field(1200, ge=1)
    learning_rate: float = Field(4e-3, gt=0)
    warmup_steps: int = Field(30, ge=0)
    seed: int = 0


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
        "auto", description="auto: bfloat16 where the GPU has it, else float16; float32 on a CPU"
    )
    quantization: Literal["none", "nf4"] = Field(
        "none", description="nf4: 4-bit NormalFloat with double quantization (bitsandbytes)"
    )
