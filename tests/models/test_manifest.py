"""A model's files: those of a stranger are refused by name before anything is trained on them."""

import json
import shutil
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.lm.snapshots import check_weights
from scripts.models.manifest import write_manifest
from tests.models.spoiled import (
    INDEX,
    SHARDS,
    STAND_IN,
    WEIGHTS,
    Spoil,
    added,
    cut,
    edit,
    remove,
    renamed,
    sharded,
    tokenizer,
    weights,
    write,
)

CONFIG, GENERATION, TOKENS = "config.json", "generation_config.json", "tokenizer_config.json"
FIRST = "model.embed_tokens.weight"
"""In the first of two shards."""
PART = {"vocab_size": 300, "pad_token_id": 300, "bos_token_id": 1, "eos_token_id": 2}


def linked(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to("/nowhere/file")

    return spoil


def other(folder: Path) -> None:
    """Let the second shard have a tensor of the first one."""
    from safetensors.torch import load, save_file

    both = [load((folder / shard).read_bytes()) for shard in SHARDS]
    save_file({**both[1], FIRST: both[0][FIRST]}, folder / SHARDS[1])


def kept(folder: Path) -> None:
    """Leave the whole weights beside their shards."""
    whole = (folder / WEIGHTS).read_bytes()
    sharded()(folder)
    (folder / WEIGHTS).write_bytes(whole)


BROKEN: dict[str, tuple[Spoil, str, str]] = {
    # Weights.
    "empty": (cut(WEIGHTS, 0), WEIGHTS, "found 0 bytes"),
    "cut": (cut(WEIGHTS, 50_000), WEIGHTS, "found 50000 bytes, allowed are the "),
    "cut in the header": (cut(WEIGHTS, 100), WEIGHTS, "cut off, or not safetensors: found 100 b"),
    "stand-in": (write(WEIGHTS, STAND_IN), WEIGHTS, "run `git lfs pull`"),
    "a web page": (write(WEIGHTS, "<!DOCTYPE html>" * 99), WEIGHTS, "begin with b'<!DOCTYP'"),
    "a pickle": (write(WEIGHTS, b"PK\3\4" + bytes(99)), WEIGHTS, "begin with b'PK"),
    "zeros": (write(WEIGHTS, bytes(9999)), WEIGHTS, "not safetensors (invalid JSON in header"),
    "a link to nothing": (linked(WEIGHTS), WEIGHTS, "a link to /nowhere/file, which is not there"),
    "of another name": (
        lambda folder: (folder / WEIGHTS).rename(folder / "weights.safetensors"),
        "",
        f"a model needs {WEIGHTS}, or {INDEX} and what it lists; found ",
    ),
    "a pickle only": (
        lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"),
        "",
        f"a model needs {WEIGHTS}",
    ),
    "a folder": (
        lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()),
        "",
        f"a model needs {WEIGHTS}",
    ),
    "named by the config": (
        edit(CONFIG, transformers_weights="other.safetensors"),
        CONFIG,
        "found transformers_weights",
    ),
    # Shards.
    "no index": (sharded(then=remove(INDEX)), "", f"a model needs {WEIGHTS}, or {INDEX}"),
    "no first shard": (
        sharded(then=remove(SHARDS[0])),
        INDEX,
        f"lists {SHARDS[0]}, which the snapshot lacks; found {SHARDS[1]}",
    ),
    "a shard is cut": (sharded(then=cut(SHARDS[1], 40_000)), SHARDS[1], "found 40000 bytes, allo"),
    "a shard is a stand-in": (
        sharded(then=write(SHARDS[1], STAND_IN)),
        SHARDS[1],
        "run `git lfs pull`",
    ),
    "a shard twice": (
        sharded(then=lambda folder: shutil.copy(folder / SHARDS[0], folder / SHARDS[1])),
        SHARDS[1],
        f", which is in {SHARDS[0]} too; a tensor is in one file",
    ),
    "a tensor twice": (sharded(then=other), SHARDS[1], f"found {FIRST}, which is in {SHARDS[0]}"),
    "a shard of other weights": (
        sharded(then=write("model-00003-of-00003.safetensors", b"")),
        "model-00003-of-00003.safetensors",
        f"{INDEX} does not list it",
    ),
    "whole and in shards": (kept, WEIGHTS, f"{INDEX} does not list it"),
    "index is a stand-in": (sharded(then=write(INDEX, STAND_IN)), INDEX, "run `git lfs pull`"),
    "index is no object": (sharded(then=write(INDEX, "[]")), INDEX, "found list, allowed is a JS"),
    "index without places": (
        sharded(lambda index: index.pop("weight_map")),
        INDEX,
        "needs weight_map, a file name for each tensor",
    ),
    "index without a place": (
        sharded(lambda index: index["weight_map"].update({FIRST: None})),
        INDEX,
        "needs weight_map, a file name for each tensor",
    ),
    "index of nothing": (
        sharded(lambda index: index["weight_map"].clear()),
        INDEX,
        "needs weight_map",
    ),
    "index without metadata": (
        sharded(lambda index: index.pop("metadata")),
        INDEX,
        "needs metadata, which transformers reads",
    ),
    "index lists more": (
        sharded(lambda index: index["weight_map"].update(new=SHARDS[0])),
        INDEX,
        f"lists new in {SHARDS[0]}, but no file has it",
    ),
    "index of another place": (
        sharded(lambda index: index["weight_map"].update({FIRST: SHARDS[1]})),
        INDEX,
        f"lists {FIRST} in {SHARDS[1]}, but it is in {SHARDS[0]}",
    ),
    "index outside the folder": (
        sharded(lambda index: index["weight_map"].update({FIRST: "../../model.safetensors"})),
        INDEX,
        "lists ../../model.safetensors, which the snapshot lacks",
    ),
    # Adapters.
    "adapter": (write("adapter_config.json", "{}"), "adapter_config.json", "an adapter in the fo"),
    "adapter's weights": (
        write("adapter_model.safetensors", b""),
        "adapter_model.safetensors",
        "an adapter in the folder of a base model",
    ),
    "adapter's pickle": (write("adapter_model.bin", b""), "adapter_model.bin", "an adapter in th"),
    "an adapter alone": (
        lambda folder: [
            *(path.unlink() for path in folder.iterdir()),
            write("adapter_config.json", '{"base_model_name_or_path": "elsewhere"}')(folder),
        ],
        "adapter_config.json",
        "an adapter in the folder of a base model",
    ),
    # The config.
    "no config": (remove(CONFIG), "", "a model needs config.json; found chat_template.jinja, "),
    "config is a stand-in": (write(CONFIG, STAND_IN), CONFIG, "run `git lfs pull`"),
    "config is Python": (write(CONFIG, "{'model_type': 'llama'}"), CONFIG, "not JSON: Expecting "),
    "config in UTF-16": (write(CONFIG, "{}".encode("utf-16")), CONFIG, "not JSON: 'utf-8' codec"),
    "no type": (edit(CONFIG, model_type=...), CONFIG, "model_type: found None; allowed are those"),
    "unknown type": (edit(CONFIG, model_type="lama"), CONFIG, "model_type: found 'lama'; allowed"),
    "a list as type": (edit(CONFIG, model_type=["llama"]), CONFIG, "model_type: found ['llama']"),
    "no language model": (edit(CONFIG, model_type="clip"), CONFIG, "model_type: found 'clip'; all"),
    "an encoder and decoder": (edit(CONFIG, model_type="t5"), CONFIG, "model_type: found 't5'; al"),
    "two sizes": (
        write(CONFIG, '{"model_type": "llama", "vocab_size": 3, "vocab_size": 4}'),
        CONFIG,
        "found vocab_size twice, with different values",
    ),
    "no number": (
        edit(CONFIG, rms_norm_eps=float("nan")),
        CONFIG,
        "found NaN; allowed are numbers",
    ),
    "text as size": (edit(CONFIG, hidden_size="64"), CONFIG, "expected int, got str"),
    "no heads": (
        edit(CONFIG, num_attention_heads=0),
        CONFIG,
        "transformers does not take it: integer ",
    ),
    "heads that do not divide": (
        edit(CONFIG, num_attention_heads=7, head_dim=...),
        CONFIG,
        "is not a multiple of the number of attention heads (7)",
    ),
    "negative vocabulary": (
        edit(CONFIG, vocab_size=-5),
        CONFIG,
        "vocab_size: found -5; allowed are positive whole numbers",
    ),
    "quantization as a list": (
        edit(CONFIG, quantization_config=[1]),
        CONFIG,
        "transformers does not take it: ",
    ),
    # Ids beyond the embedding.
    "pad beyond": (
        edit(CONFIG, pad_token_id=300),
        CONFIG,
        "pad_token_id: found 300; allowed are ids below the vocab_size of config.json, 300",
    ),
    "eos beyond": (edit(CONFIG, eos_token_id=9999), CONFIG, "eos_token_id: found 9999; allowed"),
    "bos is negative": (edit(CONFIG, bos_token_id=-1), CONFIG, "bos_token_id: found -1; allowed"),
    "pad is negative": (edit(CONFIG, pad_token_id=-2), CONFIG, "pad_token_id: found -2; allowed"),
    "one eos beyond": (edit(CONFIG, eos_token_id=[2, 300]), CONFIG, "eos_token_id: found 300"),
    "eos is text": (edit(CONFIG, eos_token_id="2"), CONFIG, "eos_token_id"),
    "beyond in a part": (
        write(CONFIG, json.dumps({"model_type": "gemma3", "text_config": PART})),
        CONFIG,
        "pad_token_id: found 300; allowed",
    ),
    "generation's eos beyond": (
        edit(GENERATION, eos_token_id=[2, 300]),
        GENERATION,
        "eos_token_id: found 300; allowed",
    ),
    "generation's pad is true": (
        edit(GENERATION, pad_token_id=True),
        GENERATION,
        "pad_token_id: found True; allowed",
    ),
    "a small embedding": (
        edit(CONFIG, vocab_size=280),
        "tokenizer.json",
        "has the id 299; allowed are ids below the vocab_size of config.json, 280",
    ),
    "tokenizer's pad beyond": (
        edit(TOKENS, pad_token="<mine>"),
        TOKENS,
        "pad_token: '<mine>' has the id 300; allowed are ids below the vocab_size",
    ),
    "tokenizer's eos beyond": (
        edit(TOKENS, eos_token="<|im_end|>"),
        TOKENS,
        "eos_token: '<|im_end|>' has the id 300",
    ),
    "a pad elsewhere": (
        lambda folder: [
            edit(TOKENS, pad_token=...)(folder),
            edit("special_tokens_map.json", pad_token="<mine>")(folder),
        ],
        "special_tokens_map.json",
        "pad_token: '<mine>' has the id 300",
    ),
    "an added pad beyond": (
        lambda folder: [
            tokenizer(lambda it: it["added_tokens"].append(added("<new>", 300)))(folder),
            edit(TOKENS, pad_token="<new>")(folder),
        ],
        TOKENS,
        "pad_token: '<new>' has the id 300",
    ),
    "a token beyond": (
        tokenizer(lambda it: it["model"]["vocab"].update(zzzz=7000)),
        "tokenizer.json",
        "the token 'zzzz' has the id 7000",
    ),
    # Generation.
    "generation cut": (cut(GENERATION, 5), GENERATION, "not JSON: "),
    "a hot temperature": (
        edit(GENERATION, do_sample=True, temperature="hot"),
        GENERATION,
        "temperature: found 'hot'; allowed are numbers",
    ),
    "sampling in words": (
        edit(GENERATION, do_sample="no"),
        GENERATION,
        "do_sample: found 'no'; allowed are true and false",
    ),
    "an unknown cache": (
        edit(GENERATION, cache_implementation="none"),
        GENERATION,
        "transformers does not take it: Invalid `cache_implementation`",
    ),
    # The tokenizer.
    "no tokenizer": (remove("tokenizer.json"), "", "a model needs tokenizer.json; found chat_te"),
    "tokenizer is empty": (write("tokenizer.json", ""), "tokenizer.json", "not a tokenizer: "),
    "tokenizer of nothing": (write("tokenizer.json", "{}"), "tokenizer.json", "not a tokenizer: "),
    "tokenizer is cut": (cut("tokenizer.json", 2000), "tokenizer.json", "not a tokenizer: "),
    "tokenizer is a stand-in": (
        write("tokenizer.json", STAND_IN),
        "tokenizer.json",
        "run `git lfs pull`",
    ),
    "no vocabulary": (
        tokenizer(lambda it: it["model"].pop("vocab")),
        "tokenizer.json",
        "not a tokenizer: ",
    ),
    "an unknown tokenizer": (
        tokenizer(lambda it: it["model"].update(type="XYZ")),
        "tokenizer.json",
        "not a tokenizer: ",
    ),
    "an unknown step": (
        tokenizer(lambda it: it.update(pre_tokenizer={"type": "None"})),
        "tokenizer.json",
        "not a tokenizer: ",
    ),
    "nothing added": (
        tokenizer(lambda it: it.pop("added_tokens")),
        "",
        "transformers does not take the tokenizer (tokenizer.json, tokenizer_config.json, chat_",
    ),
    "tokenizer's config cut": (cut(TOKENS, 9), TOKENS, "not JSON: "),
    "tokenizer's config is a list": (write(TOKENS, "[]"), TOKENS, "found list, allowed is a JSON"),
    "eos is a number": (
        edit(TOKENS, eos_token=2),
        "",
        "does not take the tokenizer (tokenizer.json, tokenizer_config.json",
    ),
    "a length in words": (edit(TOKENS, model_max_length="many"), "", "does not take the tokenizer"),
    "a broken map": (
        write("special_tokens_map.json", "{"),
        "special_tokens_map.json",
        "not JSON: ",
    ),
    "added tokens as a list": (
        write("added_tokens.json", "[]"),
        "added_tokens.json",
        "found list, allowed is a JSON object",
    ),
    "template in Latin-1": (
        write("chat_template.jinja", "é".encode("latin-1")),
        "",
        "chat_template.jinja): 'utf-8' codec",
    ),
    "template is a stand-in": (
        write("chat_template.jinja", STAND_IN),
        "chat_template.jinja",
        "run `git lfs pull`",
    ),
}


@pytest.mark.parametrize(("spoil", "name", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_by_name(
    snapshot: Path, spoil: Spoil, name: str, said: str
) -> None:
    spoil(snapshot)
    manifest = snapshot.parent / "new.json"
    with pytest.raises(BadInput) as refused:
        write_manifest(manifest, snapshot, {"source": "folder"})
    message = str(refused.value)
    assert message.startswith(f"{snapshot / name}: ")
    assert said in message
    assert "\n" not in message
    assert not manifest.exists()


def with_mask(folder: Path) -> None:
    """Write a GPT-2 with the names and buffers of its old files."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=300,
        n_embd=16,
        n_layer=1,
        n_head=2,
        n_positions=32,
        bos_token_id=1,
        eos_token_id=2,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    renamed(lambda name: name.removeprefix("transformer."))(folder)

    def buffers(tensors: dict) -> None:
        import torch

        tensors["h.0.attn.bias"] = torch.ones(1, 1, 32, 32)
        tensors["h.0.attn.masked_bias"] = torch.tensor(-1e4)

    weights(buffers)(folder)


def padded(tensors: dict) -> None:
    import torch

    embedding = tensors["model.embed_tokens.weight"]
    tensors["model.embed_tokens.weight"] = torch.cat([embedding, torch.zeros(20, 64)])


GOOD: dict[str, Spoil] = {
    "as it is": lambda folder: None,
    "in shards": sharded(),
    "in bfloat16 and shards": lambda folder: [
        weights(lambda tensors: {name: it.bfloat16() for name, it in tensors.items()})(folder),
        edit(CONFIG, dtype="bfloat16")(folder),
        sharded()(folder),
    ],
    "the tied head saved": weights(
        lambda tensors: tensors.update({"lm_head.weight": tensors["model.embed_tokens.weight"] + 0})
    ),
    "no prefix": renamed(lambda name: name.removeprefix("model.")),
    "rotary frequencies": weights(
        lambda tensors: tensors.update(
            {"model.layers.0.self_attn.rotary_emb.inv_freq": tensors["model.norm.weight"][:16] + 0}
        )
    ),
    "an old GPT-2": with_mask,
    "a padded embedding": lambda folder: [
        weights(padded)(folder),
        edit(CONFIG, vocab_size=320)(folder),
    ],
    "an added token beyond": tokenizer(lambda it: it["added_tokens"].append(added("<image>", 300))),
    "an old pad": edit(CONFIG, pad_token_id=-1),
    "two eos": edit(GENERATION, eos_token_id=[2, 3]),
    "no generation": remove(GENERATION),
    "infinity": edit(CONFIG, time_step_limit=[0, float("inf")]),
    "links to files elsewhere": lambda folder: [
        (path.rename(folder.parent / path.name), path.symlink_to(folder.parent / path.name))
        for path in list(folder.iterdir())
    ],
    "other weights beside": lambda folder: [
        write("consolidated.safetensors", STAND_IN)(folder),
        write("pytorch_model.bin", STAND_IN)(folder),
    ],
    "an adapter in a folder": lambda folder: [
        (folder / "checkpoint").mkdir(),
        write("checkpoint/adapter_config.json", "{}")(folder),
    ],
}


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_what_is_published_is_taken(snapshot: Path, change: Spoil) -> None:
    change(snapshot)
    manifest = snapshot.parent / "new.json"
    write_manifest(manifest, snapshot, {"source": "folder"})
    check_weights(manifest)
