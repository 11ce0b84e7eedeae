"""One trainer at a time: who holds a lock, who is refused, and who counts as gone."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from scripts.common import processes
from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.common.processes import Process, ancestors, this_process
from scripts.train import lock
from scripts.train.lock import Holder, holder_of, locked, this_holder

ROOT = Path(__file__).resolve().parents[2]
CONTENDER = """
import sys
from pathlib import Path
from scripts.common.cli import BadInput
from scripts.train.lock import locked
print("ready", flush=True)
sys.stdin.readline()
try:
    with locked(Path(sys.argv[1])):
        print("won", flush=True)
        sys.stdin.readline()
except BadInput as error:
    print(error, flush=True)
"""


def contender(work: Path, *before: str) -> subprocess.Popen[str]:
    """Start a process that takes the lock when told to, and holds it until told to stop."""
    command = [*before, sys.executable, "-c", CONTENDER, str(work)]
    process = subprocess.Popen(
        command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == "ready\n"
    return process


def told(process: subprocess.Popen[str]) -> None:
    print(file=process.stdin, flush=True)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Yield a work folder and the process that holds its lock."""
    process = contender(tmp_path / "work")
    told(process)
    assert process.stdout.readline() == "won\n"
    yield tmp_path / "work", process
    process.stdin.close()
    process.wait()


def test_of_many_that_start_at_once_one_wins(tmp_path: Path) -> None:
    contenders = [contender(tmp_path / "work") for _ in range(6)]
    for process in contenders:
        told(process)
    said = [process.stdout.readline() for process in contenders]
    winner = contenders[said.index("won\n")]
    others = [line for line in said if line != "won\n"]
    assert len(others) == 5
    assert all(f"process {winner.pid} on " in line for line in others)
    for process in contenders:
        process.stdin.close()
        assert process.wait() == 0
    assert not (tmp_path / "work" / "lock.json").exists()


def test_a_living_holder_is_named_and_refused(held: tuple[Path, subprocess.Popen[str]]) -> None:
    work, process = held
    line = rf"{work}: process {process.pid} on \S+ is training this trial, under process "
    line += rf"{os.getpid()}; wait for it, or stop it with kill {process.pid} there"
    with pytest.raises(BadInput, match=line), locked(work):
        pass
    told(process)
    process.wait()
    with locked(work):
        assert holder_of(work) == this_holder()
    assert holder_of(work) is None


def test_what_a_killed_holder_left_is_taken(held: tuple[Path, subprocess.Popen[str]]) -> None:
    work, process = held
    process.kill()
    # Its parent has not reaped it yet, but it counts as gone.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with locked(work):
        assert holder_of(work) == this_holder()


@pytest.mark.parametrize("text", ["", '{"process": {"ho', "\0" * 40])
def test_a_lock_that_is_torn_is_free(tmp_path: Path, text: str) -> None:
    """As after a power failure."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "lock.json").write_text(text, encoding="utf-8")
    assert holder_of(work) is None
    with locked(work):
        assert holder_of(work) == this_holder()
    assert not (work / "lock.json").exists()


def test_a_job_that_its_own_snakemake_gave_up_is_stopped(
    held: tuple[Path, subprocess.Popen[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its launcher is alive, but has started this job in its place."""
    work, process = held
    launcher = this_process()
    write_json(
        work / "lock.json",
        asdict(replace(holder_of(work), ancestors=[launcher], by_snakemake=True)),
    )
    monkeypatch.setattr(lock, "ancestors", lambda: [launcher])
    with locked(work):
        assert process.wait() != 0
        assert holder_of(work).process == this_process()


def elsewhere(work: Path) -> Holder:
    """Make a process on another machine hold the lock."""
    holder = Holder(Process("node7", "another", os.getpid(), "1"), [], False)
    work.mkdir()
    write_json(work / "lock.json", asdict(holder))
    return holder


def test_a_holder_elsewhere_whose_heart_beats_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(tmp_path / "work")
    beats = iter([b"1", b"1", b"2"])
    monkeypatch.setattr(lock, "_heartbeat", lambda _: next(beats))
    monkeypatch.setattr(lock, "PAUSE", 0.001)
    line = f"process {os.getpid()} on node7 is training this trial"
    with pytest.raises(BadInput, match=line), locked(tmp_path / "work"):
        pass


def test_a_holder_elsewhere_without_a_heartbeat_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(tmp_path / "work")
    monkeypatch.setattr(lock, "PAUSE", 0.001)
    with locked(tmp_path / "work"):
        assert holder_of(tmp_path / "work") == this_holder()
    line = f"process {os.getpid()} on node7 is gone; its work is resumed here"
    assert line in capsys.readouterr().err


def test_a_lock_that_is_given_up_meanwhile_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    elsewhere(work)

    def give_up(_: Path) -> bytes:
        (work / "lock.json").unlink(missing_ok=True)
        return b"1"

    monkeypatch.setattr(lock, "PAUSE", 0.001)
    monkeypatch.setattr(lock, "_heartbeat", give_up)
    with locked(work):
        assert holder_of(work) == this_holder()


def test_the_heart_beats_and_a_lost_lock_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was suspended for long finds that another one has taken its lock."""
    monkeypatch.setattr(lock, "BEAT", 0.001)
    work, lost, beaten = tmp_path / "work", threading.Event(), threading.Event()
    inner = lock._beat

    def beat(heart: int, count: int) -> None:
        inner(heart, count)
        if count:
            beaten.set()

    monkeypatch.setattr(lock, "_beat", beat)
    with locked(work, lost.set):
        first = f"{os.getpid():>10} {0:>20}\n".encode()
        assert beaten.wait(60)
        assert lock._heartbeat(work) != first
        assert len(lock._heartbeat(work)) == len(first)
        other = Holder(Process("node7", "another", 1, "1"), [], False)
        write_json(work / "lock.json", asdict(other))
        assert lost.wait(60)
    # The lock now belongs to the other process.
    assert holder_of(work) == other


def test_a_process_is_told_by_more_than_its_number() -> None:
    me = this_process()
    assert me.is_here()
    assert me.is_alive()
    assert not replace(me, started="0").is_alive()
    assert not replace(me, host="elsewhere").is_here()
    assert not replace(me, machine="before it was restarted").is_here()
    assert str(me).startswith(f"process {os.getpid()} on ")


def test_the_launcher_is_the_outermost_snakemake_or_else_the_parent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chain = {
        10: (9, ["python", "-m", "scripts.train.sft"]),
        9: (8, ["/bin/bash", "-c", "python -m scripts.train.sft"]),
        8: (7, ["/env/bin/python3.11", "-m", "snakemake", "--mode", "subprocess"]),
        7: (6, ["/env/bin/python3.11", "/env/bin/snakemake", "--cores", "1"]),
        6: (1, ["bash"]),
    }

    def look(pid: int) -> processes._Seen | None:
        found = chain.get(10 if pid == os.getpid() else pid)
        return found and processes._Seen(found[0], str(pid), found[1])

    monkeypatch.setattr(processes, "_look", look)
    assert [it.pid for it in ancestors()] == [9, 8, 7]
    assert processes.is_run_by_snakemake()
    chain[10] = (6, chain[10][1])
    assert [it.pid for it in ancestors()] == [6]
    assert not processes.is_run_by_snakemake()
