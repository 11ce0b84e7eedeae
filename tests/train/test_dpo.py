"""Preference trials: the reference, step 0, learning, and the files of a trial."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_jsonl, read_rows, sha256, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS, REFERENCE
from scripts.lm.pairs import pair_logps
from scripts.lm.snapshots import load_base, merge_adapters
from scripts.train import dpo, reference, sft
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]


@pytest.fixture
def tokens(pairs: Rows, tmp_path: Path) -> Path:
    write_rows(tmp_path / "pairs.parquet", pairs, PREFERENCE_TOKENS)
    return tmp_path / "pairs.parquet"


@pytest.fixture
def start(tiny_model: Path, demonstrations: Rows, tmp_path: Path) -> Path:
    """Return the adapter of a supervised trial."""
    write_rows(tmp_path / "sft.parquet", demonstrations, COMPLETION_TOKENS)
    command = ["--trial", json.dumps(resolved("sft")), "--model", str(tiny_model)]
    command += ["--tokens", str(tmp_path / "sft.parquet"), "--out", str(tmp_path / "sft")]
    sft.main(command)
    return tmp_path / "sft" / "adapter"


def reference_of(model: Path, tokens: Path, out: Path, start: Path | None = None) -> Path:
    command = ["--model", str(model), "--precision", "float32", "--quantization", "none",
               "--tokens", str(tokens), "--out", str(out)]  # fmt: skip
    assert reference.main(command + (["--start", str(start)] if start else [])) == 0
    return out


def run(
    trial: dict[str, Any], model: Path, tokens: Path, logps: Path, out: Path,
    start: Path | None = None,
) -> Path:  # fmt: skip
    command = ["--trial", json.dumps(trial), "--model", str(model), "--tokens", str(tokens),
               "--reference", str(logps), "--out", str(out)]  # fmt: skip
    assert dpo.main(command + (["--start", str(start)] if start else [])) == 0
    return out


def test_the_reference_is_the_merged_start(
    tiny_model: Path, tokens: Path, start: Path, pairs: Rows, tmp_path: Path
) -> None:
    logps = read_rows(reference_of(tiny_model, tokens, tmp_path / "r.parquet", start))
    model = merge_adapters(load_base(tiny_model, "float32", "none"), [start])
    alone = [pair_logps(model, [row])[0] for row in pairs]
    for row, other in zip(logps, alone, strict=True):
        assert row["id"] == other["id"]
        assert row["chosen_logp"] == pytest.approx(other["chosen_logp"], abs=1e-4)
        assert row["rejected_logp"] == pytest.approx(other["rejected_logp"], abs=1e-4)


def test_a_reference_of_another_precision_is_refused(
    tiny_model: Path, tokens: Path, tmp_path: Path
) -> None:
    logps = reference_of(tiny_model, tokens, tmp_path / "r.parquet")
    trial = resolved("dpo") | {"precision": "bfloat16"}
    refused = r"r.json: precision: found float32, but this machine computes in bfloat16; "
    with pytest.raises(BadInput, match=refused):
        run(trial, tiny_model, tokens, logps, tmp_path / "dpo")


def test_from_sft_margin_is_zero_and_loss_is_ln_2_at_step_zero(
    tiny_model: Path, tokens: Path, start: Path, tmp_path: Path
) -> None:
    logps = reference_of(tiny_model, tokens, tmp_path / "r.parquet", start)
    out = run(resolved("dpo"), tiny_model, tokens, logps, tmp_path / "dpo", start)
    first = read_jsonl(out / "history.jsonl")[0]
    assert first["step"] == 1
    assert first["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert first["rewards/margins"] == pytest.approx(0, abs=1e-6)
    trained = read_json(out / "train.json")
    assert trained["step_zero"]["gate"] is True
    assert trained["step_zero"]["loss"] == first["loss"]
    assert trained["step_zero"]["margin"] == first["rewards/margins"]
    assert trained["last_loss"] < math.log(2)
    assert sorted(path.name for path in (out / "adapter").rglob("*")) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


@pytest.mark.parametrize(
    "lora", [{"init_lora_weights": "gaussian"}, {"use_dora": True}], ids=["gaussian", "dora"]
)
def test_any_adapter_starts_at_its_reference(
    tiny_model: Path, tokens: Path, tmp_path: Path, lora: dict[str, Any]
) -> None:
    trial = resolved("dpo", max_steps=2)
    trial["lora"] |= lora
    logps = reference_of(tiny_model, tokens, tmp_path / "r.parquet")
    out = run(trial, tiny_model, tokens, logps, tmp_path / "dpo")
    assert read_json(out / "train.json")["first_loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_another_models_reference_is_stopped_at_step_zero(
    tiny_model: Path, tokens: Path, start: Path, tmp_path: Path
) -> None:
    logps = reference_of(tiny_model, tokens, tmp_path / "base.parquet")
    with pytest.raises(BadInput, match="margin at step 0 is"):
        run(resolved("dpo"), tiny_model, tokens, logps, tmp_path / "dpo", start)
    assert not (tmp_path / "dpo" / "adapter").exists()


@pytest.mark.parametrize(
    ("dtype", "beta", "above", "stops"),
    [
        # Published losses of a notebook whose policy was not its reference at step 0.
        (torch.float16, 0.1, 0.7141 - math.log(2), True),
        (torch.float16, 0.1, 0.7100 - math.log(2), True),
        (torch.bfloat16, 0.1, 0.03, True),
        (torch.bfloat16, 0.1, 0.002, False),
        (torch.float16, 0.1, 0.0005, False),
        (torch.float32, 0.1, 0.0005, True),
        # The smaller beta is, the less a difference in log-probs changes the loss.
        (torch.float16, 0.05, 0.003, True),
        (torch.float16, 0.1, 0.003, False),
    ],
)
def test_the_gate_allows_what_rounding_explains(
    dtype: torch.dtype, beta: float, above: float, stops: bool
) -> None:
    from types import SimpleNamespace

    gate = dpo.StepZeroGate(dtype, resolved("dpo", beta=beta), math.log(2))
    logs = {"loss": math.log(2) + above, "rewards/margins": 0.0}
    with pytest.raises(BadInput, match="loss at step 0 is") if stops else nullcontext():
        gate.on_log(None, SimpleNamespace(global_step=1), None, logs=logs)


def test_margins_of_both_signs_are_stopped_by_the_loss(
    tiny_model: Path, pairs: Rows, tmp_path: Path
) -> None:
    """Their mean is 0, as it should be, but their loss is above ln 2: -log sigmoid is convex."""
    rows = pairs[:6]
    write_rows(tmp_path / "pairs.parquet", rows, PREFERENCE_TOKENS)
    logps = read_rows(
        reference_of(tiny_model, tmp_path / "pairs.parquet", tmp_path / "right.parquet")
    )
    for place, row in enumerate(logps):
        row["chosen_logp"] += 1 - 2 * (place % 2)
    write_rows(tmp_path / "wrong.parquet", logps, REFERENCE)
    window = {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 1}
    given = (tiny_model, tmp_path / "pairs.parquet", tmp_path / "wrong.parquet", tmp_path / "dpo")
    with pytest.raises(BadInput, match=r"loss at step 0 is 0\.72\d*, not 0\.693147"):
        run(resolved("dpo", **window), *given)
    # The hinge loss of these margins is 1, as for margins of 0, so only their mean is checked.
    run(resolved("dpo", loss_type=["hinge"], max_steps=1, **window), *given)


def test_a_reference_of_other_rows_is_refused(
    tiny_model: Path, tokens: Path, tmp_path: Path
) -> None:
    rows = [{"id": "test-0", "chosen_logp": 0.0, "rejected_logp": 0.0}]
    write_rows(tmp_path / "r.parquet", rows, REFERENCE)
    with pytest.raises(BadInput, match="belong to other rows"):
        run(resolved("dpo"), tiny_model, tokens, tmp_path / "r.parquet", tmp_path / "dpo")


def test_same_seed_same_bytes(tiny_model: Path, tokens: Path, tmp_path: Path) -> None:
    logps = reference_of(tiny_model, tokens, tmp_path / "r.parquet")
    a, b = (run(resolved("dpo"), tiny_model, tokens, logps, tmp_path / name) for name in ("a", "b"))
    for name in ("adapter/adapter_model.safetensors", "history.jsonl", "trial.json"):
        assert sha256(a / name) == sha256(b / name)


@pytest.mark.parametrize("silenced", [True, False])
def test_dropout_is_what_disable_dropout_says(
    tiny_model: Path, tokens: Path, tmp_path: Path, silenced: bool
) -> None:
    logps = reference_of(tiny_model, tokens, tmp_path / "r.parquet")
    losses = []
    for dropout in (0.0, 0.5):
        trial = resolved("dpo", disable_dropout=silenced)
        trial["lora"]["lora_dropout"] = dropout
        out = run(trial, tiny_model, tokens, logps, tmp_path / str(dropout))
        losses.append(read_json(out / "train.json")["last_loss"])
    assert (losses[0] == losses[1]) == silenced


def test_evaluation_while_training_starts_at_ln_2_and_keeps_the_best(
    tiny_model: Path, tokens: Path, tmp_path: Path
) -> None:
    logps = reference_of(tiny_model, tokens, tmp_path / "r.parquet")
    trial = resolved("dpo", eval_strategy="steps", eval_steps=2, load_best_model_at_end=True)
    command = ["--trial", json.dumps(trial), "--model", str(tiny_model)]
    for role in ("", "valid-"):
        command += [f"--{role}tokens", str(tokens), f"--{role}reference", str(logps)]
    assert dpo.main([*command, "--out", str(tmp_path / "dpo")]) == 0
    history = read_jsonl(tmp_path / "dpo" / "history.jsonl")
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-5)
    assert len(losses) == 4
    assert losses[-1] < losses[0]


def test_gradient_checkpointing_changes_no_number(
    tiny_model: Path, tokens: Path, tmp_path: Path
) -> None:
    logps = reference_of(tiny_model, tokens, tmp_path / "r.parquet")
    losses = []
    for checkpointing in (False, True):
        trial = resolved("dpo", gradient_checkpointing=checkpointing)
        out = run(trial, tiny_model, tokens, logps, tmp_path / str(checkpointing))
        losses.append([entry["loss"] for entry in read_jsonl(out / "history.jsonl")])
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    assert losses[0][-1] < losses[0][0]


def test_four_bit_weights_train(tiny_model: Path, tokens: Path, tmp_path: Path) -> None:
    """NF4 on this machine's device: the step-0 gate passes and the loss falls."""
    trial = resolved("dpo") | {"quantization": "nf4"}
    command = ["--model", str(tiny_model), "--precision", "float32", "--quantization", "nf4"]
    command += ["--tokens", str(tokens), "--out", str(tmp_path / "r.parquet")]
    assert reference.main(command) == 0
    out = run(trial, tiny_model, tokens, tmp_path / "r.parquet", tmp_path / "dpo")
    trained = read_json(out / "train.json")
    assert trained["first_loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert trained["adapter_precision"] == "float32"
    assert trained["last_loss"] < trained["first_loss"]


def test_evaluating_four_bit_weights_changes_no_gradient(
    tiny_model: Path, tokens: Path, tmp_path: Path
) -> None:
    logps = tmp_path / "r.parquet"
    command = ["--model", str(tiny_model), "--precision", "float32", "--quantization", "nf4"]
    command += ["--tokens", str(tokens), "--out", str(logps)]
    assert reference.main(command) == 0
    curves = []
    for strategy in ("no", "epoch"):
        trial = resolved("dpo", eval_strategy=strategy, logging_steps=1) | {"quantization": "nf4"}
        command = ["--trial", json.dumps(trial), "--model", str(tiny_model)]
        for role in ("", "valid-") if strategy == "epoch" else ("",):
            command += [f"--{role}tokens", str(tokens), f"--{role}reference", str(logps)]
        assert dpo.main([*command, "--out", str(tmp_path / strategy)]) == 0
        history = read_jsonl(tmp_path / strategy / "history.jsonl")
        curves.append([entry["loss"] for entry in history if "loss" in entry])
    assert curves[0] == pytest.approx(curves[1], abs=1e-5)
