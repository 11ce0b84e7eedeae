"""Answers of a model to prompts."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """An answer: text without special tokens, number of new tokens, and `eos` or `length`."""

    text: str
    tokens: int
    stop: str
    ids: list[int]
    """Ids of the new tokens, including the one that ended the answer, which `tokens` excludes."""


def generate_answers(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[list[int]],
    settings: dict[str, Any],
) -> list[Answer]:
    """Return one answer per prompt, in the given order.

    Parameters
    ----------
    prompts
        Token ids.
    settings
        max_new_tokens, do_sample, temperature, top_p, own_settings, seed and batch_size, as in the
        configuration.
    """
    import torch

    from scripts.lm.tree_attention import NAME

    torch.manual_seed(settings["seed"])
    if model.config._attn_implementation == "sdpa":
        # The same, but faster for a single token.
        model.set_attn_implementation(NAME)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    answers: dict[int, Answer] = {}
    ends = _end_ids(model, tokenizer)
    config = _generation_config(model, tokenizer, ends, settings)
    with _neutral(model):
        for start in range(0, len(order), settings["batch_size"]):
            indices = order[start : start + settings["batch_size"]]
            new_ids = _generate(model, tokenizer, [prompts[i] for i in indices], config)
            for index, ids in zip(indices, new_ids, strict=True):
                answers[index] = _answer(ids, ends, tokenizer)
            print(f"answered {len(answers)}/{len(prompts)}", file=sys.stderr, flush=True)
    return [answers[index] for index in range(len(prompts))]


@contextmanager
def _neutral(model: "PreTrainedModel") -> Iterator[None]:
    """Replace the model's own generation settings by neutral ones in the block.

    transformers takes settings that a call does not set from the model's: a repetition penalty, for
    example, would change greedy answers too.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _generation_config(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    ends: set[int],
    settings: dict[str, Any],
) -> "GenerationConfig":
    """Return the configured settings and neutral ones otherwise, or the model's own."""
    from transformers import GenerationConfig

    if settings["own_settings"]:
        sampling = {**model.generation_config.to_dict(), "max_length": None}
    else:
        named = ("do_sample", "temperature", "top_p")
        sampling = {key: settings[key] for key in named if settings[key] is not None}
        if settings["do_sample"]:
            # Its default is 50, which would restrict sampling to the most likely tokens.
            sampling["top_k"] = 0
    stops = {"eos_token_id": sorted(ends), "pad_token_id": tokenizer.pad_token_id}
    return GenerationConfig(**{**sampling, **stops, "max_new_tokens": settings["max_new_tokens"]})


def _end_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """Return the ids that end an answer: the model's own and the tokenizer's EOS."""
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return {end for end in (*ends, tokenizer.eos_token_id) if end is not None}


def _generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: list[list[int]],
    config: "GenerationConfig",
) -> list[list[int]]:
    import torch

    from scripts.lm.tree_attention import before_head

    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), tokenizer.pad_token_id)
    attention = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        # Padding is on the left, so that every answer begins directly after its prompt.
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        attention[row, width - len(prompt) :] = 1
    # The head is given a slice of the prompts' states: torch would copy its weights for each row.
    contiguous = before_head(model, lambda _, states: states.contiguous())
    with torch.inference_mode(), contiguous:
        output = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=attention.to(model.device),
            generation_config=config,
        )
    return output[:, width:].tolist()


def _answer(ids: list[int], ends: set[int], tokenizer: "PreTrainedTokenizerBase") -> Answer:
    # Padding follows an end token, and may be the same token.
    stop = next((place for place, token in enumerate(ids) if token in ends), None)
    written = ids if stop is None else ids[:stop]
    text = tokenizer.decode(written, skip_special_tokens=True).strip()
    if stop is None:
        return Answer(text, len(written), "length", ids)
    return Answer(text, len(written), "eos", ids[: stop + 1])
