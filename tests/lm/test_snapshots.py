"""Loading: precision, and adapters merged or attached."""

import shutil
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from scripts.common.cli import BadInput
from scripts.lm.snapshots import attach_adapter, load_base, merge_adapters, weights_dtype

LORA = {"r": 2, "lora_alpha": 4, "lora_dropout": 0.0, "target_modules": "all-linear",
        "init_lora_weights": True}  # fmt: skip
IDS = torch.tensor([[1, 20, 30, 40]])


@pytest.fixture
def adapter(tiny_model: Path, tmp_path: Path) -> Path:
    """Return an adapter that changes the model."""
    model = get_peft_model(load_base(tiny_model, "auto", "none"), LoraConfig(**LORA))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_precision_without_a_gpu() -> None:
    assert weights_dtype("auto") == torch.float32
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
        base = load_base(tiny_model, "auto", "none")(IDS).logits
        attached = attach_adapter(load_base(tiny_model, "auto", "none"), adapter)(IDS).logits
        merged = merge_adapters(load_base(tiny_model, "auto", "none"), [adapter])(IDS).logits
    assert not torch.allclose(base, attached, atol=1e-3)
    assert torch.allclose(merged, attached, atol=1e-4)


def test_a_snapshot_that_is_not_as_listed_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model.parent, tmp_path / "copy")
    weights = tmp_path / "copy" / "snapshot" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BadInput, match="not the file that"):
        load_base(tmp_path / "copy" / "manifest.json", "auto", "none")


def test_the_real_pretrained_model_knows_its_language(hub: Path, tmp_path: Path) -> None:
    """stories260K gives a story's words a far higher log-prob than the same words backwards."""
    from scripts.lm.logprobs import completion_logps
    from scripts.lm.tokenizers import load_tokenizer
    from scripts.models.manifest import write_manifest

    manifest = tmp_path / "manifest.json"
    write_manifest(manifest, hub / "models" / "karpathy" / "stories260K", {"source": "folder"})
    tokenizer = load_tokenizer(manifest)
    model = load_base(manifest, "auto", "none")
    texts = [
        "Once upon a time, there was a little girl",
        "girl little a was there, time a upon Once",
    ]
    sequences = [([1], tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    forwards, backwards = completion_logps(model, sequences)
    assert sum(forwards) > sum(backwards) + 20
