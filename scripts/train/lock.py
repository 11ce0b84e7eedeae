"""A trial's lock: one trainer at a time in a work folder, with a heartbeat while it runs.

A process that finds the lock held looks at the holder. If that was a process of this machine and
is gone, the lock is free. If it is alive but the run that started it is gone, it is an orphan: it
is stopped, and its work resumed here. Of a process on another machine only the heartbeat can be
seen: while it changes, the lock is refused. Clocks are never compared, neither those of two
machines nor of a machine and a file system.
"""

import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.common.processes import Process, ancestors, is_run_by_snakemake, this_process
from scripts.common.states import read_if_there

BEAT = 5.0
"""Seconds between two heartbeats."""
PATIENCE = 60
"""After so many looks at an unchanged heartbeat, a process on another machine counts as gone."""
PAUSE = 1.0
"""Seconds between two such looks."""
GRACE = 120.0
"""Seconds for an orphan to finish its step and to write its checkpoint."""
FILES = ("lock.json", "guard", "heartbeat")
LOOK = 0.05
"""Seconds between two looks at a process that was asked to end."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock."""

    process: Process
    ancestors: list[Process]
    """The processes that started it: the outermost Snakemake last, or only the parent."""
    by_snakemake: bool

    @property
    def launcher(self) -> Process | None:
        """The run that the holder belongs to; None if that is the machine's first process."""
        return self.ancestors[-1] if self.ancestors else None


def this_holder() -> Holder:
    """Return this process as a holder."""
    return Holder(this_process(), ancestors(), is_run_by_snakemake())


def holder_of(work: Path) -> Holder | None:
    """Return the holder of a work folder's lock, or None if it is free.

    An incomplete lock is free: a power failure left it.
    """
    found = read_if_there(work / "lock.json")
    if not found:
        return None
    return Holder(
        Process(**found["process"]),
        [Process(**it) for it in found["ancestors"]],
        found["by_snakemake"],
    )


@contextmanager
def locked(work: Path, lost: Callable[[], None] | None = None) -> Iterator[None]:
    """Make a work folder, and hold its lock through the block.

    Parameters
    ----------
    lost
        Called from another thread when the lock is no longer this process's: it did not run for so
        long that another process took it for dead. By default this process ends at once.

    Raises
    ------
    BadInput
        When another process is training there.
    """
    me = this_holder()
    with _guarded(work):
        _make_way(work, me)
        write_json(work / "lock.json", asdict(me))
        heart = os.open(work / "heartbeat", os.O_RDWR | os.O_CREAT, 0o666)
        _beat(heart, 0)
    ended = threading.Event()
    arguments = (work, me, heart, ended, lost or _end)
    thread = threading.Thread(target=_keep_beating, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        os.close(heart)
        if work.is_dir():
            _give_up(work, me)


def _give_up(work: Path, me: Holder) -> None:
    """Remove the lock, unless another process looks at it and may wait for this one to end."""
    with suppress(BlockingIOError), _guarded(work, wait=False):
        if holder_of(work) == me:
            for name in FILES:
                (work / name).unlink(missing_ok=True)


@contextmanager
def _guarded(work: Path, wait: bool = True) -> Iterator[None]:
    """Let one process at a time look at a lock and take it; the kernel releases it at exit.

    Raises BlockingIOError if another process has it and `wait` is false.
    """
    while True:
        work.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            descriptor = os.open(work / "guard", os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise
            except OSError:
                # This file system has no such locks: two may look at the same moment.
                pass
            # It may have been removed with its folder while this process waited.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(work / "guard")):
                    break
            os.close(descriptor)
    try:
        yield
    finally:
        os.close(descriptor)


def _make_way(work: Path, me: Holder) -> None:
    """Return once no other process is training; raise BadInput if one is and may."""
    holder = holder_of(work)
    if holder is None:
        return
    if not holder.process.is_here():
        _watch(work, holder)
    elif holder.process.is_alive():
        _stop_orphan(work, holder, me)


def _watch(work: Path, holder: Holder) -> None:
    """Return if the heartbeat does not change for long enough, or the lock is given up."""
    print(
        f"{work}: {holder.process} was training; watching for {PATIENCE * PAUSE:.0f} s whether it "
        "still is",
        file=sys.stderr,
        flush=True,
    )
    seen = _heartbeat(work)
    # Looks are counted, not seconds: this process may be suspended itself.
    for _ in range(PATIENCE):
        time.sleep(PAUSE)
        if holder_of(work) != holder:
            return
        if _heartbeat(work) != seen:
            raise BadInput(_refusal(work, holder))
    print(f"{holder.process} is gone; its work is resumed here", file=sys.stderr, flush=True)


def _stop_orphan(work: Path, holder: Holder, me: Holder) -> None:
    """Stop a living holder on this machine whose run is gone, with the processes it ran under.

    A Snakemake never has two jobs for one trial: a holder under this process's own Snakemake
    belongs to a job that Snakemake has given up.
    """
    launcher = holder.launcher
    same_run = holder.by_snakemake and launcher == me.launcher
    if holder.process == me.process or launcher is None:
        raise BadInput(_refusal(work, holder))
    if launcher.is_alive() and not same_run:
        raise BadInput(_refusal(work, holder))
    print(
        f"{work}: {holder.process} is left over from a run that is gone; it is stopped, and its "
        "work resumed here",
        file=sys.stderr,
        flush=True,
    )
    _stop(holder.process, GRACE)
    # Its shell and Snakemake's helper clean up after it: wait, before new files are written.
    for process in holder.ancestors[:-1]:
        if process not in me.ancestors:
            _stop(process, GRACE / 10, ask_at_once=False)


def _stop(process: Process, grace: float, ask_at_once: bool = True) -> None:
    """Ask a process of this machine to end, then kill it; return once it is gone."""
    try:
        if ask_at_once and process.is_alive():
            os.kill(process.pid, signal.SIGTERM)
            # A suspended process receives signals only when it continues.
            os.kill(process.pid, signal.SIGCONT)
        if not _gone(process, grace):
            os.kill(process.pid, signal.SIGKILL)
            _gone(process, grace)
    except ProcessLookupError:
        return
    except PermissionError:
        raise BadInput(
            f"{process} is left over from another user's run; only that user can stop it"
        ) from None


def _gone(process: Process, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while process.is_alive():
        if time.monotonic() > end:
            return False
        time.sleep(LOOK)
    return True


def _refusal(work: Path, holder: Holder) -> str:
    under = f", under process {holder.launcher.pid}" if holder.launcher else ""
    return (
        f"{work}: {holder.process} is training this trial{under}; wait for it, or stop it with "
        f"kill {holder.process.pid} there: what it has done is kept"
    )


def _heartbeat(work: Path) -> bytes:
    # Opened again each time, so that a network file system asks its server.
    try:
        return (work / "heartbeat").read_bytes()
    except FileNotFoundError:
        return b""


def _beat(heart: int, count: int) -> None:
    # In place and always of the same length: that works on a full disk.
    with suppress(OSError):
        os.pwrite(heart, f"{os.getpid():>10} {count:>20}\n".encode(), 0)


def _keep_beating(
    work: Path, me: Holder, heart: int, ended: threading.Event, lost: Callable[[], None]
) -> None:
    count = 0
    while not ended.wait(BEAT):
        count += 1
        try:
            holder = holder_of(work)
        except OSError:
            continue
        # None if the folder was removed by hand.
        if holder not in (me, None):
            lost()
            return
        _beat(heart, count)


def _end() -> None:
    print("another process has taken this one's lock; it ends here", file=sys.stderr, flush=True)
    os._exit(1)
