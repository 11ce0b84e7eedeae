"""A process that has imported everything that trainers need, and forks a child per attempt.

Importing takes many times as long as a tiny trial. The process itself never computes a gradient,
because torch would then refuse to do so in its children. It reads one JSON object per line, and
answers with one.
"""

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WRITES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.utime"}
"""Audit events that change a folder; an `open` counts only if it is for writing."""


@dataclass
class Nursery:
    """Start trainers as children of the process, and wait for them."""

    process: subprocess.Popen[str]
    kills: int = 0
    """How many trainers were ended by a signal."""

    def ask(self, **order: Any) -> Any:
        """Send an order and return its answer."""
        print(json.dumps(order, default=str), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def start(self, stage: str, words: list[str], log: Path, **how: Any) -> int:
        """Start `scripts.train.{stage}` with a command line; return its pid.

        Parameters
        ----------
        how
            `write=n`: it kills itself before its n-th change below the folder `below`;
            `step=n, signal=s`: it sends itself a signal within its n-th step;
            `step=n, fifo=path`: it reports there within its n-th step, and waits for a signal;
            `put=n`: it kills itself before it publishes its n-th file;
            `cpu=seconds`: the kernel ends it after so much CPU time;
            `counted=file`: it writes there how many changes it made;
            `largest=bytes`: no file may grow beyond this.
        """
        return self.ask(do="start", stage=stage, words=words, log=log, how=how)

    def start_under(self, stage: str, words: list[str], log: Path, **how: Any) -> tuple[int, int]:
        """Start a trainer under a process of its own; return the pids of both."""
        return tuple(self.ask(do="start_under", stage=stage, words=words, log=log, how=how))

    def wait(self, pid: int) -> int:
        """Return the exit code of a trainer, or minus the number of the signal that ended it."""
        code = self.ask(do="wait", pid=pid)
        self.kills += code < 0
        return code

    def run(self, stage: str, words: list[str], log: Path, **how: Any) -> int:
        """Start a trainer and wait for it."""
        return self.wait(self.start(stage, words, log, **how))


@contextmanager
def nursery(model: Path) -> Iterator[Nursery]:
    """Yield a nursery for trials of the manifest's model; it ends with the block."""
    command = [sys.executable, "-m", "tests.train.nursery", str(model)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == "ready\n"
    try:
        yield Nursery(process)
    finally:
        process.stdin.close()
        process.wait()


# ------------------------------------------------------------------------------- in the processes


def _serve(model: str) -> None:
    import scripts.train.costs
    import scripts.train.dpo
    import scripts.train.sft  # noqa: F401
    from scripts.lm.snapshots import load_base
    from scripts.provenance.digests import code_digest

    # Do once what each of them would repeat.
    for stage in ("sft", "dpo"):
        code_digest(f"scripts/train/{stage}.py")
    load_base(model, "float32", "none")
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] == "start":
            answer = os.fork() or _child(order)
        elif order["do"] == "start_under":
            answer = _start_under(order)
        else:
            _, status = os.waitpid(order["pid"], 0)
            answer = os.waitstatus_to_exitcode(status)
        print(json.dumps(answer), flush=True)


def _start_under(order: dict[str, Any]) -> tuple[int, int]:
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        trainer = os.fork() or _child(order)
        os.write(writing, str(trainer).encode())
        os.waitpid(trainer, 0)
        os._exit(0)
    return parent, int(os.read(reading, 20))


def _child(order: dict[str, Any]) -> None:
    """Run the order in this child process; never return."""
    import importlib

    from scripts.common.cli import run

    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    null = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((0, null), (1, log), (2, log)):
        os.dup2(old if new is None else new, old)
    code = 1
    try:
        module = importlib.import_module(f"scripts.train.{order['stage']}")
        counted = _prepare(order["how"])
        try:
            run(lambda: module.main(order["words"]))
        finally:
            counted()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _prepare(how: dict[str, Any]) -> Callable[[], None]:
    """Make the process end as ordered; return a function to call if it finishes normally."""
    if "step" in how:
        act_in_step(how["step"], how)
    if "put" in how:
        _kill_before_put(how["put"])
    if "largest" in how:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (how["largest"], how["largest"]))
    if "cpu" in how:
        # By default this signal ends the process at once, wherever it is.
        signal.setitimer(signal.ITIMER_PROF, how["cpu"])
    if "below" in how:
        return _count_changes(Path(how["below"]), how.get("write"), how.get("counted"))
    return lambda: None


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _count_changes(below: Path, last: int | None, into: str | None) -> Callable[[], None]:
    """Kill the process before its `last`-th change below a folder, or in the middle of a write."""
    from scripts.common import folders
    from scripts.train import checkpoints

    changes = 0
    prefix = str(below)

    def changed() -> None:
        nonlocal changes
        changes += 1
        if changes == last:
            _kill()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in WRITES or not str(arguments[0]).startswith(prefix):
            return
        # For reading only: nothing changes.
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        changed()

    def write_half_by_half(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
            file.flush()
            changed()
            file.write(content[len(content) // 2 :])

    inner = os.fsync

    def counted_fsync(descriptor: int) -> None:
        changed()
        inner(descriptor)

    folders.write_file = checkpoints.write_file = write_half_by_half
    os.fsync = counted_fsync
    sys.addaudithook(hook)

    def told() -> None:
        count = changes
        if into:
            Path(into).write_text(str(count), encoding="utf-8")

    return told


def act_in_step(step: int, how: dict[str, Any]) -> None:
    """Make the process act within a step, counted from 1, before a pass's gradients."""
    from scripts.train.checkpoints import ResumableTrainer

    inner = ResumableTrainer.training_step

    def training_step(self: Any, *arguments: Any, **more: Any) -> Any:
        if self.state.global_step + 1 == step and how:
            act = dict(how)
            how.clear()
            if "signal" in act:
                os.kill(os.getpid(), act["signal"])
            else:
                Path(act["fifo"]).write_text("here", encoding="utf-8")
                signal.pause()
        return inner(self, *arguments, **more)

    ResumableTrainer.training_step = training_step


def _kill_before_put(last: int) -> None:
    from scripts.train import work

    inner, count = work.put, 0

    def put(source: Path, target: Path) -> None:
        nonlocal count
        count += 1
        if count == last:
            _kill()
        inner(source, target)

    work.put = put


if __name__ == "__main__":
    _serve(sys.argv[1])
