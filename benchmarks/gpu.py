"""Measurements that need a GPU: attention with an explicit mask, with two torch kernels.

A layout that shares prefixes needs a mask of its own. sdpa takes it as a tensor; FlexAttention
compiles it into the kernel and skips blocks that are masked out.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.gpu_check import SHAPES

if TYPE_CHECKING:
    import torch

Part = dict[str, Any]

NOT_RUN = (
    "Not run: this page was made without a GPU. With one, `python -m benchmarks.fast_path --gpu` "
    "trains Qwen2.5-14B's shape in 4 bit and TinyLlama's in bfloat16 (random weights) through TRL, "
    "through TRL under Unsloth and through prefmake, in wall seconds and GPU memory; and times one "
    "layer's attention under a prefix-sharing mask, sdpa against FlexAttention."
)
PASSES = (384, 1024, 2048, 4096)
"""Tokens per pass: trees of 4 and 16 title pairs, 8 dialogues, and a batch padded to 512."""
BRANCHES = 16
REPEATS = 20
BLOCK = 128


def available() -> bool:
    """Return True if torch has a GPU."""
    import torch

    return torch.cuda.is_available()


def conditions_of(titles: str) -> Part:
    """Return the conditions of a GPU measurement: machine, versions, code and titles."""
    from benchmarks.gpu_check import machine
    from benchmarks.ledger import conditions

    return conditions(titles) | {"gpu": machine()}


def ancestry(tokens: int) -> "torch.Tensor":
    """Return the branch of each token; 0 is the shared prefix, a third of the tokens."""
    import torch

    start = tokens // 3
    branches = 1 + torch.arange(tokens - start) * BRANCHES // (tokens - start)
    return torch.cat([torch.zeros(start, dtype=torch.long), branches])


def sees(branch: "torch.Tensor") -> Callable[..., "torch.Tensor"]:
    """Return FlexAttention's mask: a token sees the prefix and its own branch, up to itself."""

    def mask(_: Any, __: Any, query: "torch.Tensor", key: "torch.Tensor") -> "torch.Tensor":
        return (query >= key) & ((branch[key] == 0) | (branch[key] == branch[query]))

    return mask


def explicit(branch: "torch.Tensor") -> "torch.Tensor":
    """Return the same mask as a tensor for sdpa."""
    import torch

    place = torch.arange(len(branch), device=branch.device)
    return sees(branch)(None, None, place[:, None], place[None, :])[None, None]


def layer(shape: str, tokens: int, device: str, dtype: "torch.dtype") -> list["torch.Tensor"]:
    """Return random queries, keys and values of one layer."""
    import torch

    sizes = SHAPES[shape]
    width = sizes["hidden_size"] // sizes["num_attention_heads"]
    heads = [sizes["num_attention_heads"], *[sizes["num_key_value_heads"]] * 2]
    torch.manual_seed(0)
    return [
        torch.randn(1, count, tokens, width, device=device, dtype=dtype, requires_grad=True)
        for count in heads
    ]


def kernels(branch: "torch.Tensor", compiled: bool) -> dict[str, Callable[..., "torch.Tensor"]]:
    """Return both attention functions by name."""
    import torch
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    mask = explicit(branch)
    size = len(branch)
    blocks = create_block_mask(sees(branch), None, None, size, size, device=str(branch.device))
    flex = torch.compile(flex_attention) if compiled else flex_attention

    def with_tensor(*layer: "torch.Tensor") -> "torch.Tensor":
        return torch.nn.functional.scaled_dot_product_attention(
            *layer, attn_mask=mask, enable_gqa=True
        )

    def with_blocks(*layer: "torch.Tensor") -> "torch.Tensor":
        return flex(*layer, block_mask=blocks, enable_gqa=True)

    return {"sdpa": with_tensor, "FlexAttention": with_blocks}


def milliseconds(attend: Callable[..., "torch.Tensor"], layer: list["torch.Tensor"]) -> float:
    """Return the median time of a forward and a backward pass, after a warm-up."""
    import torch

    taken = []
    for _ in range(REPEATS + 3):
        torch.cuda.synchronize()
        start = time.perf_counter()
        attend(*layer).sum().backward()
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken[3:])


def attention_table() -> str:
    """Return the table of both kernels, by shape and tokens per pass."""
    import torch

    lines = ["One layer's attention, forward and backward, bfloat16, a third of the tokens shared "
             f"by {BRANCHES} branches; milliseconds.", ""]  # fmt: skip
    lines += ["| shape | tokens | sdpa | FlexAttention |", "|---|--:|--:|--:|"]
    for shape in ("qwen-14b", "tinyllama"):
        for tokens in PASSES:
            ways = kernels(ancestry(tokens).cuda(), compiled=True)
            given = layer(shape, tokens, "cuda", torch.bfloat16)
            taken = [f"{milliseconds(attend, given):.2f}" for attend in ways.values()]
            lines.append(f"| {shape} | {tokens} | {' | '.join(taken)} |")
    return "\n".join(lines)
