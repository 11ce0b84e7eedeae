"""Trials of several processes: the same steps, the same losses, one whole adapter."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_jsonl, sha256, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.provenance.job import module_of
from scripts.train import dpo, processes, reference, sft
from tests.conftest import ROOT
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]
LOSS = 2e-6
"""Allowed relative difference of a loss from another float32 summation order; 1e-7 was seen."""
WEIGHT = 1e-4
"""The same for an adapter's weights after all steps, as a share of their norm."""


def divided(size: int, window: int, count: int) -> tuple[int, int]:
    trainer = {"per_device_train_batch_size": size, "gradient_accumulation_steps": window}
    found = processes.divided(trainer, count)
    return found["per_device_train_batch_size"], found["gradient_accumulation_steps"]


def test_a_steps_rows_are_divided_and_batches_only_where_accumulation_cannot_be() -> None:
    assert divided(4, 8, 1) == (4, 8)
    assert divided(4, 8, 2) == (4, 4)
    assert divided(4, 3, 2) == (2, 3)
    with pytest.raises(BadInput, match=r"found 4, which divides neither .* \(3\) nor .* \(6\)"):
        divided(6, 3, 4)


@pytest.mark.parametrize(
    ("rows", "valid", "trainer", "complaint"),
    [
        (8, 4, {}, None),
        (7, None, {}, "found 7 rows, .* no multiple of the 4"),
        (7, None, {"max_steps": 1}, None),
        (7, None, {"dataloader_drop_last": True}, "found 6 rows"),
        (9, None, {"dataloader_drop_last": True}, None),
        (8, 3, {}, "found 3 rows of the valid split"),
    ],
)
def test_rows_that_would_be_seen_twice_are_refused(
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    valid: int | None,
    trainer: dict[str, Any],
    complaint: str | None,
) -> None:
    """Two processes of two rows each; one process takes any number."""
    settings = resolved("sft", **{"max_steps": 6} | trainer)["trainer"]
    processes.check_rows(settings, rows, valid)
    monkeypatch.setenv("WORLD_SIZE", "2")
    if complaint is None:
        processes.check_rows(settings, rows, valid)
        return
    with pytest.raises(BadInput, match=complaint):
        processes.check_rows(settings, rows, valid)


def test_each_process_needs_a_gpu_of_its_own() -> None:
    with pytest.raises(BadInput, match="found 4 for 2 GPUs"):
        processes.command(4, "scripts.train.sft", [], gpus=2)
    words = processes.command(2, "scripts.train.sft", ["--out", "x"], gpus=2)
    assert words[-4:] == ["--module", "scripts.train.sft", "--out", "x"]
    assert "--use_fsdp" in words


def test_a_clusters_warning_does_not_end_the_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher gets the signal too, and has no handler for it."""
    warnings = (signal.SIGUSR1, signal.SIGUSR2)
    before = [signal.getsignal(it) for it in warnings]
    executed = []

    def execute(_: str, words: list[str]) -> None:
        executed.append((words[-2:], [signal.getsignal(it) for it in warnings]))

    monkeypatch.setattr(os, "execv", execute)
    # The launcher may have set it.
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    try:
        processes.main(["--count", "2", "scripts.train.sft", "--help"])
    finally:
        for number, handler in zip(warnings, before, strict=True):
            signal.signal(number, handler)
    assert executed == [(["scripts.train.sft", "--help"], [signal.SIG_IGN] * 2)]


def test_provenance_is_of_the_trainer_not_of_what_starts_it() -> None:
    words = ["python", "-m", "scripts.train.processes", "--count", "2", "scripts.train.dpo"]
    assert module_of([*words, "--trial", "{}"]) == "scripts/train/dpo.py"


def together(module: str, arguments: list[str]) -> subprocess.Popen:
    """Start two processes whose model is sharded over them, on the CPU."""
    words = ["scripts.train.processes", "--count", "2", "tests.train.sharded", module, *arguments]
    return subprocess.Popen(
        [sys.executable, "-m", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen) -> str:
    """Return what a process printed; fail the test if it failed."""
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-6000:]
    return errors


def same(one: Path, two: Path) -> None:
    """Assert that two trials had the same losses and ended with the same weights."""
    from safetensors.torch import load_file

    curves = [read_jsonl(folder / "history.jsonl") for folder in (one, two)]
    for keys in ("step", "epoch", "learning_rate", "num_tokens"):
        assert [row.get(keys) for row in curves[0]] == [row.get(keys) for row in curves[1]]
    for keys in ("loss", "grad_norm", "rewards/margins", "eval_loss"):
        wanted = [row[keys] for row in curves[0] if keys in row]
        found = [row[keys] for row in curves[1] if keys in row]
        assert found == pytest.approx(wanted, rel=LOSS if "loss" in keys else 1e-3, abs=1e-6)
    weights = [load_file(folder / "adapter/adapter_model.safetensors") for folder in (one, two)]
    assert weights[0].keys() == weights[1].keys()
    for name, wanted in weights[0].items():
        assert (weights[1][name] - wanted).norm() <= WEIGHT * wanted.norm(), name
    runs = [read_json(folder / "train.json") for folder in (one, two)]
    for key in ("steps", "tokens", "trainable_parameters", "total_parameters", "precision"):
        assert runs[0][key] == runs[1][key], key
    assert [run["processes"] for run in runs] == [1, 2]
    assert runs[1]["train_loss"] == pytest.approx(runs[0]["train_loss"], rel=LOSS)


def trial(method: str, count: int, **trainer: Any) -> str:
    settings = {"logging_steps": 1, "max_steps": -1, "num_train_epochs": 2.0} | trainer
    return json.dumps(resolved(method, **settings) | {"layout": "stock", "processes": count})


@pytest.fixture
def rows(demonstrations: Rows, tmp_path: Path) -> Path:
    """Return a token split of eight rows."""
    more = [*demonstrations, demonstrations[2] | {"id": "train-7", "prompt_ids": [1, 50]}]
    write_rows(tmp_path / "tokens.parquet", more, COMPLETION_TOKENS)
    return tmp_path / "tokens.parquet"


@pytest.mark.all
def test_two_processes_train_a_supervised_trial_as_one_does(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """Sharded, its accumulation divided; a checkpoint after each step, and evaluations."""
    given = ["--model", str(tiny_model), "--tokens", str(rows), "--valid-tokens", str(rows)]
    settings = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}

    def command(count: int, *more: str) -> list[str]:
        out = str(tmp_path / f"of-{count}")
        return ["--trial", trial("sft", count, **settings), *given, "--out", out, *more]

    process = together("scripts.train.sft", command(2, "--checkpoint-minutes", "0"))
    assert sft.main(command(1)) == 0
    # Only one of them prints.
    assert finished(process).count("step 1/4:") == 1
    same(tmp_path / "of-1", tmp_path / "of-2")
    loads(tiny_model, tmp_path / "of-2" / "adapter")


def loads(model: Path, adapter: Path) -> None:
    """Assert that PEFT loads an adapter without a missing weight."""
    from peft import PeftModel

    from scripts.lm.snapshots import load_base

    loaded = PeftModel.from_pretrained(load_base(model, "float32", "none"), adapter)
    assert any(weight.abs().sum() > 0 for name, weight in loaded.named_parameters()
               if "lora_B" in name)  # fmt: skip


def pair_files(tiny_model: Path, pairs: Rows, folder: Path) -> list[str]:
    """Write eight pairs and their reference; return a trainer's options for them."""
    more = [*pairs, pairs[3] | {"id": "train-7", "prompt_ids": [1, 50]}]
    write_rows(folder / "tokens.parquet", more, PREFERENCE_TOKENS)
    files = ["--model", str(tiny_model), "--tokens", str(folder / "tokens.parquet")]
    logps = str(folder / "reference.parquet")
    assert reference.main([*files, "--backend", "transformers", "--precision", "float32",
                           "--quantization", "none", "--out", logps]) == 0  # fmt: skip
    return [*files, "--reference", logps]


@pytest.mark.all
def test_two_processes_train_a_preference_trial_as_one_does(
    tiny_model: Path, pairs: Rows, tmp_path: Path
) -> None:
    """Sharded, its batches divided, since the accumulation cannot be."""
    files = pair_files(tiny_model, pairs, tmp_path)

    def command(count: int) -> list[str]:
        settings = trial("dpo", count, gradient_accumulation_steps=1, per_device_train_batch_size=4)
        return ["--trial", settings, *files, "--out", str(tmp_path / f"of-{count}")]

    process = together("scripts.train.dpo", command(2))
    assert dpo.main(command(1)) == 0
    finished(process)
    same(tmp_path / "of-1", tmp_path / "of-2")


@pytest.mark.all
def test_two_processes_that_are_stopped_resume_to_the_same_bytes(
    tiny_model: Path, rows: Path, tmp_path: Path
) -> None:
    """Weights, optimizer and random states of both are restored from one unsharded checkpoint.

    Each process has its own running loss between two logs.
    """
    lora = {"lora": resolved("sft")["lora"] | {"lora_dropout": 0.1}}
    settings = json.loads(trial("sft", 2, num_train_epochs=40.0, logging_steps=7)) | lora
    given = ["--trial", json.dumps(settings), "--model", str(tiny_model), "--tokens", str(rows)]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finished(together("scripts.train.sft", [*given, "--out", str(whole)]))
    process = together("scripts.train.sft", [*given, "--out", str(stopped)])
    while not (stopped / "work" / "progress.json").exists() or (
        read_json(stopped / "work" / "progress.json")["step"] < 2
    ):
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    process.communicate()
    assert process.returncode != 0
    assert list((stopped / "work").glob("checkpoint-*"))
    finished(together("scripts.train.sft", [*given, "--out", str(stopped)]))
    assert read_json(stopped / "train.json")["resumed"] == 1
    for name in ("history.jsonl", "adapter/adapter_model.safetensors"):
        assert sha256(whole / name) == sha256(stopped / name)
