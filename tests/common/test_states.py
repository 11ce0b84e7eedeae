"""What has become of a trial, from files written by hand and under a clock that stands still."""

import os
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import write_json
from scripts.common.processes import Process, this_process
from scripts.common.states import (
    DONE,
    FAILED,
    NOT_RUN,
    NOT_SCORED,
    PATIENCE,
    RUNNING,
    SCORED,
    STALE,
    State,
    one_line,
    progress,
    state_of,
    states_of,
)
from scripts.config.plan import Plan, unfinished
from scripts.config.plan.evaluation import Lookup
from scripts.config.plan.report import is_scored
from tests.config.parts import base_of, run_of

NOW = 1_700_000_000.0
TRAINING = {"name": "a", "seed": 0, "trainer": {"learning_rate": 1e-3}}


def at_work(folder: Path, updated: float) -> dict[str, Any]:
    found = progress(3, 10, NOW - 600, updated, loss=0.5)
    write_json(folder / "work" / "progress.json", found)
    return found


def finished(folder: Path, training: dict[str, Any] = TRAINING) -> None:
    write_json(folder / "trial.json", training)
    write_json(folder / "train.json", {"seconds": 1.0})


def test_progress_says_who_trains_and_how_far_it_is() -> None:
    assert progress(3, 10, 1.00049, 2.5, 0.7, 0.9, first=2, earlier=9.5) == {
        "first": 2, "earlier": 9.5, "step": 3, "steps": 10, "loss": 0.7, "accuracy": 0.9,
        "signs": [],
        "started": 1.0, "updated": 2.5, "host": socket.gethostname(), "pid": os.getpid(),
    }  # fmt: skip


def test_nothing_there_is_not_run(tmp_path: Path) -> None:
    assert state_of(tmp_path, TRAINING, NOW) == State(NOT_RUN)


def test_a_finished_trial_is_done(tmp_path: Path) -> None:
    finished(tmp_path)
    assert state_of(tmp_path, TRAINING, NOW) == State(DONE)


def test_a_trial_finished_under_other_settings_is_not_run(tmp_path: Path) -> None:
    finished(tmp_path, TRAINING | {"trainer": {"learning_rate": 2e-3}})
    assert state_of(tmp_path, TRAINING, NOW) == State(NOT_RUN)


@pytest.mark.parametrize("left", ["failed.json", "progress.json"])
def test_what_a_trial_with_other_settings_left_says_nothing_of_a_finished_one(
    tmp_path: Path, left: str
) -> None:
    finished(tmp_path)
    at_work(tmp_path, NOW)
    write_json(tmp_path / "work" / left, progress(1, 2, NOW, NOW) | {"reason": "other"})
    other = TRAINING | {"trainer": {"learning_rate": 2e-3}}
    write_json(tmp_path / "work" / "fingerprint.json", {"trial": other})
    assert state_of(tmp_path, TRAINING, NOW) == State(DONE)
    assert state_of(tmp_path, other, NOW).word == (FAILED if left == "failed.json" else RUNNING)


def test_a_trial_whose_results_are_half_there_is_not_run(tmp_path: Path) -> None:
    finished(tmp_path)
    (tmp_path / "train.json").unlink()
    assert state_of(tmp_path, TRAINING, NOW) == State(NOT_RUN)


@pytest.mark.parametrize(
    ("age", "word"), [(0, RUNNING), (PATIENCE, RUNNING), (PATIENCE + 1, STALE)]
)
def test_a_trial_at_work_is_running_until_no_news_come(
    tmp_path: Path, age: float, word: str
) -> None:
    # The results of an earlier run do not hide it.
    finished(tmp_path)
    found = at_work(tmp_path, NOW - age)
    who = f"process {os.getpid()} on {socket.gethostname()}"
    reason = f"no news for 2 minutes from {who}" if word == STALE else None
    assert state_of(tmp_path, TRAINING, NOW) == State(word, reason, progress=found)


def locked_by(folder: Path, process: Process) -> None:
    write_json(folder / "work" / "lock.json", {"process": asdict(process)})


def test_a_trial_whose_process_was_killed_is_stale_at_once(tmp_path: Path) -> None:
    at_work(tmp_path, NOW)
    me = this_process()
    locked_by(tmp_path, me)
    assert state_of(tmp_path, TRAINING, NOW).word == RUNNING
    # The number of a process that is gone, given again to this one.
    locked_by(tmp_path, replace(me, started="0"))
    who = f"process {os.getpid()} on {socket.gethostname()}"
    assert state_of(tmp_path, TRAINING, NOW).reason == f"{who} was killed"
    for step in (1, 2):
        (tmp_path / "work" / f"checkpoint-{step}").mkdir()
    reason = f"{who} was killed at step 3 of 10; resumes from step 2"
    assert state_of(tmp_path, TRAINING, NOW).reason == reason
    # Of one on another machine nothing is known but its news.
    locked_by(tmp_path, replace(me, host="elsewhere", started="0"))
    assert state_of(tmp_path, TRAINING, NOW).word == RUNNING
    assert state_of(tmp_path, TRAINING, NOW + PATIENCE + 1).word == STALE


TORN = pytest.mark.parametrize("text", ["", '{"step": 3, "ste', "\0" * 40])
"""What the power's failure leaves of a file that was written last."""


@TORN
def test_torn_files_count_as_absent(tmp_path: Path, text: str) -> None:
    found = at_work(tmp_path, NOW)
    work = tmp_path / "work"
    for name in ("lock.json", "failed.json"):
        (work / name).write_text(text, encoding="utf-8")
    assert state_of(tmp_path, TRAINING, NOW) == State(RUNNING, progress=found)
    (work / "progress.json").write_text(text, encoding="utf-8")
    assert state_of(tmp_path, TRAINING, NOW) == State(NOT_RUN)
    finished(tmp_path)
    assert state_of(tmp_path, TRAINING, NOW) == State(DONE)
    (tmp_path / "trial.json").write_text(text, encoding="utf-8")
    assert state_of(tmp_path, TRAINING, NOW) == State(NOT_RUN)


def test_a_trial_that_was_stopped_is_stale_at_once(tmp_path: Path) -> None:
    found = at_work(tmp_path, NOW)
    write_json(tmp_path / "work" / "progress.json", found | {"stopped": "SIGTERM"})
    (tmp_path / "work" / "checkpoint-3").mkdir()
    reason = "stopped by SIGTERM at step 3 of 10; resumes from step 3"
    state = state_of(tmp_path, TRAINING, NOW)
    assert (state.word, state.reason) == (STALE, reason)


def test_a_failed_trial_says_why_in_a_line_and_how_far_it_came(tmp_path: Path) -> None:
    finished(tmp_path)
    found = at_work(tmp_path, NOW)
    failure = {"reason": "\nValueError: no\nmore of it", "traceback": "Traceback …"}
    write_json(tmp_path / "work" / "failed.json", failure)
    assert state_of(tmp_path, TRAINING, NOW) == State(FAILED, "ValueError: no", progress=found)


def test_a_trial_fails_with_its_start(tmp_path: Path) -> None:
    start = "trials/sft-a/seed--1"
    runs = [
        run_of(start),
        run_of("trials/dpo-a/seed--1", start),
        run_of("trials/dpo-b/seed--1"),
        run_of("trials/dpo-c/seed--1", "trials/elsewhere/seed--1"),
    ]
    trials = {run.folder: run.training.as_json() for run in runs}
    before = states_of(tmp_path, trials, NOW)
    assert {state.word for state in before.values()} == {NOT_RUN}
    write_json(tmp_path / start / "work" / "failed.json", {"reason": "x", "traceback": ""})
    found = states_of(tmp_path, trials, NOW)
    assert found == before | {
        start: State(FAILED, "x"),
        "trials/dpo-a/seed--1": State(FAILED, "its start sft-a, seed -1, failed", start),
    }


def test_a_trial_is_scored_once_all_files_are_newer_than_its_adapter(tmp_path: Path) -> None:
    adapter = tmp_path / "adapter.safetensors"
    adapter.touch()
    os.utime(adapter, (100, 100))
    for name in SCORED:
        assert not is_scored(tmp_path, adapter)
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (100, 100))
    assert is_scored(tmp_path, adapter)
    os.utime(tmp_path / SCORED[1], (99, 99))
    assert not is_scored(tmp_path, adapter)
    # A base has none.
    assert is_scored(tmp_path, None)


def test_what_tables_need_not_wait_for(tmp_path: Path) -> None:
    trials = {it: run_of(it) for it in (f"trials/{name}/seed-0" for name in "abcd")}
    bases = {name: base_of(name) for name in ("e", "f")}
    lookup = Lookup("pairs", "train", "test")
    plan = Plan(models={}, datasets={}, runs=trials, bases=bases, lookups={lookup.name: lookup})

    def scored(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in SCORED:
            (folder / name).touch()

    before = unfinished(tmp_path, plan, NOW)
    assert {folder: state.word for folder, state in before.items()} == {
        **dict.fromkeys(trials, NOT_RUN),
        **dict.fromkeys(("bases/e", "bases/f"), NOT_SCORED),
        "baselines/pairs.train.test": NOT_RUN,
    }
    for name in ("a", "b"):
        folder = f"trials/{name}/seed-0"
        finished(tmp_path / folder, trials[folder].training.as_json())
        weights = tmp_path / "trials" / name / "seed-0" / "adapter" / "adapter_model.safetensors"
        weights.parent.mkdir()
        weights.touch()
    at_work(tmp_path / "trials/c/seed-0", NOW)
    # Scored under an adapter that is gone, as the trial is trained again.
    scored(tmp_path / "trials/c/seed-0")
    scored(tmp_path / "trials/a/seed-0")
    scored(tmp_path / "bases/e")
    for split in ("train", "test"):
        path = tmp_path / "data" / "pairs" / f"{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = unfinished(tmp_path, plan, NOW)
    assert {folder: state.word for folder, state in found.items()} == {
        "trials/b/seed-0": NOT_SCORED,
        "trials/c/seed-0": RUNNING,
        "trials/d/seed-0": NOT_RUN,
        "bases/f": NOT_SCORED,
    }


def test_one_line() -> None:
    assert one_line("") == one_line("\n \n") == ""
    assert one_line("  \n a b \nc") == "a b"
