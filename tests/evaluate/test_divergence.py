"""The KL to the reference: by hand, and against its exact sum over a vocabulary."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import PreTrainedModel

from scripts.evaluate.divergence import divergence_metrics
from scripts.evaluate.score import answer_prompts
from scripts.lm.adapters import as_reference
from scripts.lm.snapshots import attach_adapter, load_base, merge_adapters
from scripts.lm.tokenizers import load_tokenizer

SAMPLED = {"limit": None, "max_new_tokens": 1, "do_sample": True, "temperature": None,
           "top_p": None, "own_settings": False, "seed": 0, "batch_size": 100,
           "kl": True}  # fmt: skip


def base_of(manifest: Path) -> PreTrainedModel:
    """Return the tiny model with an opinion: as it is, all tokens are about as likely."""
    model = load_base(manifest, "float32", "none")
    with torch.no_grad():
        model.model.norm.weight *= 6
    return model


def adapter(model: Path, folder: Path, seed: int, targets: list[str]) -> Path:
    """Return an adapter that changes the model much."""
    torch.manual_seed(seed)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=targets)
    changed = get_peft_model(base_of(model), config)
    for name, weight in changed.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=4)
    changed.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return a trial's adapter and its start's, on modules of which they share one."""
    folder = tmp_path_factory.mktemp("adapters")
    return [
        adapter(tiny_model, folder / "own", 1, ["up_proj", "down_proj", "o_proj"]),
        adapter(tiny_model, folder / "start", 2, ["v_proj", "down_proj"]),
    ]


def next_logps(model: PreTrainedModel, prompts: list[list[int]]) -> Tensor:
    """Return the log-probs of each token of the vocabulary behind each prompt of one length."""
    with torch.no_grad():
        return model(input_ids=torch.tensor(prompts)).logits[:, -1].double().log_softmax(-1)


def prompts_of(count: int) -> list[dict[str, Any]]:
    return [{"id": str(i), "prompt_ids": [1, 20 + i % 200, 30 + i // 200]} for i in range(count)]


def trained(model: Path, own: Path, merged: list[Path]) -> PeftModel:
    return attach_adapter(merge_adapters(base_of(model), merged), own)


def test_by_hand() -> None:
    """Differences of 2, -1 and 5 nats over three, two and four tokens."""
    rows = [
        {"id": "a", "logp": -3.0, "reference_logp": -5.0, "tokens": 2, "stop": "eos"},
        {"id": "b", "logp": -4.0, "reference_logp": -3.0, "tokens": 1, "stop": "eos"},
        {"id": "c", "logp": -1.0, "reference_logp": -6.0, "tokens": 4, "stop": "length"},
    ]
    whole, per_token = divergence_metrics(rows, {"a": "g", "b": "g", "c": "h"})
    assert (whole.name, per_token.name) == ("kl", "kl_per_token")
    summary = whole.summary()
    assert (summary["value"], summary["n"], summary["groups"]) == (2, 3, 2)
    # Two groups: each resample is the first, the second or both.
    assert summary["intervals"] == {"group bootstrap": pytest.approx((0.5, 5))}
    assert per_token.summary()["value"] == pytest.approx(6 / 9)


def test_no_log_probs_no_kl() -> None:
    row = {"id": "a", "tokens": 2, "stop": "eos"}
    assert divergence_metrics([row, row | {"logp": None, "reference_logp": None}], {}) == []


def test_against_the_exact_sum_over_the_vocabulary(tiny_model: Path, adapters: list[Path]) -> None:
    own, start = adapters
    model, tokenizer = trained(tiny_model, own, [start]), load_tokenizer(tiny_model)
    rows = prompts_of(1000)
    answers = answer_prompts(model, tokenizer, rows, SAMPLED)
    prompts = [row["prompt_ids"] for row in rows]
    policy = next_logps(model, prompts)
    reference = next_logps(merge_adapters(base_of(tiny_model), [start]), prompts)
    ratios, chances = policy - reference, policy.exp()
    exact = (chances * ratios).sum(-1)
    variance = (chances * ratios**2).sum(-1) - exact**2
    error = variance.sum().sqrt().item() / len(rows)
    kl, _ = divergence_metrics(answers, {row["id"]: row["id"] for row in rows})
    value = kl.summary()["value"]
    assert exact.mean() > 0.1
    assert error < 0.1 * exact.mean()
    assert abs(value - exact.mean().item()) < 2.5 * error
    low, high = kl.summary()["intervals"]["group bootstrap"]
    assert low < exact.mean() < high
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.2)


def test_an_answers_log_prob_is_of_all_its_tokens_and_its_end(
    tiny_model: Path, adapters: list[Path]
) -> None:
    own, _ = adapters
    model, tokenizer = trained(tiny_model, own, []), load_tokenizer(tiny_model)
    base = base_of(tiny_model)
    settings = SAMPLED | {"max_new_tokens": 300, "temperature": 1.0, "top_p": 1.0}
    rows = prompts_of(6)
    found = answer_prompts(model, tokenizer, rows, settings)
    ended = [(row, prompt) for row, prompt in zip(found, rows, strict=True) if row["stop"] == "eos"]
    assert ended
    for row, prompt in ended:
        # The tokens come from the same seed, in a loop of their own.
        ids = drawn(model, tokenizer, rows, settings)[row["id"]]
        assert len(ids) == row["tokens"] + 1
        assert ids[-1] == tokenizer.eos_token_id
        for key, scorer in (("logp", model), ("reference_logp", base)):
            assert row[key] == pytest.approx(summed(scorer, prompt["prompt_ids"], ids), abs=1e-3)


def drawn(model: Any, tokenizer: Any, rows: list[Any], settings: dict[str, Any]) -> dict[str, Any]:
    from scripts.lm.generation import generate_answers

    answers = generate_answers(model, tokenizer, [row["prompt_ids"] for row in rows], settings)
    return {row["id"]: answer.ids for row, answer in zip(rows, answers, strict=True)}


def summed(model: PreTrainedModel, prompt: list[int], ids: list[int]) -> float:
    with torch.no_grad():
        logps = model(input_ids=torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(ids) - 1)
    return sum(logps[place, token].item() for place, token in zip(places, ids, strict=True))


def test_the_reference_of_an_overwritten_start_is_the_start_whole(
    tiny_model: Path, adapters: list[Path]
) -> None:
    own, start = adapters
    model, prompts = trained(tiny_model, own, []), [[1, 20, 30], [1, 21, 30]]
    before = next_logps(model, prompts)
    with as_reference(model, start):
        found = next_logps(model, prompts)
    expected = next_logps(trained(tiny_model, start, []), prompts)
    assert torch.equal(found, expected)
    assert not torch.allclose(found, before, atol=0.1)
    assert torch.equal(next_logps(model, prompts), before)
