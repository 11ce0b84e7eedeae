"""Trainers that are killed, stopped or run out of disk, and go on to the same bytes.

Each attempt is a process of its own, forked from one that has imported everything.
"""

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import read_json, read_jsonl, sha256, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS, REFERENCE
from scripts.common.states import RUNNING, STALE, state_of
from tests.train.conftest import resolved
from tests.train.nursery import Nursery, nursery

TIMES = {"seconds", "step_seconds", "peak_memory_mb", "energy_joules", "resumed"}
"""What of train.json may differ."""
COMMON = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 7,
          "num_train_epochs": 2.0, "lr_scheduler_type": "cosine", "warmup_steps": 2,
          "logging_steps": 3}  # fmt: skip
BEST = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
BEST_EPOCH = {"eval_strategy": "epoch", "load_best_model_at_end": True, "max_steps": 6}
DROPOUT = {"lora_dropout": 0.3}


@dataclass(frozen=True)
class Case:
    """A trial: its method, what its trainer and its adapter have of their own, and the rest."""

    method: str
    trainer: dict[str, Any]
    lora: dict[str, Any]
    rest: dict[str, Any]

    def trial(self) -> dict[str, Any]:
        trial = resolved(self.method, **COMMON | self.trainer) | self.rest
        trial["lora"] |= self.lora
        return trial


ACCUMULATED = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 1}
CASES = {
    "sft": Case("sft", {}, {}, {}),
    "sft-accumulated": Case("sft", ACCUMULATED, {}, {"layout": "stock"}),
    "sft-dropout-best": Case("sft", BEST, DROPOUT, {}),
    "sft-4bit-8bit": Case(
        "sft", {"optim": "paged_adamw_8bit"}, {"init_lora_weights": "gaussian"},
        {"quantization": "nf4"},
    ),
    "dpo": Case("dpo", ACCUMULATED, {}, {}),
    "dpo-dropout": Case("dpo", {"disable_dropout": False}, DROPOUT, {}),
    "dpo-best-epoch": Case("dpo", BEST_EPOCH, {"init_lora_weights": "pissa"}, {}),
}  # fmt: skip


@dataclass(frozen=True)
class Yard:
    """Where trials are run, and killed."""

    nursery: Nursery
    model: Path
    folder: Path

    def words(self, case: Case, out: Path, minutes: float = 0, **trainer: Any) -> list[str]:
        """Returns a trial's command line."""
        trial = case.trial()
        trial["trainer"] |= trainer
        words = ["--trial", json.dumps(trial), "--model", str(self.model), "--out", str(out)]
        words += ["--checkpoint-minutes", str(minutes)]
        for role in ("", "valid-") if trial["trainer"]["eval_strategy"] != "no" else ("",):
            words += [f"--{role}tokens", str(self.folder / f"{case.method}.parquet")]
            if case.method == "dpo":
                words += [f"--{role}reference", str(self.folder / "logps.parquet")]
        return words

    def attempt(self, case: Case, out: Path, minutes: float = 0, **how: Any) -> int:
        """Runs a trial, perhaps not to its end, and returns how it ended."""
        out.parent.mkdir(parents=True, exist_ok=True)
        return self.nursery.run(case.method, self.words(case, out, minutes), log_of(out), **how)

    def whole(self, name: str) -> Path:
        """Returns the results of a case that was never interrupted, nor wrote a checkpoint."""
        out = self.folder / "whole" / name
        if not out.exists():
            assert self.attempt(CASES[name], out, minutes=60) == 0, said(out)
        return out


def log_of(out: Path) -> Path:
    return out.with_suffix(".log")


def said(out: Path) -> str:
    """Returns what the last attempt said."""
    return log_of(out).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def yard(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    folder = tmp_path_factory.mktemp("yard")
    prompts = [[1, 20 + i, 30] for i in range(7)]
    write_rows(
        folder / "sft.parquet",
        [{"id": f"{i}", "prompt_ids": prompt, "completion_ids": [40 + i] * (i + 1) + [2]}
         for i, prompt in enumerate(prompts)],
        COMPLETION_TOKENS,
    )  # fmt: skip
    write_rows(
        folder / "dpo.parquet",
        [{"id": f"{i}", "prompt_ids": prompt, "chosen_ids": [40 + i] * (i + 1) + [2],
          "rejected_ids": [60 + i] * (7 - i)} for i, prompt in enumerate(prompts)],
        PREFERENCE_TOKENS,
    )  # fmt: skip
    with nursery(tiny_model) as started:
        words = ["--model", str(tiny_model), "--precision", "auto", "--quantization", "none"]
        words += ["--tokens", str(folder / "dpo.parquet"), "--out", str(folder / "logps.parquet")]
        assert started.run("reference", words, folder / "reference.log") == 0
        yield Yard(started, tiny_model, folder)


def assert_same(out: Path, whole: Path) -> None:
    """Compares all files by their bytes, and train.json by what is no time."""
    files = [
        {it.relative_to(folder).as_posix() for it in folder.rglob("*") if it.is_file()}
        for folder in (out, whole)
    ]
    assert files[0] == files[1]
    for name in files[0] - {"train.json"}:
        assert sha256(out / name) == sha256(whole / name), name
    trained, once = (read_json(folder / "train.json") for folder in (out, whole))
    assert {k: v for k, v in trained.items() if k not in TIMES} == {
        k: v for k, v in once.items() if k not in TIMES
    }


@pytest.mark.parametrize("name", CASES)
def test_killed_at_random_points_it_ends_with_the_same_bytes(yard: Yard, name: str) -> None:
    """Four kills each: in the midst of a step, anywhere by processor time, at any write."""
    case, whole, out = CASES[name], yard.whole(name), yard.folder / "random" / name
    chosen, killed = random.Random(name), 0
    while killed < 4:
        how = chosen.choice([
            {"step": chosen.randint(1, 7), "signal": signal.SIGKILL},
            {"cpu": chosen.uniform(0.05, 1.0)},
            {"below": out, "write": chosen.randint(1, 150)},
        ])  # fmt: skip
        code = yard.attempt(case, out, **how)
        assert code in (0, -signal.SIGKILL, -signal.SIGPROF), said(out)
        killed += code != 0
        if code == 0:
            # It came to its end before: begun anew.
            assert_same(out, whole)
            shutil.rmtree(out)
    assert yard.attempt(case, out) == 0, said(out)
    assert_same(out, whole)
