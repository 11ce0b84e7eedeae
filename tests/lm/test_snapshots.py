"""Loading: precision, and adapters merged or attached."""

import re
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.lm.backends import BACKENDS
from scripts.lm.snapshots import (
    attach_adapter,
    check_weights,
    load_base,
    merge_adapters,
    weights_dtype,
)
from scripts.lm.tokenizers import snapshot_folder
from scripts.models.manifest import write_manifest
from tests.models.spoiled import (
    INDEX,
    SHARDS,
    WEIGHTS,
    Spoil,
    cut,
    edit,
    remove,
    renamed,
    sharded,
    weights,
)

LORA = {"r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": "all-linear",
        "init_lora_weights": True}  # fmt: skip
IDS = torch.tensor([[1, 20, 30, 40]])


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """Return an adapter that changes the model."""
    model = get_peft_model(load_base(tiny_model, "float32", "none"), LoraConfig(**LORA))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("capabilities", "auto"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_bf16": False, "amx_bf16": False, "avx512_f": True}, torch.float32),
        # A processor of another architecture has other capabilities.
        ({"sve": True}, torch.float32),
    ],
)
def test_precision_without_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], auto: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert weights_dtype("auto") == auto
    assert weights_dtype("float32") == torch.float32
    assert weights_dtype("bfloat16") == torch.bfloat16
    with pytest.raises(BadInput, match="float16 needs a GPU"):
        weights_dtype("float16")


@pytest.mark.parametrize(("bfloat16", "auto"), [(True, torch.bfloat16), (False, torch.float16)])
def test_precision_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, bfloat16: bool, auto: torch.dtype
) -> None:
    """A T4 has no bfloat16; torch only emulates it there."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a T4")
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: bfloat16 or including_emulation,
    )
    assert weights_dtype("auto") == auto
    assert weights_dtype("float16") == torch.float16
    with nullcontext() if bfloat16 else pytest.raises(BadInput, match="a T4 does not support it"):
        assert weights_dtype("bfloat16") == torch.bfloat16


def test_merged_and_attached_adapters_are_the_same_model(tiny_model: Path, adapter: Path) -> None:
    with torch.no_grad():
        base = load_base(tiny_model, "float32", "none")(IDS).logits
        attached = attach_adapter(load_base(tiny_model, "float32", "none"), adapter)(IDS).logits
        merged = merge_adapters(load_base(tiny_model, "float32", "none"), [adapter])(IDS).logits
    assert not torch.allclose(base, attached, atol=1e-3)
    assert torch.allclose(merged, attached, atol=1e-4)


def test_an_adapter_of_another_precision_is_refused(tiny_model: Path, adapter: Path) -> None:
    """Merged or attached: what its own run computed in stands beside it."""
    record = adapter.parent / "train.json"
    write_json(record, {"precision": "bfloat16"})
    refused = f"{record}: precision: found bfloat16, but this machine computes in float32"
    for load in (
        lambda base: attach_adapter(base, adapter),
        lambda b: merge_adapters(b, [adapter]),
    ):
        with pytest.raises(BadInput, match=re.escape(refused)):
            load(load_base(tiny_model, "float32", "none"))
        load(load_base(tiny_model, "bfloat16", "none"))


LORA_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def tensors_of_adapter(change: Callable[[dict], dict | None]) -> Spoil:
    return lambda folder: (
        (folder / "adapter_model.safetensors").rename(folder / WEIGHTS),
        weights(change)(folder),
        (folder / WEIGHTS).rename(folder / "adapter_model.safetensors"),
    )


@pytest.mark.parametrize("load", [attach_adapter, lambda model, it: merge_adapters(model, [it])])
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove("adapter_config.json"), "needs adapter_config.json and adapter_model.safetensors"),
        (remove("adapter_model.safetensors"), "; found no adapter_model.safetensors"),
        (cut("adapter_config.json", 9), "/adapter_config.json: not JSON: "),
        (cut("adapter_model.safetensors", 9000), "/adapter_model.safetensors: found 9000 bytes, "),
        (edit("adapter_config.json", peft_type="NEW"), ": PEFT does not take it: "),
        (edit("adapter_config.json", r=3), ": PEFT does not take it: Error(s) in loading "),
        (
            tensors_of_adapter(lambda tensors: {k: it for k, it in tensors.items() if k != LORA_A}),
            f"adapter_config.json describes it: {LORA_A} is missing",
        ),
        (
            tensors_of_adapter(lambda tensors: tensors.update(zzz=torch.zeros(1))),
            "adapter_config.json describes it: zzz is not one of its tensors",
        ),
        (
            edit("adapter_config.json", target_modules=["q_proj"]),
            "is not one of its tensors",
        ),
        (edit("adapter_config.json", auto_map={}), "/adapter_config.json: found auto_map"),
    ],
)
def test_an_adapter_that_is_not_whole_is_refused(
    tiny_model: Path, adapter: Path, load: Callable, spoil: Spoil, said: str
) -> None:
    """PEFT would make up what is missing, and leave out what it does not know."""
    spoil(adapter)
    with pytest.raises(BadInput) as refused:
        load(load_base(tiny_model, "float32", "none"), adapter)
    assert str(refused.value).startswith(str(adapter))
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def listed(folder: Path) -> Path:
    """Return a new manifest of a folder, which has to be fine as far as its files tell."""
    write_manifest(folder.parent / "new.json", folder, {"source": "folder"})
    return folder.parent / "new.json"


UP = "model.layers.1.mlp.up_proj.weight"
EMBEDDING = "model.embed_tokens.weight"
OTHERS: dict[str, tuple[Spoil, str, str]] = {
    "a tensor is missing": (
        renamed(lambda name: None if name == UP else name),
        WEIGHTS,
        f"not the weights of LlamaForCausalLM as config.json describes it: {UP} (64×64) is missing",
    ),
    "a norm is missing": (
        renamed(lambda name: None if name == "model.norm.weight" else name),
        WEIGHTS,
        "model.norm.weight (64) is missing",
    ),
    "a layer is missing": (
        renamed(lambda name: None if ".1." in name else name),
        WEIGHTS,
        "model.layers.1.input_layernorm.weight (64) is missing, "
        "model.layers.1.mlp.down_proj.weight (64×64) is missing, "
        "model.layers.1.mlp.gate_proj.weight (64×64) is missing, and 6 more",
    ),
    "the embedding is missing": (
        renamed(lambda name: None if name == EMBEDDING else name),
        WEIGHTS,
        f"{EMBEDDING} (300×64) is missing",
    ),
    "an untied head is missing": (
        edit("config.json", tie_word_embeddings=False),
        WEIGHTS,
        "lm_head.weight (300×64) is missing",
    ),
    "fewer layers in the config": (
        edit("config.json", num_hidden_layers=1),
        WEIGHTS,
        "model.layers.1.input_layernorm.weight is not one of its tensors",
    ),
    "far more layers in the config": (
        edit("config.json", num_hidden_layers=10**7),
        "config.json",
        "num_hidden_layers: found 10000000; the weights have 20 tensors",
    ),
    "a head for values": (
        weights(lambda tensors: tensors.update({"v_head.weight": torch.zeros(1, 64)})),
        WEIGHTS,
        "v_head.weight is not one of its tensors",
    ),
    "a classifier": (
        weights(lambda tensors: tensors.update({"score.weight": torch.zeros(2, 64)})),
        WEIGHTS,
        "score.weight is not one of its tensors",
    ),
    "a bias": (
        weights(
            lambda tensors: tensors.update(
                {"model.layers.0.self_attn.q_proj.bias": torch.zeros(64)}
            )
        ),
        WEIGHTS,
        "model.layers.0.self_attn.q_proj.bias is not one of its tensors",
    ),
    "another shape": (
        weights(lambda tensors: tensors.update({UP: torch.zeros(64, 32)})),
        WEIGHTS,
        f"{UP} is 64×32, not 64×64",
    ),
    "one dimension": (
        weights(lambda tensors: tensors.update({UP: torch.zeros(64 * 64)})),
        WEIGHTS,
        f"{UP} is 4096, not 64×64",
    ),
    "a larger embedding in the config": (
        edit("config.json", vocab_size=320),
        WEIGHTS,
        f"{EMBEDDING} is 300×64, not 320×64",
    ),
    "another width in the config": (
        edit("config.json", hidden_size=128, head_dim=64),
        WEIGHTS,
        f"{EMBEDDING} is 300×64, not 300×128",
    ),
    "no width in the config": (
        edit("config.json", hidden_size=0),
        WEIGHTS,
        f"{EMBEDDING} is 300×64, not 300×0",
    ),
    "names of DataParallel": (renamed(lambda name: f"module.{name}"), WEIGHTS, "module.model."),
    "names of torch.compile": (renamed(lambda name: f"_orig_mod.{name}"), WEIGHTS, "_orig_mod.m"),
    "names of PEFT": (
        renamed(lambda name: f"base_model.model.{name}"),
        WEIGHTS,
        "base_model.model.model.embed_tokens.weight is not one of its tensors",
    ),
    "a tensor twice": (
        weights(lambda tensors: tensors.update({"norm.weight": torch.zeros(64)})),
        WEIGHTS,
        "norm.weight and model.norm.weight are one tensor",
    ),
    "capital letters": (renamed(str.upper), WEIGHTS, "MODEL.EMBED_TOKENS.WEIGHT is not one of"),
    "another architecture": (
        edit("config.json", model_type="gpt2"),
        WEIGHTS,
        "not the weights of GPT2LMHeadModel as config.json describes it: ",
    ),
    "no tensor": (renamed(lambda name: None), "config.json", "the weights have 0 tensors"),
    "another shape in a shard": (
        lambda folder: [
            weights(lambda tensors: tensors.update({EMBEDDING: torch.zeros(3)}))(folder),
            sharded()(folder),
        ],
        SHARDS[0],
        f"{EMBEDDING} is 3, not 300×64",
    ),
    "missing in a shard": (
        sharded(
            lambda index: index["weight_map"].pop(EMBEDDING),
            lambda folder: weights_of(folder / SHARDS[0], without=EMBEDDING),
        ),
        INDEX,
        f"{EMBEDDING} (300×64) is missing",
    ),
    "whole numbers": (
        weights(lambda tensors: {name: it.to(torch.int8) for name, it in tensors.items()}),
        WEIGHTS,
        f"{EMBEDDING} has whole numbers (I8), without a quantization_config in config.json",
    ),
    "an activation that is none": (
        edit("config.json", hidden_act="siluu"),
        "config.json",
        "transformers cannot build its model: no 'siluu'",
    ),
    "positions that are none": (
        edit("config.json", rope_parameters={"rope_type": "mystery"}),
        "config.json",
        "transformers cannot build its model: no 'mystery'",
    ),
    "quantized, so it says": (
        edit("config.json", quantization_config={"load_in_4bit": True}),
        "config.json",
        "found quantization_config, but no quantized weight; remove it",
    ),
    "a library that is not installed": (
        edit("config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        "config.json",
        "quantization_config: cannot be loaded: Loading a GPTQ ",
    ),
    "a library that is unheard-of": (
        edit("config.json", quantization_config={"quant_method": "zzz"}),
        "config.json",
        "quantization_config: cannot be loaded: Unknown quantization type, got zzz",
    ),
}  # fmt: skip


def weights_of(path: Path, without: str) -> None:
    """Leave a tensor out of a file."""
    from safetensors.torch import load, save_file

    tensors = load(path.read_bytes())
    save_file({name: it for name, it in tensors.items() if name != without}, path)


@pytest.mark.parametrize(("spoil", "name", "said"), OTHERS.values(), ids=OTHERS)
def test_weights_that_are_not_those_of_the_config_are_refused(
    snapshot: Path, spoil: Spoil, name: str, said: str
) -> None:
    spoil(snapshot)
    with pytest.raises(BadInput) as refused:
        check_weights(listed(snapshot))
    message = str(refused.value)
    assert message.startswith(f"{snapshot / name}: ")
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_no_backend_loads_them(snapshot: Path, backend: str, quantization: str) -> None:
    """transformers would load another shape into a 4-bit model, and random weights into any."""
    weights(lambda tensors: tensors.update({UP: torch.zeros(64, 32)}))(snapshot)
    with pytest.raises(BadInput, match=f"{UP} is 64×32, not 64×64"):
        BACKENDS[backend].load(listed(snapshot), "auto", quantization)


QUANTIZED = {
    "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
    "fp4 in float32": {"load_in_4bit": True, "bnb_4bit_quant_storage": "float32"},
    "8 bit": {"load_in_8bit": True},
}


@pytest.mark.parametrize("options", QUANTIZED.values(), ids=QUANTIZED)
def test_weights_that_were_saved_quantized(snapshot: Path, options: dict[str, object]) -> None:
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    saved = AutoModelForCausalLM.from_pretrained(
        snapshot, quantization_config=BitsAndBytesConfig(**options)
    )
    saved.save_pretrained(snapshot)
    load_base(listed(snapshot), "float32", "none")
    # What transformers would not mind: a norm of another shape.
    weights(lambda tensors: tensors.update({"model.norm.weight": torch.zeros(3)}))(snapshot)
    with pytest.raises(BadInput, match=r"model\.norm\.weight is 3, not 64$"):
        check_weights(listed(snapshot))
    norm = {"model.norm.weight": torch.zeros(64)}
    weights(lambda tensors: {**{k: v for k, v in tensors.items() if k != UP}, **norm})(snapshot)
    with pytest.raises(BadInput, match=f"{UP} \\(64×64\\) is missing"):
        check_weights(listed(snapshot))
    edit("config.json", quantization_config=...)(snapshot)
    with pytest.raises(BadInput, match=r"has whole numbers|, not 64×64"):
        check_weights(listed(snapshot))


def test_a_config_does_not_choose_the_attention(snapshot: Path) -> None:
    edit("config.json", _attn_implementation="flash_attention_2")(snapshot)
    assert load_base(listed(snapshot), "float32", "none").config._attn_implementation == "sdpa"


def test_a_snapshot_that_is_not_as_listed_is_refused(snapshot: Path) -> None:
    cut(WEIGHTS, (snapshot / WEIGHTS).stat().st_size - 1)(snapshot)
    with pytest.raises(BadInput, match="not the file that"):
        load_base(snapshot.parent / "manifest.json", "float32", "none")


def test_a_snapshots_folder_is_told_in_few_words_and_is_right_across_a_link(
    snapshot: Path, tmp_path: Path
) -> None:
    for results in ("results", "elsewhere/results"):
        (tmp_path / results / "models").mkdir(parents=True)
        manifest = tmp_path / results / "models" / "manifest.json"
        write_manifest(manifest, snapshot, {"source": "folder"})
    assert snapshot_folder(tmp_path / "results" / "models" / "manifest.json") == snapshot
    link = tmp_path / "linked" / "models"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "elsewhere" / "results" / "models")
    assert snapshot_folder(link / "manifest.json").samefile(snapshot)


def test_what_came_beside_a_listed_snapshot_is_not_loaded(snapshot: Path) -> None:
    """transformers would load an adapter, and whole weights instead of shards."""
    whole = (snapshot / WEIGHTS).read_bytes()
    sharded()(snapshot)
    manifest = listed(snapshot)
    (snapshot / WEIGHTS).write_bytes(whole)
    with pytest.raises(BadInput, match=f"{WEIGHTS}: {INDEX} does not list it"):
        load_base(manifest, "float32", "none")
    (snapshot / WEIGHTS).unlink()
    load_base(manifest, "float32", "none")
    (snapshot / "adapter_config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"adapter_config\.json: an adapter in the folder"):
        load_base(manifest, "float32", "none")


def test_the_real_pretrained_model_knows_its_language(hub: Path, tmp_path: Path) -> None:
    """stories260K gives a story's words a far higher log-prob than the same words backwards."""
    from scripts.lm.logprobs import completion_logps
    from scripts.lm.tokenizers import load_tokenizer

    manifest = tmp_path / "manifest.json"
    write_manifest(manifest, hub / "models" / "karpathy" / "stories260K", {"source": "folder"})
    tokenizer = load_tokenizer(manifest)
    model = load_base(manifest, "float32", "none")
    texts = [
        "Once upon a time, there was a little girl",
        "girl little a was there, time a upon Once",
    ]
    sequences = [([1], tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    forwards, backwards = completion_logps(model, sequences)
    assert sum(forwards) > sum(backwards) + 20
