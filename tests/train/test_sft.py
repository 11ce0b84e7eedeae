"""Supervised trials: labels, learning, files, and losses by hand."""

import importlib.resources
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_jsonl, sha256, write_rows
from scripts.common.rows import COMPLETION_TOKENS
from scripts.data.tokenize import Encoder, tokenize_rows
from scripts.evaluate.score import score_completions
from scripts.lm.logprobs import completion_logps
from scripts.lm.snapshots import attach_adapter, load_base
from scripts.train import sft
from scripts.train.estimate.sizes import optimizer_steps
from scripts.train.run import history
from scripts.train.sft import labelled
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]


def run(
    trial: dict[str, Any], model: Path, rows: Rows, out: Path, valid: Rows | None = None
) -> Path:
    write_rows(out / "tokens.parquet", rows, COMPLETION_TOKENS)
    command = ["--trial", json.dumps(trial), "--model", str(model),
               "--tokens", str(out / "tokens.parquet"), "--out", str(out / "trial")]  # fmt: skip
    if valid is not None:
        write_rows(out / "valid.parquet", valid, COMPLETION_TOKENS)
        command += ["--valid-tokens", str(out / "valid.parquet")]
    assert sft.main(command) == 0
    return out / "trial"


def test_labels() -> None:
    row = {"prompt_ids": [1, 2], "completion_ids": [3, 4]}
    assert labelled(row, completion_only=True)["labels"] == [-100, -100, 3, 4]
    assert labelled(row, completion_only=False) == {"input_ids": [1, 2, 3, 4],
                                                    "labels": [1, 2, 3, 4]}  # fmt: skip


def test_labels_of_a_conversation_are_all_of_its_answers() -> None:
    row = {"prompt_ids": [1, 2, 3], "prompt_scored": [False, True, False], "completion_ids": [4]}
    assert labelled(row, completion_only=True)["labels"] == [-100, 2, -100, 4]
    assert labelled(row, completion_only=False)["labels"] == [1, 2, 3, 4]


def test_conversations_are_learned_as_trl_learns_them(
    hub: Path, demonstrations: Rows, tmp_path: Path
) -> None:
    """With assistant_only_loss, under a template with marks that TRL knows: labels and loss."""
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    tokenizer = AutoTokenizer.from_pretrained(hub / "models" / "Qwen" / "Qwen2.5-14B-Instruct")
    templates = importlib.resources.files("trl") / "chat_templates"
    template = (templates / "qwen3_instruct_2507.jinja").read_text(encoding="utf-8")
    tokenizer.chat_template = template
    turns = [("system", "Be brief."), ("user", "2+2?"), ("assistant", "4"), ("user", "and 3+3?"),
             ("assistant", "6 — naïve")]  # fmt: skip
    messages = [{"role": role, "content": content} for role, content in turns]
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, initializer_range=0.5,
    ))  # fmt: skip
    config = SFTConfig(assistant_only_loss=True, output_dir=str(tmp_path), use_cpu=True,
                       report_to="none", bf16=False)  # fmt: skip
    trainer = SFTTrainer(model, config, train_dataset=Dataset.from_list([{"messages": messages}]),
                         processing_class=tokenizer)  # fmt: skip
    (batch,) = trainer.get_train_dataloader()
    kept, _ = tokenize_rows(
        [{"id": "a", "prompt": messages[:-1], "completion": messages[-1:]}],
        Encoder(tokenizer, template), ("completion",), 512, every=True,
    )  # fmt: skip
    row = labelled(kept[0], completion_only=True)
    assert batch["input_ids"][0].tolist() == row["input_ids"]
    assert batch["labels"][0].tolist() == row["labels"]
    (scored,) = score_completions(model.eval(), kept)
    assert scored["tokens"] == sum(label != -100 for label in row["labels"]) == 9
    with torch.no_grad():
        loss = trainer.compute_loss(model, batch).item()
    assert -scored["logp"] / scored["tokens"] == pytest.approx(loss, rel=1e-5)


def test_a_trial_learns_and_leaves_its_files(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path
) -> None:
    out = run(resolved("sft"), tiny_model, demonstrations, tmp_path)
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    kept = {name for name in names if name.startswith("work/")}
    assert {name.split("/")[1] for name in kept} == {"finished", "fingerprint.json"}
    assert names - kept == {
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
        "adapter/README.md",
        "trial.json",
        "train.json",
        "history.jsonl",
    }
    trained = read_json(out / "train.json")
    assert trained["steps"] == 6
    assert trained["last_loss"] < trained["first_loss"]
    assert read_json(out / "trial.json") == resolved("sft")
    steps = [entry["step"] for entry in read_jsonl(out / "history.jsonl")]
    assert steps == [1, 2, 4, 6]
    assert not any("runtime" in key for entry in read_jsonl(out / "history.jsonl") for key in entry)


def first_loss(trial: dict[str, Any], model: Path, rows: Rows, out: Path) -> float:
    return read_json(run(trial, model, rows, out) / "train.json")["first_loss"]


@pytest.mark.parametrize("completion_only", [True, False])
def test_the_first_loss_is_the_models_own(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path, completion_only: bool
) -> None:
    """One window of all rows: the mean negative log-prob of the counted tokens, by hand."""
    import torch

    model = load_base(tiny_model, "float32", "none")
    total, count = 0.0, 0
    for row in demonstrations:
        ids = torch.tensor([row["prompt_ids"] + row["completion_ids"]])
        with torch.no_grad():
            logps = model(input_ids=ids).logits.log_softmax(-1)[0]
        # Nothing predicts the first token of a row.
        start = len(row["prompt_ids"]) if completion_only else 1
        for place in range(start, ids.shape[1]):
            total -= logps[place - 1, ids[0, place]].item()
            count += 1
    trial = resolved("sft", completion_only_loss=completion_only, max_steps=1,
                     per_device_train_batch_size=7, gradient_accumulation_steps=1)  # fmt: skip
    loss = first_loss(trial, tiny_model, demonstrations, tmp_path)
    assert math.isclose(loss, total / count, rel_tol=1e-5)


def test_same_seed_same_bytes(tiny_model: Path, demonstrations: Rows, tmp_path: Path) -> None:
    trials = [resolved("sft"), resolved("sft"), resolved("sft") | {"seed": 1}]
    outs = [
        run(trial, tiny_model, demonstrations, tmp_path / str(i)) for i, trial in enumerate(trials)
    ]
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json",
                 "history.jsonl"):  # fmt: skip
        assert sha256(outs[0] / name) == sha256(outs[1] / name)
    weights = "adapter/adapter_model.safetensors"
    assert sha256(outs[0] / weights) != sha256(outs[2] / weights)


def test_dropout_acts_when_it_is_asked_for(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path
) -> None:
    plain, dropped = resolved("sft"), resolved("sft")
    dropped["lora"]["lora_dropout"] = 0.5
    a = run(plain, tiny_model, demonstrations, tmp_path / "a")
    b = run(dropped, tiny_model, demonstrations, tmp_path / "b")
    assert read_json(a / "train.json")["last_loss"] != read_json(b / "train.json")["last_loss"]


def test_evaluation_keeps_the_best(tiny_model: Path, demonstrations: Rows, tmp_path: Path) -> None:
    """Validation rows that contradict the training rows get worse with every step."""
    valid = [row | {"completion_ids": [90, 91, 92]} for row in demonstrations]
    trial = resolved("sft", eval_strategy="steps", eval_steps=1, load_best_model_at_end=True)
    out = run(trial, tiny_model, demonstrations, tmp_path, valid)
    losses = [e["eval_loss"] for e in read_jsonl(out / "history.jsonl") if "eval_loss" in e]
    assert len(losses) == 7
    # The first one is from before any step.
    best = min(losses[1:])
    assert best < losses[-1]
    kept = attach_adapter(load_base(tiny_model, "float32", "none"), out / "adapter")
    sequences = [(row["prompt_ids"], row["completion_ids"]) for row in valid]
    logps = sum(sum(tokens) for tokens in completion_logps(kept, sequences))
    assert math.isclose(-logps / (3 * len(valid)), best, rel_tol=1e-4)


def test_a_failure_is_recorded_and_leaves_no_result(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path
) -> None:
    trial = resolved("sft")
    trial["lora"]["target_modules"] = ["q_proj", "no_such_module"]
    with pytest.raises(BadInput, match="found no_such_module; the model has down_proj, gate_proj"):
        run(trial, tiny_model, demonstrations, tmp_path)
    failed = read_json(tmp_path / "trial" / "work" / "failed.json")
    assert "no_such_module" in failed["reason"]
    assert not (tmp_path / "trial" / "adapter").exists()
    # The next run starts clean.
    out = run(resolved("sft"), tiny_model, demonstrations, tmp_path)
    assert not (out / "work" / "failed.json").exists()


def test_a_lost_loss_ends_the_training(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path
) -> None:
    trial = resolved("sft", learning_rate=1e30, logging_steps=1, max_steps=50)
    with pytest.raises(BadInput, match=r"^step \d of 50: found loss nan, allowed is a finite"):
        run(trial, tiny_model, demonstrations, tmp_path)
    failed = read_json(tmp_path / "trial" / "work" / "failed.json")
    assert "found loss nan" in failed["reason"]
    assert not (tmp_path / "trial" / "adapter").exists()


def test_an_overflown_gradient_is_no_number_and_a_lost_loss_is_an_error() -> None:
    assert history([{"loss": 1.0, "grad_norm": math.inf, "step": 1}])[0]["grad_norm"] is None
    assert math.isnan(history([{"loss": math.nan, "step": 1}])[0]["loss"])


@pytest.mark.parametrize("drop_last", [True, False])
def test_the_steps_are_those_foretold(
    tiny_model: Path, demonstrations: Rows, tmp_path: Path, drop_last: bool
) -> None:
    trial = resolved("sft", max_steps=-1, num_train_epochs=2.0, dataloader_drop_last=drop_last)
    out = run(trial, tiny_model, demonstrations, tmp_path)
    assert read_json(out / "train.json")["steps"] == optimizer_steps(7, trial["trainer"])
