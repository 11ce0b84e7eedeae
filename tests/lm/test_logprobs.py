"""Log-probs against an independent sum, one sequence at a time without padding."""

import copy
import random
from collections.abc import Callable
from pathlib import Path
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

from scripts.lm import logprobs, tree_attention
from scripts.lm.logprobs import Sequence, completion_logps
from scripts.lm.pairs import pair_logps
from scripts.lm.prefix_tree import Tree, fewest_tokens
from scripts.lm.snapshots import load_base

VOCABULARY = 300
SIZES = {"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": VOCABULARY,
         "max_position_embeddings": 512, "initializer_range": 0.1}  # fmt: skip
CONFIGS = {"llama": LlamaConfig(**SIZES), "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True)}
NAMES = ("chosen", "rejected")


def tokens(generator: random.Random, count: int) -> list[int]:
    return [generator.randrange(5, VOCABULARY) for _ in range(count)]


def titles(ideas: int) -> list[dict[str, Any]]:
    """Return pairs as long as those of titles: ten per prompt, from five completions.

    All prompts begin and end alike, and are about 75 tokens long; completions are about 12.
    """
    generator = random.Random(0)
    head, tail = tokens(generator, 30), tokens(generator, 25)
    rows = []
    for idea in range(ideas):
        prompt = head + tokens(generator, generator.randrange(8, 32)) + tail
        choices = [tokens(generator, generator.randrange(8, 21)) for _ in range(5)]
        rows += [
            {"id": f"{idea}-{one}-{other}", "prompt_ids": prompt, "chosen_ids": choices[one],
             "rejected_ids": choices[other]}
            for one in range(5)
            for other in range(one)
        ]  # fmt: skip
    return rows


ODD = [
    {"id": "one token", "prompt_ids": [1, 20, 30], "chosen_ids": [40, 50, 2], "rejected_ids": [41]},
    {"id": "the same", "prompt_ids": [1, 20, 30], "chosen_ids": [44] * 5, "rejected_ids": [44] * 5},
    {"id": "a prefix", "prompt_ids": [1, 21], "chosen_ids": [42, 43], "rejected_ids": [42, 43, 44]},
    {"id": "a longer prompt", "prompt_ids": [1, 20, 30, 40, 50], "chosen_ids": [9] * 30,
     "rejected_ids": [2]},
    {"id": "no prompt", "prompt_ids": [], "chosen_ids": [7, 8, 9], "rejected_ids": [7]},
    {"id": "a prompt of one", "prompt_ids": [6], "chosen_ids": [7, 8], "rejected_ids": [9]},
]  # fmt: skip
ROWS = ODD + titles(4)


def build(name: str) -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(
        copy.deepcopy(CONFIGS[name]), attn_implementation="sdpa"
    ).eval()


def one_by_one(model: PreTrainedModel, prompt: list[int], completion: list[int]) -> list[float]:
    """Return the log-prob of each token except a row's first, which nothing predicts."""
    ids = torch.tensor([prompt + completion])
    with torch.no_grad():
        logps = model(input_ids=ids).logits.log_softmax(-1)[0]
    places = range(max(len(prompt), 1), ids.shape[1])
    return [logps[place - 1, ids[0, place]].item() for place in places]


def expected(model: PreTrainedModel, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Return each row's log-probs: of whole completions, and up to the shorter one's length."""
    found = []
    for row in rows:
        logps = {name: one_by_one(model, row["prompt_ids"], row[f"{name}_ids"]) for name in NAMES}
        shorter = min(map(len, logps.values()))
        found.append(
            {f"{name}_logp": sum(logps[name]) for name in NAMES}
            | {f"{name}_head_logp": sum(logps[name][:shorter]) for name in NAMES}
        )
    return found


def assert_rows(found: list[dict[str, Any]], right: list[dict[str, float]]) -> None:
    assert [row.pop("id") for row in found] == [row["id"] for row in ROWS]
    for one, other in zip(found, right, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


@pytest.mark.parametrize("size", [1, 150, 4096])
@pytest.mark.parametrize("name", CONFIGS)
def test_passes_of_any_size_give_what_one_row_at_a_time_gives(
    name: str, size: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logprobs, "PASS_TOKENS", size)
    model = build(name)
    assert_rows(pair_logps(model, ROWS), expected(model, ROWS))
    assert capsys.readouterr().err == ""


def test_a_trained_model_gives_each_tokens_log_prob(tiny_model: Path) -> None:
    model = load_base(tiny_model, "float32", "none")
    sequences = [(row["prompt_ids"], row[f"{name}_ids"]) for row in ROWS for name in NAMES]
    found = completion_logps(model, sequences)
    for logps, sequence in zip(found, sequences, strict=True):
        assert logps == pytest.approx(one_by_one(model, *sequence), abs=1e-5)


def test_heads_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of -1 -2 -4 and -8 -16, the first two each: the shorter completion has two tokens."""
    from scripts.lm import pairs

    given = [[-1.0, -2.0, -4.0], [-8.0, -16.0], [-1.0], [-2.0, -4.0, -8.0]]
    monkeypatch.setattr(pairs, "completion_logps", lambda model, sequences: given)
    rows = [row | {"id": name} for name, row in zip("ab", ROWS, strict=False)]
    assert pair_logps(None, rows) == [
        {"id": "a", "chosen_logp": -7, "rejected_logp": -24, "chosen_head_logp": -3,
         "rejected_head_logp": -24},
        {"id": "b", "chosen_logp": -1, "rejected_logp": -14, "chosen_head_logp": -1,
         "rejected_head_logp": -2},
    ]  # fmt: skip


def test_a_model_that_ignores_branches_is_scored_in_separate_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, inner = build("llama"), build("llama").forward
    model.forward = lambda branches=None, **given: inner(**given)
    assert_rows(pair_logps(model, ROWS), expected(build("llama"), ROWS))
    said = capsys.readouterr().err
    assert said.startswith("scored in separate rows: the model does not attend to prefix trees")


def test_attention_that_slides_is_scored_in_separate_rows(
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.manual_seed(0)
    config = MistralConfig(**SIZES, sliding_window=32)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    assert_rows(pair_logps(model, ROWS), expected(model, ROWS))
    said = capsys.readouterr().err
    assert said.startswith(
        "scored in separate rows: attention slides over 32 tokens, and the longest"
    )


def test_scoring_takes_hardly_more_tokens_than_the_splits_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    inner: Callable[..., Any] = tree_attention.logits_at

    def counted(model: PreTrainedModel, tree: Tree, *rest: Any) -> Any:
        taken.append(len(tree.ids))
        return inner(model, tree, *rest)

    monkeypatch.setattr(tree_attention, "logits_at", counted)
    rows = titles(60)
    pair_logps(build("llama"), rows)
    # Nothing is predicted after a last token.
    whole = [(row["prompt_ids"] + row[f"{name}_ids"])[:-1] for row in rows for name in NAMES]
    assert len(taken) > 1
    assert sum(taken) <= 1.05 * fewest_tokens(whole)
    # Row by row it would be many times more.
    assert sum(map(len, whole)) > 5 * sum(taken)


def test_no_sequences_no_sums() -> None:
    sequences: list[Sequence] = []
    assert completion_logps(build("llama"), sequences) == []
