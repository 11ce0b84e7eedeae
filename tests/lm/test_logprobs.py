"""Log-probs against an independent sum, one sequence at a time without padding."""

from pathlib import Path

import pytest

from scripts.lm import logprobs
from scripts.lm.logprobs import completion_logps
from scripts.lm.pairs import pair_logps
from scripts.lm.snapshots import load_base

SEQUENCES = [
    ([1, 20, 30], [40, 50, 60, 2]),
    ([1, 21], [41]),
    ([1, 22, 31, 33, 35, 37], [42, 52]),
    ([1, 20, 30], [44] * 9),
]


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> object:
    return load_base(tiny_model, "auto", "none")


def one_by_one(model: object) -> list[float]:
    """Returns each log-prob token by token, from log_softmax of the whole row."""
    import torch

    sums = []
    for prompt, completion in SEQUENCES:
        ids = torch.tensor([prompt + completion])
        with torch.no_grad():
            logps = model(input_ids=ids).logits.log_softmax(-1)[0]
        places = range(len(prompt), ids.shape[1])
        sums.append(sum(logps[place - 1, ids[0, place]].item() for place in places))
    return sums


@pytest.mark.parametrize("tokens", [1, 20, 4096])
def test_passes_of_any_size_give_the_same_sums(
    model: object, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logprobs, "PASS_TOKENS", tokens)
    logps = [sum(tokens) for tokens in completion_logps(model, SEQUENCES)]
    assert logps == pytest.approx(one_by_one(model), abs=1e-4)


def test_pairs_keep_their_rows(model: object) -> None:
    rows = [
        {"id": "a", "prompt_ids": [1, 20, 30], "chosen_ids": [40, 50, 60, 2],
         "rejected_ids": [44] * 9},
        {"id": "b", "prompt_ids": [1, 21], "chosen_ids": [41], "rejected_ids": [41]},
    ]  # fmt: skip
    first, second = pair_logps(model, rows)
    expected = one_by_one(model)
    assert (first["chosen_logp"], first["rejected_logp"]) == pytest.approx(
        (expected[0], expected[3]), abs=1e-4
    )
    assert second["chosen_logp"] == pytest.approx(second["rejected_logp"], abs=1e-5)


def test_no_sequences_no_sums(model: object) -> None:
    assert completion_logps(model, []) == []
