"""The state of each run, read from the files that it leaves.

A run in progress keeps `progress.json` in its work folder, and one that fails leaves `failed.json`
there; a finished one has neither, but `trial.json` and `train.json` beside the adapter. One that
was killed or stopped leaves its checkpoints, from which the next attempt resumes.
"""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.common.files import Row, read_json
from scripts.common.folders import discard
from scripts.common.processes import Process

Part = dict[str, Any]

DONE, RUNNING, STALE, FAILED = "done", "running", "stale", "failed"
NOT_RUN, NOT_SCORED = "not run", "not scored"

PATIENCE = 120.0
"""Seconds without news after which a run is called stale."""
SCORED = ("completions.parquet", "pairs.parquet", "generations.parquet", "score.json")
"""What scoring leaves, from which every metric can be measured."""


@dataclass(frozen=True)
class State:
    """The state of a run."""

    word: str
    reason: str | None = None
    """Why it failed, or is called stale, in one line."""
    start: str | None = None
    """The folder of the run that it starts from, where that one failed."""
    progress: Row = field(default_factory=dict)
    """The content of `progress.json`; empty where there is none."""


def progress(
    step: int,
    steps: int | None,
    started: float,
    updated: float,
    loss: float | None = None,
    accuracy: float | None = None,
    *,
    first: int = 0,
    earlier: float = 0.0,
    signs: list[Row] | None = None,
) -> Row:
    """Return the content of `progress.json`.

    Parameters
    ----------
    step, steps
        Optimizer steps that are done, and all of them where their number is known.
    started, updated
        Seconds since 1970: when the first step began, and now.
    accuracy
        The share of the last logged pairs whose chosen completion has the larger reward.
    first, earlier
        The step of the checkpoint that it resumed from, and the seconds spent before.
    signs
        The signs that hold of a training that goes wrong.
    """
    return {
        "first": first,
        "earlier": earlier,
        "step": step,
        "steps": steps,
        "loss": loss,
        "accuracy": accuracy,
        "signs": signs or [],
        "started": round(started, 3),
        "updated": round(updated, 3),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def state_of(folder: Path, training: Part, now: float) -> State:
    """Return the state of a run.

    Parameters
    ----------
    folder
        The run's folder.
    training
        The trial as the plan wants it trained; files of a trial with other settings are ignored.
    now
        Seconds since 1970.
    """
    work = folder / "work"
    of_it = read_if_there(work / "fingerprint.json").get("trial", training) == training
    found = read_if_there(work / "progress.json") if of_it else {}
    failed = read_if_there(work / "failed.json") if of_it else {}
    if failed:
        return State(FAILED, one_line(failed["reason"]), progress=found)
    if found:
        reason = _interruption(work, found, now)
        return State(STALE if reason else RUNNING, reason, progress=found)
    trained = (folder / "train.json").is_file() and read_if_there(folder / "trial.json") == training
    return State(DONE if trained else NOT_RUN)


def _interruption(work: Path, found: Row, now: float) -> str | None:
    """Return why a run that began has stopped, or None where it seems to be in progress."""
    who = f"process {found['pid']} on {found['host']}"
    silent = now - found["updated"]
    if signal := found.get("stopped"):
        what = f"stopped by {signal}"
    elif _is_killed(work):
        what = f"{who} was killed"
    elif silent > PATIENCE:
        what = f"no news for {silent / 60:.0f} minutes from {who}"
    else:
        return None
    steps = checkpoints(work)
    if not steps:
        return what
    return f"{what} at step {found['step']} of {found['steps']}; resumes from step {max(steps)}"


def _is_killed(work: Path) -> bool:
    """Return True if the process that holds the lock ran on this machine and is gone."""
    lock = read_if_there(work / "lock.json")
    if not lock:
        return False
    process = Process(**lock["process"])
    return process.is_here() and not process.is_alive()


def forget_work(folder: Path) -> None:
    """Remove a run's work folder, unless a process holds its lock.

    For jobs after training: only then is it certain that the workflow has recorded the adapter and
    will not ask for it again.
    """
    work = folder / "work"
    if not (work / "lock.json").exists():
        discard(work)


def checkpoints(work: Path) -> list[int]:
    """Return the steps of the checkpoints in a work folder."""
    return [int(it.name.removeprefix("checkpoint-")) for it in work.glob("checkpoint-*")]


def states_of(results: Path, runs: Mapping[str, Part], now: float) -> dict[str, State]:
    """Return by folder the state of each run; where its start failed, it failed.

    Parameters
    ----------
    runs
        By folder each run of a plan as it is trained.
    """
    own = {folder: state_of(results / folder, run, now) for folder, run in runs.items()}
    return {folder: _after(state, runs[folder].get("start"), own) for folder, state in own.items()}


def _after(state: State, start: str | None, own: dict[str, State]) -> State:
    """Return a run's state, given those of all that it could start from."""
    if state.word == FAILED or start not in own or own[start].word != FAILED:
        return state
    return State(FAILED, start_failed(start), start=start)


def start_failed(start: str) -> str:
    """Return why a run failed whose start failed."""
    _, name, seed = start.split("/")
    return f"its start {name}, {seed.replace('-', ' ', 1)}, failed"


def one_line(text: str) -> str:
    """Return the first line of a text that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def read_if_there(path: Path) -> Any:
    """Return the content of a JSON file; an empty object where it is absent, as it may be any time.

    A truncated file counts as absent: after a power failure, what was written last may be empty.
    """
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError):
        return {}
