"""Trainers that are killed, stopped or run out of disk, and resume to the same bytes.

Each attempt is a separate process, forked from one that has imported everything.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256, write_json, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.common.states import RUNNING, STALE, forget_work, state_of
from scripts.lm.devices import device_name
from scripts.train import checkpoints
from scripts.train.checkpoints import Saving
from scripts.train.costs import Costs, sum_costs
from scripts.train.stopping import Stop, Stopped
from tests.train.conftest import resolved
from tests.train.nursery import Nursery, nursery

TIMES = {"seconds", "step_seconds", "peak_memory_mb", "energy_joules", "resumed"}
"""Keys of train.json that may differ."""
COMMON = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "max_steps": 7,
          "num_train_epochs": 2.0, "lr_scheduler_type": "cosine", "warmup_steps": 2,
          "logging_steps": 3}  # fmt: skip
BEST = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True}
BEST_EPOCH = {"eval_strategy": "epoch", "load_best_model_at_end": True, "max_steps": 6}
DROPOUT = {"lora_dropout": 0.3}


@dataclass(frozen=True)
class Case:
    """A trial: its method, its own trainer and adapter settings, and the rest."""

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
    "kto-best": Case("kto", BEST, {}, {}),
    "orpo": Case("orpo", {}, {}, {}),
    "cpo-stock": Case("cpo", ACCUMULATED, {}, {"layout": "stock"}),
    "simpo-best": Case("simpo", BEST, {}, {}),
    "dpo-best-epoch": Case("dpo", BEST_EPOCH, {"use_dora": True, "loraplus_lr_ratio": 4.0}, {}),
}  # fmt: skip


@dataclass(frozen=True)
class Yard:
    """Where trials are run, and killed."""

    nursery: Nursery
    model: Path
    folder: Path

    def words(self, case: Case, out: Path, minutes: float = 0, **trainer: Any) -> list[str]:
        """Return a trial's command line."""
        trial = case.trial()
        trial["trainer"] |= trainer
        words = ["--trial", json.dumps(trial), "--model", str(self.model), "--out", str(out)]
        words += ["--checkpoint-minutes", str(minutes)]
        for role in ("", "valid-") if trial["trainer"]["eval_strategy"] != "no" else ("",):
            rows = "sft" if case.method == "sft" else "dpo"
            words += [f"--{role}tokens", str(self.folder / f"{rows}.parquet")]
            if trial.get("reference"):
                words += [f"--{role}reference", str(self.folder / f"{case.method}-logps.parquet")]
        return words

    def attempt(self, case: Case, out: Path, minutes: float = 0, **how: Any) -> int:
        """Run a trial, perhaps not to its end; return the exit code."""
        out.parent.mkdir(parents=True, exist_ok=True)
        return self.nursery.run(case.method, self.words(case, out, minutes), log_of(out), **how)

    def whole(self, name: str) -> Path:
        """Return the results of a case without interruptions or checkpoints."""
        out = self.folder / "whole" / name
        if not out.exists():
            assert self.attempt(CASES[name], out, minutes=60) == 0, said(out)
        return out


def log_of(out: Path) -> Path:
    return out.with_suffix(".log")


def said(out: Path) -> str:
    """Return what the last attempt said."""
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
        words = ["--model", str(tiny_model), "--precision", "float32", "--quantization", "none"]
        words += ["--tokens", str(folder / "dpo.parquet")]
        logps = folder / "dpo-logps.parquet"
        single = ["--window", "2", "--seed", "0", "--reference", str(logps)]
        for out, more in ((logps, []), (folder / "kto-logps.parquet", single)):
            log = folder / "reference.log"
            assert started.run("reference", [*words, *more, "--out", str(out)], log) == 0
        yield Yard(started, tiny_model, folder)
        print(f"{started.kills} kills survived")


def test_a_checkpoint_of_another_precision_is_refused(tmp_path: Path) -> None:
    """As on another machine, where `auto` may mean another one."""
    write_json(tmp_path / checkpoints.RUN, [{"precision": "bfloat16"}])
    given = SimpleNamespace(_checkpoint=tmp_path, model=SimpleNamespace(dtype=torch.float32))
    refused = f"{tmp_path / checkpoints.RUN}: precision: found bfloat16, but this machine computes "
    with pytest.raises(BadInput, match=re.escape(refused + "in float32; ")):
        checkpoints.ResumableTrainer.begin(given)


def assert_same(out: Path, whole: Path) -> None:
    """Compare all files byte by byte, and train.json without times."""
    files = [
        {it.relative_to(folder).as_posix() for it in folder.rglob("*") if it.is_file()}
        for folder in (out, whole)
    ]
    files = [names - {"work/fingerprint.json"} for names in files]
    assert files[0] == files[1]
    beside = {"finished/" + name for name in files[0] if not name.startswith("work/")}
    kept = {name.removeprefix("work/") for name in files[0] if name.startswith("work/")}
    assert kept == beside | {"finished/contents.json"}
    files[0] -= {"work/finished/contents.json", "work/finished/train.json"}
    for name in files[0] - {"train.json"}:
        assert sha256(out / name) == sha256(whole / name), name
    trained, once = (read_json(folder / "train.json") for folder in (out, whole))
    assert {k: v for k, v in trained.items() if k not in TIMES} == {
        k: v for k, v in once.items() if k not in TIMES
    }


@pytest.mark.parametrize("name", CASES)
def test_killed_at_random_points_it_ends_with_the_same_bytes(yard: Yard, name: str) -> None:
    """Kill each four times: within a step, anywhere by CPU time, or at any write."""
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
            # It finished before the kill: start again.
            assert_same(out, whole)
            shutil.rmtree(out)
    assert yard.attempt(case, out) == 0, said(out)
    assert_same(out, whole)


def test_checkpoints_change_nothing(yard: Yard) -> None:
    """A run that writes one after each step ends the same as one that writes none."""
    for name in ("sft-dropout-best", "dpo-dropout"):
        out = yard.folder / "uninterrupted" / name
        assert yard.attempt(CASES[name], out) == 0, said(out)
        assert_same(out, yard.whole(name))
        assert read_json(out / "train.json")["resumed"] == 0


def killed_at_every_write(yard: Yard, name: str, out: Path) -> int:
    """Kill each attempt one write later than the last; return the number of kills."""
    kills = 0
    while True:
        code = yard.attempt(CASES[name], out, below=out, write=kills + 1)
        if code == 0:
            return kills
        assert code == -signal.SIGKILL, said(out)
        kills += 1


@pytest.mark.all
def test_killed_at_every_write_it_ends_with_the_same_bytes(yard: Yard) -> None:
    """In the middle of each file write, and before each open, rename, link and sync."""
    out = yard.folder / "writes" / "sft"
    kills = killed_at_every_write(yard, "sft", out)
    print(f"{kills} kills")
    assert_same(out, yard.whole("sft"))
    # As many as in a whole attempt: lock, resume, write a checkpoint, finish and publish.
    assert kills > 60


@pytest.mark.all
@pytest.mark.parametrize("name", ["dpo-best-epoch", "sft-dropout-best"])
def test_killed_at_every_write_of_more_trials(yard: Yard, name: str) -> None:
    out = yard.folder / "writes" / name
    assert killed_at_every_write(yard, name, out) > 60
    assert_same(out, yard.whole(name))


def trial_in(out: Path) -> dict[str, Any]:
    """Return the trial whose work is in progress."""
    return read_json(out / "work" / "fingerprint.json")["trial"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
@pytest.mark.parametrize("name", ["sft-accumulated", "dpo-dropout"])
def test_a_signal_lets_it_finish_its_step(yard: Yard, name: str, number: signal.Signals) -> None:
    out = yard.folder / number.name / name
    assert yard.attempt(CASES[name], out, minutes=60, step=3, signal=number) == 128 + number
    line = f"stopped by {number.name} after step 3 of 7; the next run resumes from there"
    assert said(out).splitlines()[-1] == line
    work = out / "work"
    assert [it.name for it in work.glob("checkpoint-*")] == ["checkpoint-3"]
    assert not (work / "lock.json").exists()
    state = state_of(out, trial_in(out), read_json(work / "progress.json")["updated"])
    assert (state.word, state.progress["step"]) == (STALE, 3)
    assert state.reason == f"stopped by {number.name} at step 3 of 7; resumes from step 3"
    assert yard.attempt(CASES[name], out) == 0, said(out)
    assert "step 3/7: resumes from a checkpoint" in said(out)
    assert_same(out, yard.whole(name))
    assert read_json(out / "train.json")["resumed"] == 1


def test_a_signal_in_the_last_step_keeps_that_too(yard: Yard) -> None:
    """A trainer that resumes from its last step trains no more steps."""
    out = yard.folder / "last-step"
    for name in ("sft", "dpo-best-epoch"):
        last = read_json(yard.whole(name) / "train.json")["steps"]
        code = yard.attempt(CASES[name], out / name, minutes=60, step=last, signal=signal.SIGTERM)
        assert code == 128 + signal.SIGTERM
        assert yard.attempt(CASES[name], out / name) == 0, said(out / name)
        assert_same(out / name, yard.whole(name))


def test_times_add_up_over_the_attempts(yard: Yard) -> None:
    case, out = CASES["sft"], yard.folder / "times"
    yard.attempt(case, out, step=4, signal=signal.SIGTERM)
    # One process.
    (run,) = read_json(out / "work" / "checkpoint-4" / "run.json")
    assert yard.attempt(case, out) == 0
    assert read_json(out / "train.json")["seconds"] > run["callbacks"]["Costs"]["seconds"] > 0


def test_devices_of_all_attempts_and_processes_are_named() -> None:
    costs = Costs()
    first = costs.state_dict()
    assert first["device"] == device_name()
    for before, named in (("A", "A, B"), ("B", "B"), ("B, A", "B, A"), ("C, A", "C, A, B")):
        costs.meter = SimpleNamespace(cost=lambda: first | {"device": "B"})
        costs.load_state_dict(first | {"device": before})
        assert costs.state_dict()["device"] == named
    parts = [first | {"device": name} for name in ("A, B", "A", "C")]
    assert sum_costs(parts)["device"] == "A, B, C"


def test_a_signal_that_comes_while_processes_talk_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All see the same after a step; a signal that reached only one is seen after the next."""
    stop, state = Stop(), SimpleNamespace(global_step=3)
    stop.wait = True
    saving = Saving(60, stop)

    def all_of(value: Any) -> list[Any]:
        if value is None:
            stop.ask(signal.SIGTERM)
        return [value]

    monkeypatch.setattr(checkpoints, "all_of", all_of)
    assert not saving._is_due(state)
    assert saving._is_due(state)


@pytest.mark.parametrize("written", [True, False])
def test_a_stopped_trainer_says_whether_its_last_step_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], written: bool
) -> None:
    """A step with non-finite weights is not."""
    stop = Stop()
    stop.wait = True
    stop.ask(signal.SIGTERM)
    if written:
        (tmp_path / "checkpoint-3").mkdir()
    where = SimpleNamespace(output_dir=str(tmp_path)), SimpleNamespace(global_step=3, max_steps=7)
    with pytest.raises(Stopped):
        Saving(60, stop).on_save(*where)
    line = capsys.readouterr().err
    assert ("; the next run resumes from there" in line) == written
    assert ("of which no checkpoint was written" in line) != written


def test_files_that_are_torn_by_a_loss_of_power_stop_nothing(yard: Yard) -> None:
    """Files not yet on disk are empty, but a checkpoint is on disk."""
    case, out = CASES["sft"], yard.folder / "torn"
    yard.attempt(case, out, step=4, signal=signal.SIGKILL)
    for name in ("progress.json", "lock.json"):
        (out / "work" / name).write_bytes(b"")
    assert yard.attempt(case, out) == 0, said(out)
    assert "step 3/7: resumes from a checkpoint" in said(out)
    assert_same(out, yard.whole("sft"))


def test_a_full_disk_says_so_and_loses_nothing(yard: Yard) -> None:
    """Simulate a full disk: no file may grow beyond so many bytes."""
    case, out = CASES["dpo"], yard.folder / "full"
    yard.attempt(case, out, step=3, signal=signal.SIGKILL)
    assert yard.attempt(case, out, largest=40_000) == 1
    path = out / "work" / ".partial-checkpoint-3" / "optimizer.pt"
    line = said(out).splitlines()[-1]
    assert line.startswith(f"error: {path}: the disk is full (")
    assert "Traceback" not in said(out)
    assert [it.name for it in (out / "work").glob("*checkpoint-*")] == ["checkpoint-2"]
    # When training ends, PEFT writes the adapter.
    assert yard.attempt(case, out, step=7, signal=signal.SIGTERM) == 128 + signal.SIGTERM
    assert yard.attempt(case, out, largest=10_000) == 1
    assert said(out).splitlines()[-1].startswith(f"error: {out / 'work'}")
    assert yard.attempt(case, out) == 0, said(out)
    assert_same(out, yard.whole("dpo"))


def test_a_disk_that_is_really_full(yard: Yard, tmp_path: Path) -> None:
    """A file system of its own, filled up before and after the first checkpoints."""
    made = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(tmp_path)]
    mounted = subprocess.run(made, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    case, out, filler = CASES["sft"], tmp_path / "full", tmp_path / "filler"
    try:
        yard.attempt(case, out, step=3, signal=signal.SIGKILL)
        free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
        for left in (100_000, 60_000, 8_192, 0):
            filler.write_bytes(b"x" * (free - left))
            assert yard.nursery.run("sft", yard.words(case, out), yard.folder / "full.log") == 1
            line = (yard.folder / "full.log").read_text(encoding="utf-8").splitlines()[-1]
            assert line.startswith(f"error: {out}"), line
            assert "the disk is full" in line
            assert (out / "work" / "checkpoint-2").is_dir()
            filler.unlink()
        assert yard.attempt(case, out) == 0, said(out)
        assert_same(out, yard.whole("sft"))
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_an_orphan_is_stopped_and_its_work_is_resumed(yard: Yard) -> None:
    """A trainer whose parent was killed; while its parent is alive, it is left alone."""
    case, out = CASES["sft-accumulated"], yard.folder / "orphan"
    fifo = yard.folder / "fifo"
    os.mkfifo(fifo)
    words, log = yard.words(case, out), yard.folder / "orphan-1.log"
    parent, trainer = yard.nursery.start_under("sft", words, log, step=3, fifo=fifo)
    assert fifo.read_text(encoding="utf-8") == "here"
    assert yard.attempt(case, out) == 1
    refused = said(out).splitlines()[-1]
    assert refused.startswith(f"error: {out / 'work'}: process {trainer} on ")
    assert f"is training this trial, under process {parent}" in refused
    now = read_json(out / "work" / "progress.json")["updated"]
    assert state_of(out, trial_in(out), now).word == RUNNING

    os.kill(parent, signal.SIGKILL)
    yard.nursery.wait(parent)
    assert yard.attempt(case, out) == 0, said(out)
    assert f"process {trainer} on " in said(out)
    assert "is left over from a run that is gone" in said(out)
    # It was allowed to finish its step.
    assert "stopped by SIGTERM after step 3 of 7" in log.read_text(encoding="utf-8")
    assert "step 3/7: resumes from a checkpoint" in said(out)
    assert_same(out, yard.whole("sft-accumulated"))


def test_a_checkpoint_of_another_trial_is_refused(yard: Yard) -> None:
    case, out = CASES["sft"], yard.folder / "stale"
    yard.attempt(case, out, step=4, signal=signal.SIGKILL)
    log = yard.folder / "stale-2.log"
    assert yard.nursery.run("sft", yard.words(case, out, learning_rate=2e-2), log) == 0
    text = log.read_text(encoding="utf-8")
    what = f"{out / 'work'}: its files are of another trial.trainer.learning_rate; training "
    assert what + "starts from the beginning" in text
    assert "resumes" not in text
    assert read_json(out / "trial.json")["trainer"]["learning_rate"] == 2e-2
    fresh = yard.folder / "stale-fresh"
    yard.nursery.run("sft", yard.words(case, fresh, learning_rate=2e-2), log)
    assert_same(out, fresh)


def test_a_damaged_checkpoint_is_passed_over(yard: Yard) -> None:
    case, out = CASES["sft"], yard.folder / "damaged"
    yard.attempt(case, out, step=4, signal=signal.SIGKILL)
    damaged = out / "work" / "checkpoint-3"
    (damaged / "optimizer.pt").write_bytes((damaged / "optimizer.pt").read_bytes()[:-1])
    assert yard.attempt(case, out) == 0, said(out)
    assert f"{damaged}: damaged, and skipped" in said(out)
    assert_same(out, yard.whole("sft"))


def test_the_newest_and_the_best_are_kept(yard: Yard) -> None:
    case, out = CASES["sft-dropout-best"], yard.folder / "rotation"
    best: set[int | None] = set()
    for step in range(2, 8):
        yard.attempt(case, out, step=step, signal=signal.SIGKILL)
        kept = {int(it.name.removeprefix("checkpoint-")) for it in out.glob("work/checkpoint-*")}
        state = read_json(out / "work" / f"checkpoint-{step - 1}" / "trainer_state.json")
        best.add(state["best_global_step"])
        assert kept == {step - 1} | ({state["best_global_step"]} - {None})
    assert len(best) > 2, "the best step never moved"
    assert yard.attempt(case, out) == 0, said(out)
    assert_same(out, yard.whole("sft-dropout-best"))


def test_what_is_finished_is_published_and_not_trained_again(yard: Yard) -> None:
    """Killed before, during and after publishing; Snakemake removes declared outputs."""
    case, out = CASES["dpo-dropout"], yard.folder / "finished"
    for put in (1, 4, None):
        code = yard.attempt(case, out, **({"put": put} if put else {}))
        assert code == (-signal.SIGKILL if put else 0), said(out)
        # Only the first attempt trains.
        assert (said(out) == "") == (put != 1)
        for path in [it for it in out.rglob("*") if it.is_file() and "work" not in it.parts]:
            path.unlink()
    assert yard.attempt(case, out) == 0
    assert said(out) == ""
    assert_same(out, yard.whole("dpo-dropout"))
    # Once it is scored, its work folder is no longer needed.
    forget_work(out)
    assert not (out / "work").exists()


def test_a_killed_trial_says_where_it_will_resume(yard: Yard) -> None:
    case, out = CASES["sft"], yard.folder / "says"
    yard.attempt(case, out, step=5, signal=signal.SIGKILL)
    found = read_json(out / "work" / "progress.json")
    pid, host = found["pid"], found["host"]
    state = state_of(out, trial_in(out), found["updated"])
    assert state.word == STALE
    step = f"step {found['step']} of 7; resumes from step 4"
    assert state.reason == f"process {pid} on {host} was killed at {step}"
