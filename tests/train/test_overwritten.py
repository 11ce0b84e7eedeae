"""A start that is overwritten, as in the published code, against PEFT wrapping a model twice."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_it import MarkdownIt
from peft import LoraConfig, PeftModel, get_peft_model

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, write_rows
from scripts.common.rows import PREFERENCE_TOKENS
from scripts.lm.backends import BACKENDS
from scripts.lm.pairs import pair_logps
from scripts.lm.snapshots import attach_adapter, load_base
from scripts.lm.tokenizers import load_tokenizer
from scripts.train import dpo, reference
from scripts.train.run import _model_card as model_card
from scripts.train.starts import start_of
from tests.train.conftest import resolved, trainer_of

OLD = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.1, "init_lora_weights": "gaussian",
       "target_modules": ["q_proj", "v_proj", "gate_proj", "down_proj"]}  # fmt: skip
NEW = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.05, "init_lora_weights": True}
# The published trials: q v at the old rank, and all modules of the old adapter at twice the rank.
# Then modules that the old adapter lacks, at another scale.
TARGETS = [
    {"target_modules": ["q_proj", "v_proj"]},
    {"target_modules": ["q_proj", "v_proj", "gate_proj", "down_proj"], "r": 8, "lora_alpha": 16},
    {"target_modules": ["q_proj", "o_proj"], "r": 8, "lora_alpha": 64},
]


@pytest.fixture
def start(tiny_model: Path, tmp_path: Path) -> Path:
    """Return an adapter that changes the model."""
    torch.manual_seed(0)
    model = get_peft_model(
        load_base(tiny_model, "float32", "none"), LoraConfig(task_type="CAUSAL_LM", **OLD)
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.3)
    model.save_pretrained(tmp_path / "start")
    return tmp_path / "start"


def trial_of(lora: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    trial = resolved("dpo", **trainer) | {"start": "trials/s/seed-0", "start_as": "overwritten"}
    return trial | {"lora": NEW | lora}


def wrapped_twice(model: Path, start: Path, lora: dict[str, Any]) -> PeftModel:
    """Return the model that the published code makes."""
    once = PeftModel.from_pretrained(load_base(model, "float32", "none"), start)
    return get_peft_model(once, LoraConfig(task_type="CAUSAL_LM", **NEW | lora))


def policy(trial: dict[str, Any], model: Path, start: Path) -> PeftModel:
    """Return the model that is trained, at step 0."""
    base = load_base(model, "float32", "none")
    return start_of(trial).attach(BACKENDS["transformers"], base, trial, start)


def layers(model: PeftModel) -> dict[str, tuple[Any, ...]]:
    """Return rank, scale, dropout and trained weights of each layer with an adapter."""
    return {
        name.replace("base_model.model.", ""): (
            module.r["default"],
            module.scaling["default"],
            getattr(module.lora_dropout["default"], "p", 0.0),
            [part for part, weight in module.named_parameters() if weight.requires_grad],
        )
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


@pytest.mark.parametrize("lora", TARGETS)
@pytest.mark.filterwarnings("ignore:You are trying to modify", "ignore:Already found")
def test_it_is_what_peft_makes_of_a_model_wrapped_twice(
    tiny_model: Path, start: Path, pairs: list[dict[str, Any]], lora: dict[str, Any]
) -> None:
    theirs = wrapped_twice(tiny_model, start, lora).eval()
    ours = policy(trial_of(lora), tiny_model, start).eval()
    assert layers(ours) == layers(theirs)
    assert all("lora_" in name for name, weight in ours.named_parameters() if weight.requires_grad)
    assert ours.get_nb_trainable_parameters() == theirs.get_nb_trainable_parameters()
    for row, other in zip(*(pair_logps(m, pairs) for m in (ours, theirs)), strict=True):
        assert row == pytest.approx(other, abs=1e-5)


def test_a_new_adapter_on_all_old_modules_leaves_the_base(
    tiny_model: Path, start: Path, pairs: list[dict[str, Any]]
) -> None:
    ours = policy(trial_of(TARGETS[1]), tiny_model, start).eval()
    base = load_base(tiny_model, "float32", "none")
    for row, other in zip(*(pair_logps(m, pairs) for m in (ours, base)), strict=True):
        assert row == pytest.approx(other, abs=1e-6)


def commands(model: Path, start: Path, rows: list[dict[str, Any]], folder: Path) -> list[str]:
    """Compute the reference of the merged start, and return the options of a trial."""
    write_rows(folder / "pairs.parquet", rows, PREFERENCE_TOKENS)
    options = ["--model", str(model), "--start", str(start)]
    options += ["--tokens", str(folder / "pairs.parquet")]
    logps = ["--precision", "float32", "--quantization", "none"]
    assert reference.main([*options, *logps, "--out", str(folder / "r.parquet")]) == 0
    return [*options, "--reference", str(folder / "r.parquet"), "--out", str(folder / "dpo")]


def test_a_trial_leaves_one_adapter_for_the_plain_base(
    tiny_model: Path, start: Path, pairs: list[dict[str, Any]], tmp_path: Path
) -> None:
    """With a learning rate of 0, the files hold step 0."""
    trial = trial_of(TARGETS[2], learning_rate=0.0, max_steps=1)
    options = commands(tiny_model, start, pairs, tmp_path)
    assert dpo.main(["--trial", json.dumps(trial), *options]) == 0
    out = tmp_path / "dpo"
    loaded = attach_adapter(load_base(tiny_model, "float32", "none"), out / "adapter")
    meant = policy(trial, tiny_model, start).eval()
    for row, other in zip(*(pair_logps(m, pairs) for m in (loaded, meant)), strict=True):
        assert row == pytest.approx(other, abs=1e-5)
    found = read_json(out / "train.json")["step_zero"]
    assert found["gate"] is False
    assert abs(found["margin"]) > 0.01
    assert sorted(path.name for path in (out / "adapter").iterdir()) == [
        "README.md", "adapter_config.json", "adapter_model.safetensors",
    ]  # fmt: skip
    card = (out / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "must not be merged first" in card
    assert "must be merged" not in card


def test_the_same_trial_with_the_gate_closed_stops(
    tiny_model: Path, start: Path, pairs: list[dict[str, Any]], tmp_path: Path
) -> None:
    trial = trial_of(TARGETS[0])
    options = commands(tiny_model, start, pairs, tmp_path)
    logps = read_rows(options[options.index("--reference") + 1])
    tokenizer = load_tokenizer(tiny_model)
    model = policy(trial, tiny_model, start)
    trainer = trainer_of(trial, model, tokenizer, pairs, logps, tmp_path / "work")
    trainer.gate.closed = True
    with pytest.raises(BadInput, match="at step 0 is"):
        trainer.train()


@pytest.mark.parametrize(
    ("lora", "start_given", "message"),
    [
        (
            {"target_modules": "all-linear"},
            True,
            "found all-linear; a start that is overwritten needs",
        ),
        ({}, False, "found overwritten without a start"),
    ],
)
def test_what_cannot_be_overwritten_is_refused(
    tiny_model: Path, start: Path, tmp_path: Path, pairs: list[dict[str, Any]],
    lora: dict[str, Any], start_given: bool, message: str,
) -> None:  # fmt: skip
    options = commands(tiny_model, start, pairs, tmp_path)
    if not start_given:
        place = options.index("--start")
        del options[place : place + 2]
    trial = trial_of(TARGETS[0] | lora)
    with pytest.raises(BadInput, match=message):
        dpo.main(["--trial", json.dumps(trial), *options])


@pytest.mark.parametrize("name", ["a`b", "``](http://x) <b>", "`", "$x$ *y* [z](http://x)"])
def test_a_model_card_has_no_markup_of_a_folders_name(name: str) -> None:
    trial = resolved("sft") | {"base": f"/models/{name}", "revision": None}
    card = model_card(trial | {"tokens": f"rows.base.{name}.64"}, "some method", [])
    tokens = MarkdownIt("commonmark").parse(card.partition("---\n\n")[2])
    inside = [it for token in tokens for it in token.children or []]
    code = [it.content.strip() for it in inside if it.type == "code_inline"]
    assert {it.type for it in inside} <= {"text", "softbreak", "code_inline"}
    assert {f"rows.base.{name}.64", f"/models/{name}"} <= set(code)
