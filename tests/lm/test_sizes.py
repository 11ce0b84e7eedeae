"""The published steps and trainable parameters, from configurations alone."""

import pytest
from transformers import LlamaConfig, Qwen2Config

from scripts.common.cli import BadInput
from scripts.common.config import load
from scripts.common.plan import make_plan
from scripts.lm.sizes import optimizer_steps, trainable_parameters
from tests.conftest import ROOT

TRIALS = {
    trial["name"]: trial["training"]
    for trial in make_plan(load([ROOT / "config.yaml"])).trials.values()
}
# The sizes in the two models' config.json.
MODELS = {
    "qwen-14b": Qwen2Config(
        hidden_size=5120, intermediate_size=13824, num_hidden_layers=48, num_attention_heads=40,
        num_key_value_heads=8, vocab_size=152064,
    ),
    "tinyllama": LlamaConfig(
        hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, vocab_size=32000,
    ),
}  # fmt: skip
ROWS = {"youtube-titles": 1026, "grade-school-math": 5000, "hh-rlhf": 1976}
PUBLISHED = {
    "titles-dpo": (195, 137_625_600),
    "sft-1": (1875, 1_914_880),
    "sft-2": (1250, 2_252_800),
    "sft-3": (1875, 2_703_360),
    "sft-4": (1875, 1_914_880),
    "sft-5": (1875, 281_600),
    "dpo-1": (494, 563_200),
    "dpo-2": (494, 563_200),
    "dpo-3": (494, 563_200),
    "dpo-4": (494, 3_829_760),
    "dpo-5": (741, 563_200),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_steps_and_trainable_parameters(name: str) -> None:
    trial = TRIALS[name]
    steps = optimizer_steps(ROWS[trial["dataset"]], trial["trainer"])
    assert (steps, trainable_parameters(MODELS[trial["model"]], trial["lora"])) == PUBLISHED[name]


def test_a_published_trial_and_its_variants_have_the_same_size() -> None:
    """As coded and corrected, a trial is as large and as long as the published one."""
    variants = [f"{name}-{kind}" for name in PUBLISHED for kind in ("as-coded", "corrected")]
    found = [name for name in variants if name in TRIALS]
    assert len(found) == 15
    for name in found:
        variant = TRIALS[name]
        published = TRIALS[name.removesuffix("-as-coded").removesuffix("-corrected")]
        assert variant["lora"] == published["lora"]
        steps = [optimizer_steps(5000, trial["trainer"]) for trial in (variant, published)]
        assert steps[0] == steps[1]


def test_a_module_that_the_model_lacks_is_named() -> None:
    lora = TRIALS["sft-1"]["lora"] | {"target_modules": ["q_proj", "c_attn"]}
    with pytest.raises(BadInput, match="found c_attn; the model has down_proj"):
        trainable_parameters(MODELS["tinyllama"], lora)
