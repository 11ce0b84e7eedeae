"""Trees through whole models: the same numbers as separate rows, or the model is refused."""

import copy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
    Qwen2Config,
)

from scripts.lm.devices import pin_threads
from scripts.lm.prefix_tree import Tree, as_batch, packed, shared
from scripts.lm.tree_attention import NAME, attend_trees, check_sharing, logits_at

SIZES = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "vocab_size": 120, "max_position_embeddings": 128, "initializer_range": 0.1,
}  # fmt: skip
CONFIGS = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=4),
    "llama, grouped queries": LlamaConfig(**SIZES, num_key_value_heads=2),
    "qwen2": Qwen2Config(**SIZES, num_key_value_heads=1),
}
SEQUENCES = [
    [5, 6, 7, 8, 9, 10], [5, 6, 7, 11], [5, 6, 12, 13, 14], [5, 6, 12, 13, 14], [20, 21],
    [20, 21, 22, 23],
]  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    pin_threads()


@cache
def _model(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation="sdpa").eval()


def model_of(name: str) -> PreTrainedModel:
    return copy.deepcopy(_model(name))


def batched(sequences: list[list[int]]) -> Tree:
    """Return a tree whose branches attend as a batch, as on a GPU."""
    tree = shared(sequences)
    return replace(tree, branches=as_batch(tree.branches))


@pytest.mark.parametrize("lay_out", [shared, batched, packed])
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_logits_are_those_of_each_sequence_alone(name: str, lay_out: Any) -> None:
    model = model_of(name)
    alone = [model(input_ids=torch.tensor([sequence])).logits[0] for sequence in SEQUENCES]
    model.set_attn_implementation(NAME)
    tree = lay_out(SEQUENCES)
    for places, logits in zip(tree.places, alone, strict=True):
        torch.testing.assert_close(
            logits_at(model, tree, torch.tensor(places)), logits, atol=1e-5, rtol=1e-5
        )
    # Any shape, with repetitions, in any order.
    wanted = torch.tensor([[tree.places[0][3], 0], [0, tree.places[1][2]]])
    found = logits_at(model, tree, wanted)
    torch.testing.assert_close(found[0, 0], alone[0][3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1, 1], alone[1][2], atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0, 1], found[1, 0])


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_other_rows_are_computed_as_ever(name: str) -> None:
    model = model_of(name)
    ids = torch.tensor([[5, 6, 7, 8], [0, 0, 9, 10]])
    given = {"input_ids": ids, "attention_mask": (ids > 0).long()}
    greedy = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    greedy |= {"output_logits": True, "return_dict_in_generate": True}
    logits, answers = model(**given).logits, model.generate(**given, **greedy)
    assert attend_trees(model, [], [])[0] is None
    assert model.config._attn_implementation == NAME
    real = given["attention_mask"].bool()
    torch.testing.assert_close(model(**given).logits[real], logits[real])
    again = model.generate(**given, **greedy)
    assert torch.equal(again.sequences, answers.sequences)
    torch.testing.assert_close(again.logits, answers.logits)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_that_honours_branches_passes_and_is_left_as_it_was(
    name: str, dtype: torch.dtype, checkpointing: bool
) -> None:
    model = model_of(name).to(dtype).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = [weight for n, weight in model.named_parameters() if "proj" in n]
    state = torch.get_rng_state()
    reason, check = attend_trees(model, weights, [])
    assert reason is None
    assert check.passed
    assert check.logps_unbranched > 0.1
    assert check.gradient_unbranched > 0.1
    assert model.training
    assert all(weight.grad is None for weight in weights)
    assert torch.equal(torch.get_rng_state(), state)


class Forgetful(torch.nn.Module):
    """Drop branches before a model's forward sees them, while it trains or always."""

    def __init__(self, model: PreTrainedModel, only_in_training: bool):
        super().__init__()
        inner = model.forward

        def forward(*args: Any, branches: Any = None, **kwargs: Any) -> Any:
            dropped = model.training or not only_in_training
            return inner(*args, branches=None if dropped else branches, **kwargs)

        model.forward = forward


@pytest.mark.parametrize("only_in_training", [False, True])
def test_a_model_that_drops_branches_is_refused(only_in_training: bool) -> None:
    model = model_of("llama")
    Forgetful(model, only_in_training)
    weights = list(model.parameters())
    with torch.inference_mode():
        evaluated, _ = attend_trees(model.eval(), [], [])
    assert (evaluated is None) == only_in_training
    before = model.config._attn_implementation
    reason, check = attend_trees(model.train(), weights, [])
    assert "does not attend to prefix trees" in reason
    assert check.logps == pytest.approx(check.logps_unbranched)
    assert model.config._attn_implementation == before
    assert all(weight.grad is None for weight in weights)


def test_wrong_gradients_are_refused_whatever_the_log_probs() -> None:
    """The log-probs are right, but shared tokens give no gradient."""
    model = model_of("llama").train()
    layer, inner = model.model.layers[0], model.model.layers[0].forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        states = inner(*args, **kwargs)
        return states if kwargs.get("branches") is None else states.detach()

    layer.forward = forward
    weights = list(layer.parameters())
    check = check_sharing_as_trees(model, weights)
    assert check.logps <= check.allowed * check.logps_unbranched
    assert not check.passed


def check_sharing_as_trees(model: PreTrainedModel, weights: list[torch.nn.Parameter]) -> Any:
    model.set_attn_implementation(NAME)
    return check_sharing(model, weights)


def test_a_model_without_the_argument_is_refused_with_its_reason() -> None:
    model = model_of("llama")
    inner = model.forward
    model.forward = lambda input_ids, attention_mask, position_ids=None, use_cache=None: inner(
        input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids
    )
    reason, check = attend_trees(model, [], [])
    assert reason.startswith("the model does not support prefix trees (TypeError:")
    assert check is None
    assert model.config._attn_implementation == "sdpa"


def test_attention_that_slides_over_less_than_a_row_is_refused() -> None:
    config = MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=32)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    assert attend_trees(model, [], [8, 32])[0] is None
    reason, _ = attend_trees(model, [], [8, 33])
    assert reason == "attention slides over 32 tokens, and the longest row has 33"


def test_not_a_number_is_no_pass() -> None:
    model = model_of("llama")
    with torch.no_grad():
        model.lm_head.weight[3] = float("nan")
    reason, _ = attend_trees(model, [], [])
    assert "nan" in reason
