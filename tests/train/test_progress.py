"""What a running trial reports about itself, in real training and with a fake clock."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scripts.common.files import read_json
from scripts.common.states import RUNNING, state_of
from scripts.train.estimate import probe
from scripts.train.progress import ProgressFile
from scripts.train.run import train
from scripts.train.work import at_work
from tests.train.conftest import resolved

Rows = list[dict[str, Any]]


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_training_ends_with_its_last_step(
    method: str, tiny_model: Path, demonstrations: Rows, pairs: Rows, tmp_path: Path
) -> None:
    trial = resolved(method, logging_steps=1)
    rows = demonstrations if method == "sft" else pairs
    trainer = probe.trainer_of(trial, tiny_model, rows, tmp_path)
    train(trainer, trial)
    found = read_json(tmp_path / "progress.json")
    last = [entry for entry in trainer.state.log_history if "loss" in entry][-1]
    assert (found["step"], found["steps"]) == (6, 6)
    assert found["loss"] == float(last["loss"])
    wanted = None if method == "sft" else float(last["rewards/accuracies"])
    assert found["accuracy"] == wanted
    assert method == "sft" or 0 <= wanted <= 1
    assert found["started"] <= found["updated"]


def test_a_trial_is_running_from_its_first_moment(tmp_path: Path) -> None:
    with at_work(tmp_path, {"trial": {}}) as work:
        found = read_json(work.folder / "progress.json")
        assert (found["step"], found["steps"], found["loss"]) == (0, None, None)
        assert state_of(tmp_path, {}, found["updated"]).word == RUNNING
    assert [path.name for path in work.folder.iterdir()] == ["fingerprint.json"]


def test_it_writes_at_each_log_and_else_once_a_second(tmp_path: Path) -> None:
    path, state = tmp_path / "progress.json", SimpleNamespace(global_step=0, max_steps=9)
    now = [100.0]
    callback = ProgressFile(path, clock=lambda: now[0])
    now[0] = 200.0
    callback.on_train_begin(None, state)
    assert read_json(path)["started"] == 200.0
    written = []
    for step, seconds in enumerate((200.5, 200.75, 201.0, 201.5, 202.0, 202.25), start=1):
        now[0] = seconds
        state.global_step = step
        callback.on_step_end(None, state)
        if step == 4:
            callback.on_log(None, state, None, {"loss": "0.25", "rewards/accuracies": 0.75})
        written.append(read_json(path)["step"])
    assert written == [0, 0, 3, 4, 4, 4]
    found = read_json(path)
    assert (found["loss"], found["accuracy"], found["updated"]) == (0.25, 0.75, 201.5)
    # An evaluation or a step of many batches may take long.
    for act in (callback.on_prediction_step, callback.on_substep_end):
        now[0] += 1.0
        act(None, state)
        assert read_json(path)["updated"] == now[0]
    callback.on_log(None, state, None, {"loss": float("nan")})
    assert read_json(path)["loss"] is None
