"""Variants of LoRA: all that is trained moves, and what is saved and merged is what was trained."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora import LoraLayer

from scripts.common.cli import BadInput
from scripts.lm.adapters import lora_config, read_adapter
from scripts.train.run import _save_adapter
from tests.train.conftest import resolved
from tests.train.stock import OURS, adapted, base, sequence, trial

VARIANTS: dict[str, dict[str, Any]] = {
    "gaussian": {"init_lora_weights": "gaussian"},
    "rslora": {"use_rslora": True},
    "dora": {"use_dora": True},
    "lora+": {"loraplus_lr_ratio": 8.0},
    "layers": {"layers_to_transform": [1]},
    "whole": {"modules_to_save": ["lm_head", "norm"], "target_modules": ["q_proj"]},
}
IDS = torch.tensor([sequence(7, 20)])


def settings_of(method: str, variant: dict[str, Any]) -> dict[str, Any]:
    settings = trial(method, "4x1", max_steps=5, warmup_steps=0, lr_scheduler_type="constant")
    settings["lora"] |= variant
    return settings


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_and_merged_is_what_was_trained(
    variant: str, method: str, tmp_path: Path
) -> None:
    settings = settings_of(method, VARIANTS[variant]) | {"layout": "auto"}
    trainer = OURS[method](settings, base("llama"), tmp_path / "work")
    before = {
        name: it.detach().clone()
        for name, it in trainer.model.named_parameters()
        if it.requires_grad
    }
    trainer.train()
    # A supervised pass computes logits in parts, and no gradient of the head.
    assert trainer.layout.ran == ("stock" if (variant, method) == ("whole", "sft") else "shared")
    after = dict(trainer.model.named_parameters())
    assert all(not torch.equal(after[name], weight) for name, weight in before.items())

    folder = tmp_path / "adapter"
    _save_adapter(trainer.model, None, settings, tmp_path / "base", folder)
    with torch.no_grad():
        expected = trainer.model.eval()(IDS).logits
        loaded = read_adapter(base("llama"), folder).eval()
        torch.testing.assert_close(loaded(IDS).logits, expected, atol=1e-5, rtol=1e-5)
        merged = loaded.merge_and_unload()
        torch.testing.assert_close(merged(IDS).logits, expected, atol=1e-4, rtol=1e-4)
        untuned = base("llama")(IDS).logits
    assert (expected - untuned).abs().max() > 0.01


def test_each_variant_has_its_effect() -> None:
    """By hand: the scale of rsLoRA, DoRA's lengths, one layer of two, and the rates of LoRA+."""
    rank = resolved("sft")["lora"]["r"]
    models = {
        name: adapted(base("llama"), settings_of("sft", variant))
        for name, variant in VARIANTS.items()
    }
    names = {
        name: [weight for weight, it in model.named_parameters() if it.requires_grad]
        for name, model in models.items()
    }
    scales = {
        name: next(it.scaling["default"] for it in model.modules() if isinstance(it, LoraLayer))
        for name, model in models.items()
    }
    assert scales["rslora"] == pytest.approx(scales["lora+"] * rank**0.5)
    assert any("magnitude" in name for name in names["dora"])
    assert all(".layers.1." in name for name in names["layers"])
    assert any("lm_head" in name for name in names["whole"])


def test_b_learns_so_many_times_faster(tmp_path: Path) -> None:
    settings = settings_of("sft", VARIANTS["lora+"])
    trainer = OURS["sft"](settings, base("llama"), tmp_path)
    optimizer = trainer.create_optimizer()
    rates = {id(it): group["lr"] for group in optimizer.param_groups for it in group["params"]}
    found = {
        ("lora_B" in name, rates[id(it)])
        for name, it in trainer.model.named_parameters()
        if it.requires_grad
    }
    rate = settings["trainer"]["learning_rate"]
    assert found == {(False, rate), (True, 8 * rate)}


@pytest.mark.parametrize(
    ("shape", "variant", "message"),
    [
        ("llama", {"layers_to_transform": [0, 2]}, "found 2; the model has layers 0 to 1"),
        ("llama", {"modules_to_save": ["lm_hat"]}, "modules_to_save: found lm_hat; the model has"),
        ("qwen2", {"modules_to_save": ["lm_head"]}, "shares its weights with embed_tokens"),
    ],
)
def test_what_peft_would_not_say(shape: str, variant: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        lora_config(base(shape), copy.deepcopy(resolved("sft")["lora"]) | variant)
