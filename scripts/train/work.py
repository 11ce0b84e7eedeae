"""A trial's work folder, which no rule declares: what is there already, and what becomes of it.

    lock.json, guard, heartbeat   who is at work
    fingerprint.json              what the rest is of
    progress.json, failed.json    how far the trial is; why the last try failed
    checkpoint-{step}/            from where a trainer goes on
    finished/                     what training ended with
    scratch/                      what a backend compiles for itself

A checkpoint or a result of another fingerprint is refused, and goes. The finished files are given
second names, those that are declared, one by one. They stay in the work folder themselves until the
trial is scored: whenever a process is killed before the workflow has taken notice, and whatever
Snakemake removes before it starts the next, nothing has to be done twice.
"""

import argparse
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
"""Between two checkpoints, if nothing else is said."""


@dataclass(frozen=True)
class Work:
    """A trial's work folder, locked, with what is there of the same fingerprint."""

    folder: Path
    out: Path
    minutes: float
    """Between two checkpoints."""
    stop: Stop

    @property
    def finished(self) -> Path:
        """The folder of what training ended with."""
        return self.folder / "finished"

    @property
    def scratch(self) -> Path:
        """The folder of what this process alone needs."""
        return self.folder / "scratch"

    def is_finished(self) -> bool:
        """Tells whether an earlier process came to the end, and had only to publish."""
        return all_of(is_whole(self.finished))[0]

    def publish(self) -> None:
        """Puts the finished files into the trial's folder, each whole."""
        if not is_first():
            return
        for path in sorted(self.finished.rglob("*")):
            name = path.relative_to(self.finished)
            if path.is_file() and name.as_posix() != CONTENTS:
                put(path, self.out / name)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a trainer's command line that are no part of its trial."""
    parser.add_argument("--out", type=Path, required=True, help="the trial's folder")
    parser.add_argument(
        "--checkpoint-minutes",
        type=float,
        default=MINUTES,
        help=f"minutes between two checkpoints; 0 writes one after each step (default {MINUTES})",
    )


@contextmanager
def at_work(out: Path, fingerprint: Row, minutes: float = MINUTES) -> Iterator[Work]:
    """Yields the trial's work folder, locked; when the block succeeds, only what is finished stays.

    `progress.json` in it says that the trial began. When the block fails, `failed.json` says why,
    and checkpoints stay: what failed is tried again from the last one, so that what will fail again
    does so at once.

    Raises
    ------
    BadInput
        When another process is at work there, or the disk is full.
    Stopped
        When a signal asks for it.
    """
    work = out / "work"
    if not is_first():
        # The first of several processes holds the folder, and clears it before all begin.
        with stoppable() as stop:
            meet()
            with _told(work, stop):
                yield Work(work, out, minutes, stop)
        return
    try:
        with stoppable() as stop, locked(work):
            _begin(work, fingerprint)
            meet()
            with _told(work, stop):
                yield Work(work, out, minutes, stop)
            _clear(work, "finished", "fingerprint.json")
    except Exception as error:
        if not is_full(error):
            raise
        raise BadInput(
            f"{getattr(error, 'filename', None) or work}: the disk is full ({error}); the last "
            "whole checkpoint is kept, and the next run goes on from it"
        ) from error


def _begin(work: Path, fingerprint: Row) -> None:
    """Clears away what is stale, broken or over, and says that an attempt begins."""
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
    """Removes all but what is named, and the lock; killed processes leave much half written."""
    for path in work.iterdir():
        if path.is_dir() and path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in (*kept, *FILES):
            path.unlink(missing_ok=True)


def _forget_others(work: Path, fingerprint: Row) -> None:
    """Removes what another fingerprint left; a folder without one is anybody's."""
    before = read_if_there(work / "fingerprint.json")
    if before == fingerprint:
        return
    left = [work / f"checkpoint-{step}" for step in checkpoints(work)]
    left += [it for it in (work / "finished",) if it.is_dir()]
    if left:
        what = ", ".join(differences(before, fingerprint)) if before else "fingerprint"
        print(
            f"{work}: what is there is of another {what}; training starts from the beginning",
            file=sys.stderr,
            flush=True,
        )
    for folder in left:
        discard(folder)
    write_json(work / "fingerprint.json", fingerprint)


@contextmanager
def _told(work: Path, stop: Stop) -> Iterator[None]:
    """Leaves in the work folder why the block did not come to its end."""
    try:
        yield
    except Stopped:
        with suppress(OSError):
            last = read_if_there(work / "progress.json")
            write_json(work / "progress.json", last | {"stopped": stop.requested.name})
        raise
    except Exception as error:
        # A full disk may have no room for it.
        with suppress(OSError):
            reason = f"{type(error).__name__}: {error}"
            failed = {"reason": reason, "traceback": traceback.format_exc()}
            write_json(work / "failed.json", failed)
        raise


def fingerprint_of(trial: Row, module: str, **inputs: Path | None) -> Row:
    """Returns what a checkpoint is only good for: trial, inputs, code and packages.

    Parameters
    ----------
    module
        The path of the training's module below the project's root.
    inputs
        By role the files that training reads, or folders of such; a manifest stands for its model,
        whose digests it holds.
    """
    return {
        "trial": trial,
        "inputs": {role: _digest(path) for role, path in inputs.items() if path},
        "code": code_digest(module),
        "env": {"python": platform.python_version(), **_versions(trial["backend"])},
    }


def _versions(backend: str) -> dict[str, str]:
    """Returns what is installed of a backend; one that lacks something says so when it starts."""
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
    """Returns the dotted names of what differs in two nested dictionaries."""
    if not (isinstance(one, dict) and isinstance(other, dict)):
        return [] if one == other else [name]
    return [
        found
        for key in dict.fromkeys([*one, *other])
        for found in differences(one.get(key), other.get(key), f"{name}.{key}".lstrip("."))
    ]
