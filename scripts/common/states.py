"""What has become of each trial, told from the files that it leaves.

A trial at work keeps `progress.json` in its work folder, and one that fails leaves `failed.json`
there; a finished one has neither, and `trial.json` and `train.json` beside the adapter. One that
was killed or stopped leaves its checkpoints, from which the next run goes on.
"""

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.files import Row, read_json
from scripts.common.folders import discard
from scripts.common.processes import Process

if TYPE_CHECKING:
    from scripts.config.plan import Plan

Part = dict[str, Any]

DONE, RUNNING, STALE, FAILED = "done", "running", "stale", "failed"
NOT_RUN, NOT_SCORED = "not run", "not scored"

PATIENCE = 120.0
"""Seconds without news after which a running trial is called stale."""
SCORED = ("completions.parquet", "pairs.parquet", "generations.parquet", "score.json")
"""What scoring leaves, from which every figure can be made."""


@dataclass(frozen=True)
class State:
    """What has become of a trial."""

    word: str
    reason: str | None = None
    """Why it failed, or is called stale, in one line."""
    start: str | None = None
    """The folder of the trial that it starts from, where that one failed."""
    progress: Row = field(default_factory=dict)
    """What `progress.json` says; empty where there is none."""


IS_DONE = State(DONE)


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
) -> Row:
    """Returns what `progress.json` holds.

    Parameters
    ----------
    step, steps
        Optimizer steps that are done, and all of them where that is known.
    started, updated
        Seconds since 1970: when the first step began, and now.
    accuracy
        The share of the last logged pairs whose chosen completion has the larger reward.
    first, earlier
        The step of the checkpoint that it went on from, and the seconds that were spent by then.
    """
    return {
        "first": first,
        "earlier": earlier,
        "step": step,
        "steps": steps,
        "loss": loss,
        "accuracy": accuracy,
        "started": round(started, 3),
        "updated": round(updated, 3),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def state_of(folder: Path, training: Part, now: float) -> State:
    """Returns what has become of a trial.

    Parameters
    ----------
    folder
        The trial's folder.
    training
        The trial as the plan would have it trained; files of another one count for nothing.
    now
        Seconds since 1970.
    """
    found = read_if_there(folder / "work" / "progress.json")
    failed = read_if_there(folder / "work" / "failed.json")
    if failed:
        return State(FAILED, one_line(failed["reason"]), progress=found)
    if found:
        reason = _interruption(folder / "work", found, now)
        return State(STALE if reason else RUNNING, reason, progress=found)
    trained = (folder / "train.json").is_file() and read_if_there(folder / "trial.json") == training
    return State(DONE if trained else NOT_RUN)


def _interruption(work: Path, found: Row, now: float) -> str | None:
    """Returns why a trial that began is not at work, or None where it seems to be."""
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
    return f"{what} at step {found['step']} of {found['steps']}; goes on from step {max(steps)}"


def _is_killed(work: Path) -> bool:
    """Tells whether the process that has the lock was one of this machine and is gone."""
    lock = read_if_there(work / "lock.json")
    if not lock:
        return False
    process = Process(**lock["process"])
    return process.is_here() and not process.is_alive()


def forget_work(folder: Path) -> None:
    """Removes a trial's work folder, unless somebody is at work there.

    For whoever comes after training: only then is it sure that the workflow took notice of what was
    published, and will not ask for it again.
    """
    work = folder / "work"
    if not (work / "lock.json").exists():
        discard(work)


def checkpoints(work: Path) -> list[int]:
    """Returns the steps of the checkpoints in a work folder."""
    return [int(it.name.removeprefix("checkpoint-")) for it in work.glob("checkpoint-*")]


def states_of(results: Path, trials: dict[str, Part], now: float) -> dict[str, State]:
    """Returns by folder what has become of each trial of a plan; one whose start failed failed."""
    own = {
        folder: state_of(results / folder, trial["training"], now)
        for folder, trial in trials.items()
    }
    return {
        folder: _after(state, trials[folder]["training"].get("start"), own)
        for folder, state in own.items()
    }


def _after(state: State, start: str | None, own: dict[str, State]) -> State:
    """Returns a trial's state, given those of all that it could start from."""
    if state.word == FAILED or start not in own or own[start].word != FAILED:
        return state
    return State(FAILED, start_failed(start), start=start)


def start_failed(start: str) -> str:
    """Returns why a trial failed that starts from one that did."""
    _, name, seed = start.split("/")
    return f"its start {name}, {seed.replace('-', ' ', 1)}, failed"


def unfinished(results: Path, plan: "Plan", now: float) -> dict[str, State]:
    """Returns by folder the state of each trial, base and lookup whose figures cannot be made."""
    adapters = {it: results / it / "adapter" / "adapter_model.safetensors" for it in plan.trials}
    states = states_of(results, plan.trials, now) | {folder: State(DONE) for folder in plan.bases}
    states |= {
        folder: State(NOT_SCORED)
        for folder, state in states.items()
        if state.word == DONE and not is_scored(results / folder, adapters.get(folder))
    }
    for name, lookup in plan.lookups.items():
        data = results / "data" / lookup["dataset"]
        rows = [data / f"{lookup[split]}.parquet" for split in ("train", "test")]
        states[f"baselines/{name}"] = State(DONE if all(map(Path.is_file, rows)) else NOT_RUN)
    return {folder: state for folder, state in states.items() if state.word != DONE}


def is_scored(folder: Path, adapter: Path | None) -> bool:
    """Tells whether scoring left all its files, after the adapter that it scored."""
    if not all((folder / name).is_file() for name in SCORED):
        return False
    made = [(folder / name).stat().st_mtime for name in SCORED]
    return adapter is None or min(made) >= adapter.stat().st_mtime


def one_line(text: str) -> str:
    """Returns the first line of a text that has anything in it."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def read_if_there(path: Path) -> Any:
    """Returns what a JSON file holds; nothing where it is absent, as it may be any moment.

    One that is torn counts as absent: when the power fails, what was written last may be empty.
    """
    try:
        return read_json(path)
    except (FileNotFoundError, ValueError):
        return {}
