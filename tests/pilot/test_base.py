"""The pilot's base model: its tokenizer beside one that is written out here, and its weights."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pilot.base import MADE, check_made, tokenizer_of
from scripts.common.cli import BadInput
from tests.conftest import ROOT

BASE = ROOT / "pilot" / "base"
# What GPT-2 cuts a text into (https://github.com/openai/gpt-2/blob/master/src/encoder.py).
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
TEXTS = (
    "12345 +67",
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.",
    "naïve café — 東京 😀 \u200b\u00a0x \u2581y e\u0301",
    "  leading\n\n\ttabs and trailing  ",
    "I'll say that we're at 3.14, don't you",
    "½ Ⅷ ٣",
    "",
)


@pytest.fixture(scope="module")
def base() -> Path:
    """Return the folder of the model."""
    if not BASE.is_dir():
        pytest.skip("no base model: make base")
    return BASE


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)


def letters() -> dict[int, str]:
    """Return the letter that stands for each byte in GPT-2's vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {it: chr(it) for it in plain} | {it: chr(256 + n) for n, it in enumerate(others)}


def plain_encoder(folder: Path) -> Callable[[str], list[int]]:
    """Return byte-pair encoding as it is defined: the first rule that applies, again and again."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    rank = {tuple(pair): at for at, pair in enumerate(model["merges"])}
    letter = letters()

    def merged(word: str) -> list[str]:
        parts = list(word)
        while known := [(rank[it], at) for at, it in enumerate(pairwise(parts)) if it in rank]:
            at = min(known)[1]
            parts[at : at + 2] = ["".join(parts[at : at + 2])]
        return parts

    def encode(text: str) -> list[int]:
        words = [it for part in regex.split(r"(\p{N})", text) for it in WORDS.findall(part)]
        pieces = [merged("".join(letter[byte] for byte in it.encode())) for it in words]
        return [model["vocab"][piece] for word in pieces for piece in word]

    return encode


def test_the_files_are_those_that_the_pilot_was_run_with(base: Path, tmp_path: Path) -> None:
    check_made(base)
    for name in MADE:
        (tmp_path / name).write_bytes((base / name).read_bytes()[:-1])
    with pytest.raises(
        BadInput, match=f"config.json: made with .*; allowed is {MADE['config.json']}"
    ):
        check_made(tmp_path)


@pytest.mark.parametrize("text", TEXTS)
def test_texts_have_the_ids_of_plain_byte_pair_encoding(
    base: Path, tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    ids = tokenizer.encode(text)
    assert ids == plain_encoder(base)(text)
    assert tokenizer.decode(ids) == text


def test_digits_and_special_tokens_are_single_ids(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.encode("12345") == [33, 34, 35, 36, 37]
    found = {name: getattr(tokenizer, f"{name}_token_id") for name in ("unk", "bos", "eos", "pad")}
    assert found == {"unk": 0, "bos": 1, "eos": 2, "pad": 2}
    assert tokenizer.encode("<|im_start|>user\nHi<|im_end|>\n") == [1, 4093, 198, 26843, 2, 198]
    assert len(tokenizer) == 49_152


def test_a_prompt_begins_with_a_system_turn(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_tokenizer_that_cuts_texts_in_another_way_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        tokenizer_of({"tokenizer.ggml.pre": "qwen2"})
    assert str(refused.value) == "tokenizer.ggml.pre: found qwen2; allowed: smollm"
