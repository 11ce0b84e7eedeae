"""A trial's work folder, which no rule declares.

    lock.json, guard, heartbeat   which process is training
    fingerprint.json              trial, inputs, code and packages of the files below
    progress.json, failed.json    how far the trial is; why the last attempt failed
    checkpoint-{step}/            where a trainer resumes
    finished/                     adapter and records of a training that reached its end
    scratch/                      what a backend compiles

Checkpoints and results with another fingerprint are removed. The declared outputs are hard links
to the finished files, made one by one. The finished files stay in the work folder until the trial
is scored: if the process is killed before Snakemake notices that it is done, and the job is started
again, nothing is trained twice.
"""

import platform
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import Row, sha256, write_json
from scripts.common.folders import CONTENTS, discard, is_full, is_whole, put
from scripts.common.states import checkpoints, progress, read_if_there
from scripts.lm.backends import BACKENDS
from scripts.provenance.digests import code_digest
from scripts.train.lock import FILES, locked
from scripts.train.processes import all_of, is_first, meet
from scripts.train.stopping import Stop, Stopped, stoppable

MINUTES = 5.0
"""Between two checkpoints, by default."""


@dataclass(frozen=True)
class Work:
    """A trial's work folder, locked; what is in it has this trial's fingerprint."""

    folder: Path
    out: Path
    minutes: float
    """Between two checkpoints."""
    stop: Stop

    @property
    def finished(self) -> Path:
        """The folder of the finished files."""
        return self.folder / "finished"

    @property
    def scratch(self) -> Path:
        """The folder for this process only."""
        return self.folder / "scratch"

    def is_finished(self) -> bool:
        """Return True if an earlier process finished training."""
        return all_of(is_whole(self.finished))[0]

    def publish(self) -> None:
        """Link the finished files into the trial's folder, each whole from the first moment."""
        if not is_first():
            return
        for path in sorted(self.finished.rglob("*")):
            name = path.relative_to(self.finished)
            if path.is_file() and name.as_posix() != CONTENTS:
                put(path, self.out / name)


@contextmanager
def at_work(out: Path, fingerprint: Row, minutes: float = MINUTES) -> Iterator[Work]:
    """Yield the trial's work folder, locked; if the block succeeds, only finished files stay.

    `progress.json` is written at once. If the block fails, `failed.json` has the reason, and
    checkpoints stay: the next attempt resumes from the last one, so the same failure comes soon.

    Raises
    ------
    BadInput
        When another process is training there, or the disk is full.
    Stopped
        When a signal asked for it.
    """
    work = out / "work"
    if not is_first():
        # The first of several processes locks the folder, and clears it before the others begin.
        with stoppable() as stop:
            meet()
            with _reported(work, stop):
                yield Work(work, out, minutes, stop)
        return
    try:
        with stoppable() as stop, locked(work):
            _begin(work, fingerprint)
            meet()
            with _reported(work, stop):
                yield Work(work, out, minutes, stop)
            _clear(work, "finished", "fingerprint.json")
    except Exception as error:
        if not is_full(error):
            raise
        raise BadInput(
            f"{getattr(error, 'filename', None) or work}: the disk is full ({error}); the last "
            "whole checkpoint is kept, and the next run resumes from it"
        ) from error


def _begin(work: Path, fingerprint: Row) -> None:
    """Remove stale, broken and old files, and write the progress of a new attempt."""
    whole = [f"checkpoint-{step}" for step in checkpoints(work)]
    _clear(work, "finished", "fingerprint.json", "progress.json", *whole)
    _forget_others(work, fingerprint)
    before = read_if_there(work / "progress.json")
    steps = checkpoints(work)
    now = time.time()
    first = max(steps, default=0)
    begun = progress(first, before.get("steps") if steps else None, now, now, first=first)
    write_json(work / "progress.json", begun)


def _clear(work: Path, *kept: str) -> None:
    """Remove all files but the named ones and the lock: killed processes leave partial ones."""
    for path in work.iterdir():
        if path.is_dir() and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in (*kept, *FILES):
            path.unlink(missing_ok=True)


def _forget_others(work: Path, fingerprint: Row) -> None:
    """Remove checkpoints and finished files with another fingerprint, or with none."""
    before = read_if_there(work / "fingerprint.json")
    if before == fingerprint:
        return
    left = [work / f"checkpoint-{step}" for step in checkpoints(work)]
    left += [it for it in (work / "finished",) if it.is_dir()]
    if left:
        what = ", ".join(differences(before, fingerprint)) if before else "fingerprint"
        print(
            f"{work}: its files are of another {what}; training starts from the beginning",
            file=sys.stderr,
            flush=True,
        )
    for folder in left:
        discard(folder)
    write_json(work / "fingerprint.json", fingerprint)


@contextmanager
def _reported(work: Path, stop: Stop) -> Iterator[None]:
    """Write why the block was stopped or failed into the work folder."""
    try:
        yield
    except Stopped:
        with suppress(OSError):
            last = read_if_there(work / "progress.json")
            signal = stop.requested and stop.requested.name
            write_json(work / "progress.json", last | {"stopped": signal})
        raise
    except Exception as error:
        # A full disk may have no space for it.
        with suppress(OSError):
            reason = f"{type(error).__name__}: {error}"
            failed = {"reason": reason, "traceback": traceback.format_exc()}
            write_json(work / "failed.json", failed)
        raise


def fingerprint_of(trial: Row, module: str, **inputs: Path | None) -> Row:
    """Return all that a checkpoint depends on: trial, inputs, code and packages.

    Parameters
    ----------
    module
        The path of the method's module below the project's root.
    inputs
        By role the files or folders that training reads; a manifest stands for its model, since it
        has the digests of its files.
    """
    return {
        "trial": trial,
        "inputs": {role: _digest(path) for role, path in inputs.items() if path},
        "code": code_digest(module),
        "env": {"python": platform.python_version(), **_versions(trial["backend"])},
    }


def _versions(backend: str) -> dict[str, str]:
    """Return the installed versions of a backend's packages; missing ones fail when it starts."""
    found = {}
    for package in BACKENDS[backend].packages if backend in BACKENDS else ():
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _digest(path: Path) -> str | dict[str, str]:
    if path.is_dir():
        return {it.name: sha256(it) for it in sorted(path.iterdir()) if it.is_file()}
    return sha256(path)


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """Return the dotted names of the values that differ between two nested dictionaries."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [name]
    return [
        found
        for key in dict.fromkeys([*one, *other])
        for found in differences(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))
    ]
