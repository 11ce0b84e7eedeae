"""What sequences need at least, against brute force."""

import random

import pytest

from benchmarks.needed import Tree, Weights, backward_flops, common, forward_flops, tree


def prefixes(sequences: list[list[int]]) -> set[tuple[int, ...]]:
    return {tuple(s[:end]) for s in sequences for end in range(1, len(s) + 1)}


@pytest.mark.parametrize("seed", range(20))
def test_a_tree_has_each_prefix_once(seed: int) -> None:
    chosen = random.Random(seed)
    sequences = [[chosen.randrange(3) for _ in range(chosen.randrange(9))] for _ in range(12)]
    found = prefixes(sequences)
    assert tree(sequences) == Tree(len(found), sum(map(len, found)))


def test_common_tokens_are_those_at_the_start() -> None:
    assert common([1, 2, 3], [1, 2, 4, 3]) == 2
    assert common([1, 2], [1, 2, 3]) == 2
    assert common([], [1]) == 0


def test_flops_are_those_that_torch_counts() -> None:
    """One sequence through a model with an adapter, all positions predicted."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import AutoConfig, AutoModelForCausalLM

    from benchmarks.shapes import SMALL, VOCABULARY, weights_of

    config = AutoConfig.for_model(
        **SMALL["tiny-llama"], vocab_size=VOCABULARY, tie_word_embeddings=False
    )
    base = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = get_peft_model(base, LoraConfig(r=8, target_modules=names, task_type="CAUSAL_LM"))
    weights, length = weights_of(config, 8), 24
    assert weights.adapter == sum(w.numel() for w in model.parameters() if w.requires_grad)
    ids = torch.arange(length)[None]
    with FlopCounterMode(display=False) as forward:
        logits = model(input_ids=ids, use_cache=False).logits
    # Eager attention multiplies what the mask then hides, and rotates by angles, a product too.
    seen = Tree(length, length * length)
    rotary = 2 * length * config.hidden_size // config.num_attention_heads // 2
    assert forward.get_total_flops() - rotary == forward_flops(weights, seen, length)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    # The first layer's projections pass nothing on to the embeddings, which are frozen.
    first = 2 * length * sum(
        getattr(base.model.layers[0].self_attn, name).base_layer.weight.numel()
        for name in names[:3]
    )  # fmt: skip
    first_adapters = 2 * length * 3 * 8 * config.hidden_size
    counted = backward_flops(weights, seen, length) - first - first_adapters
    assert backward.get_total_flops() == counted


def test_the_reference_has_no_adapter() -> None:
    weights = Weights(frozen=100, adapter=10, head=50, attention=7)
    with_it, without = (forward_flops(weights, Tree(4, 10), 2, on) for on in (True, False))
    assert with_it - without == 2 * 10 * 4
    assert without == 2 * 100 * 4 + 2 * 50 * 2 + 4 * 7 * 10
