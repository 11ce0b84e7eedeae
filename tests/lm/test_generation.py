"""Answers: greedy ones against a loop by hand, stops, and sampling by seed."""

from pathlib import Path

import pytest

from scripts.lm.generation import _answer, generate_answers
from scripts.lm.snapshots import load_base
from scripts.lm.tokenizers import load_tokenizer

GREEDY = {"max_new_tokens": 6, "do_sample": False, "temperature": None, "top_p": None,
          "own_settings": False, "seed": 0, "batch_size": 2}  # fmt: skip
PROMPTS = [[1, 20, 30, 40], [1, 21], [1, 22, 31, 33, 35]]


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> tuple[object, object]:
    return load_base(tiny_model, "float32", "none"), load_tokenizer(tiny_model)


def by_hand(model: object, tokenizer: object, prompt: list[int]) -> str:
    import torch

    ids = list(prompt)
    for _ in range(GREEDY["max_new_tokens"]):
        with torch.no_grad():
            token = model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()
        if token == tokenizer.eos_token_id:
            break
        ids.append(token)
    return tokenizer.decode(ids[len(prompt) :], skip_special_tokens=True).strip()


def test_greedy_answers_do_not_depend_on_batch_or_padding(loaded: tuple[object, object]) -> None:
    model, tokenizer = loaded
    answers = generate_answers(model, tokenizer, PROMPTS, GREEDY)
    assert [answer.text for answer in answers] == [by_hand(*loaded, p) for p in PROMPTS]
    assert all(answer.tokens <= 6 for answer in answers)


def test_the_heads_weights_are_not_copied_for_each_row(loaded: tuple[object, object]) -> None:
    """torch does so for states that are a slice, as those of the prompts' last tokens are."""
    model, tokenizer = loaded
    found = []
    head = model.get_output_embeddings()
    handle = head.register_forward_hook(lambda _, given, __: found.append(given[0].is_contiguous()))
    generate_answers(model, tokenizer, PROMPTS, GREEDY)
    handle.remove()
    assert len(found) > 2
    assert all(found)


def test_the_models_own_settings_do_not_act_on_greedy_answers(tiny_model: Path) -> None:
    plain, penalized = (load_base(tiny_model, "float32", "none") for _ in range(2))
    penalized.generation_config.repetition_penalty = 5.0
    tokenizer = load_tokenizer(tiny_model)
    settings = GREEDY | {"max_new_tokens": 20}
    answers = [generate_answers(m, tokenizer, PROMPTS, settings) for m in (plain, penalized)]
    assert answers[0] == answers[1]


def test_the_models_own_settings_act_where_they_are_asked_for(tiny_model: Path) -> None:
    plain, forced = (load_base(tiny_model, "float32", "none") for _ in range(2))
    tokenizer = load_tokenizer(tiny_model)
    # With one candidate, sampling is greedy at any temperature.
    forced.generation_config.update(do_sample=True, top_k=1, temperature=9.0)
    own = GREEDY | {"own_settings": True, "max_new_tokens": 20}
    greedy = generate_answers(plain, tokenizer, PROMPTS, GREEDY | {"max_new_tokens": 20})
    assert generate_answers(forced, tokenizer, PROMPTS, own) == greedy
    forced.generation_config.update(top_k=50)
    assert generate_answers(forced, tokenizer, PROMPTS, own) != greedy
    assert forced.generation_config.top_k == 50


def test_sampling_follows_the_seed(loaded: tuple[object, object]) -> None:
    settings = GREEDY | {"do_sample": True, "temperature": 3.0, "max_new_tokens": 20}
    first = generate_answers(*loaded, PROMPTS, settings)
    assert first == generate_answers(*loaded, PROMPTS, settings)
    assert first != generate_answers(*loaded, PROMPTS, settings | {"seed": 1})


def test_the_answer_ends_at_the_first_end_token(loaded: tuple[object, object]) -> None:
    _, tokenizer = loaded
    end = tokenizer.eos_token_id
    ids = tokenizer.encode("7 pens", add_special_tokens=False)
    stopped = _answer([*ids, end, end, 9], {end}, tokenizer)
    assert (stopped.text, stopped.tokens, stopped.stop) == ("7 pens", len(ids), "eos")
    assert _answer(ids, {end}, tokenizer).stop == "length"


def test_a_sample_is_of_all_tokens_unless_some_are_left_out(loaded: tuple[object, object]) -> None:
    """A tiny model finds all tokens about as likely: many of 300 draws are not in its top 50."""
    import torch

    model, tokenizer = loaded
    with torch.no_grad():
        top = model(input_ids=torch.tensor([PROMPTS[1]])).logits[0, -1].topk(50).indices.tolist()
    settings = GREEDY | {"do_sample": True, "max_new_tokens": 1, "batch_size": 300}
    answers = generate_answers(model, tokenizer, [PROMPTS[1]] * 300, settings)
    assert sum(answer.ids[0] not in top for answer in answers) > 100
