"""Processes told apart beyond their number: by machine, and by when they started.

A number is given again once its process is gone, and each container counts its own.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
GONE = ("Z", "X")
"""States of processes that have ended, and that nobody has asked about yet."""


@dataclass(frozen=True)
class Process:
    """One process of one machine."""

    host: str
    machine: str
    """The machine's boot and, on Linux, the container's numbering of processes."""
    pid: int
    started: str
    """When it started, in the words of the machine."""

    def is_here(self) -> bool:
        """Tells whether it is a process of this machine, so that its number means something."""
        return (self.host, self.machine) == (socket.gethostname(), _machine())

    def is_alive(self) -> bool:
        """Tells whether a process of this machine still runs."""
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
    """Returns the process that asks."""
    return _process(os.getpid(), _look(os.getpid()))


def ancestors() -> list[Process]:
    """Returns the parent of this process, the parent's parent and so on, but for the first of all.

    The list ends with the outermost Snakemake, where there is one.
    """
    found = list(_ancestors())
    snakemakes = [place for place, (_, seen) in enumerate(found) if _is_snakemake(seen.command)]
    kept = found[: snakemakes[-1] + 1] if snakemakes else found[:1]
    return [process for process, _ in kept]


def is_run_by_snakemake() -> bool:
    """Tells whether a Snakemake is among the ancestors of this process."""
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
    """Tells whether a command is Snakemake's, by its script or with python -m."""
    return any(Path(word).name == "snakemake" for word in command[:5])


def _machine() -> str:
    """Returns what two processes have in common whose numbers can be compared."""
    if not PROC.is_dir():
        return ""
    boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink(PROC / 'self/ns/pid')}"


def _look(pid: int) -> _Seen | None:
    """Returns what the machine says of a process that has not ended, or None."""
    return _look_linux(pid) if PROC.is_dir() else _look_elsewhere(pid)


def _look_linux(pid: int) -> _Seen | None:
    try:
        # A program's name stands in parentheses, and may hold spaces and parentheses itself.
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
