"""Processes identified by machine, number and start time, and how much memory this one may take.

The number is not enough: it is used again once the process has ended, and each container has its
own numbers. psutil would not do: its start times change when the clock is set, and the env of
reports does not have it.
"""

import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
GONE = ("Z", "X")
"""States of processes that have ended and that their parents have not waited for."""


@dataclass(frozen=True)
class Process:
    """A process of some machine."""

    host: str
    machine: str
    """On Linux, the machine's boot and the container's namespace of process numbers."""
    pid: int
    started: str
    """When it started, as the system reports it."""

    def is_here(self) -> bool:
        """Return True if it is a process of this machine, so that its number means something."""
        return (self.host, self.machine) == (socket.gethostname(), _machine())

    def is_alive(self) -> bool:
        """Return True if the process, which must be of this machine, still runs."""
        seen = _look(self.pid)
        return seen is not None and seen.started == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


@dataclass(frozen=True)
class _Seen:
    parent: int
    started: str
    command: list[str]


def this_process() -> Process:
    """Return the current process."""
    seen = _look(os.getpid())
    assert seen is not None
    return _process(os.getpid(), seen)


def ancestors() -> list[Process]:
    """Return the ancestors of this process, from its parent up to the outermost Snakemake.

    Without a Snakemake among them, only the parent; never process 1.
    """
    found = list(_ancestors())
    snakemakes = [place for place, (_, seen) in enumerate(found) if _is_snakemake(seen.command)]
    kept = found[: snakemakes[-1] + 1] if snakemakes else found[:1]
    return [process for process, _ in kept]


def is_run_by_snakemake() -> bool:
    """Return True if a Snakemake is among the ancestors of this process."""
    return any(_is_snakemake(seen.command) for _, seen in _ancestors())


def _ancestors() -> Iterator[tuple[Process, _Seen]]:
    seen = _look(os.getpid())
    while seen and seen.parent > 1:
        pid = seen.parent
        seen = _look(pid)
        if seen:
            yield _process(pid, seen), seen


def _process(pid: int, seen: _Seen) -> Process:
    return Process(socket.gethostname(), _machine(), pid, seen.started)


def _is_snakemake(command: list[str]) -> bool:
    """Return True if a command runs Snakemake, as a script or with python -m."""
    return any(Path(word).name == "snakemake" for word in command[:5])


def _machine() -> str:
    """Return what processes have in common whose numbers can be compared."""
    if not PROC.is_dir():
        return ""
    boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"


def _look(pid: int) -> _Seen | None:
    """Return what the system says about a process, or None if it has ended."""
    return _look_linux(pid) if PROC.is_dir() else _look_elsewhere(pid)


def _look_linux(pid: int) -> _Seen | None:
    try:
        # The program's name is in parentheses, and may itself hold spaces and parentheses.
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        command = (PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, parent, *more = fields.rpartition(")")[2].split()
    words = [word.decode(errors="replace") for word in command.split(b"\0")]
    return None if state in GONE else _Seen(int(parent), more[17], words)


def _look_elsewhere(pid: int) -> _Seen | None:
    asked = ["ps", "-ww", "-o", "ppid=,stat=,lstart=,command=", "-p", str(pid)]
    words = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    if not words or words[1].startswith(GONE):
        return None
    return _Seen(int(words[0]), " ".join(words[2:7]), words[7:])


@contextmanager
def limited_memory(more: int) -> Iterator[None]:
    """Raise MemoryError in the block once this process takes so many bytes more than now.

    On Linux only: macOS neither says nor limits it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        if PROC.is_dir():
            pages = int((PROC / "self/statm").read_text(encoding="ascii").split()[0])
            most = pages * resource.getpagesize() + more
            if soft == resource.RLIM_INFINITY or soft > most:
                resource.setrlimit(resource.RLIMIT_AS, (most, hard))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
