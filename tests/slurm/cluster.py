"""A real Slurm cluster of one node on this machine, from Debian's packages, for as long as a test.

Its configuration has to lie at /etc/slurm, because the executor's job steps drop SLURM_* variables,
SLURM_CONF among them: a link there, removed at the end, leads into the cluster's own folder.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ETC = Path("/etc/slurm")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel")
PREFIX = "prefmake-slurm-"


class CannotStart(Exception):
    """No cluster can be started on this machine. Its text says why."""


@dataclass(frozen=True)
class Task:
    """What Slurm gave one task of a job step."""

    job: str
    restarts: int
    gpus: str


@dataclass(frozen=True)
class Cluster:
    """A running cluster, and the folder that holds all of it."""

    folder: Path

    def jobs(self) -> dict[str, str]:
        """Return the state of every job that Slurm still knows, by job number."""
        lines = asked("squeue", "--states=all", "--noheader", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def facts(self, job: str) -> dict[str, str]:
        """Return what the controller knows about a job, by its names: StartTime, Restarts, …"""
        words = asked("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def tasks(self) -> list[Task]:
        """Return the tasks of job steps, without batch scripts, in the order they began."""
        lines = (self.folder / "tasks").read_text(encoding="utf-8").splitlines()
        parts = [line.split() for line in lines]
        return [Task(job, int(n), gpus) for job, n, step, gpus in parts if step != "batch"]

    def drain(self) -> None:
        """End every job, and return when none is left."""
        asked("scancel", "--user=root")
        until(lambda: not asked("squeue", "--noheader"), "jobs of the cluster do not end", 90)


def asked(*words: str) -> str:
    """Return what a Slurm command prints. Raises CalledProcessError if it fails."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def until(holds: Callable[[], bool], complaint: str, seconds: float = 60) -> None:
    """Wait until something holds. Raises TimeoutError with the complaint."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        time.sleep(0.1)


@contextmanager
def running() -> Iterator[Cluster]:
    """Yield a cluster that takes jobs; nothing of it is left at the end. Raises CannotStart."""
    if os.geteuid() != 0:
        raise CannotStart("only root may start Slurm's daemons")
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        raise CannotStart(f"{', '.join(missing)} not found; `make slurm` installs them")
    with ExitStack() as stack:
        # A socket's path may have 108 characters: pytest's folders are too deep.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=PREFIX)))
        configure(folder)
        for name in ("slurm.conf", "gres.conf"):
            link(ETC / name, folder / name)
            stack.callback((ETC / name).unlink)
        munged = ["munged", "--foreground", "--force", f"--key-file={folder}/munge.key"]
        munged += [f"--{name}-file={folder}/munge.{name}" for name in ("pid", "log", "seed")]
        start(stack, folder, [*munged, f"--socket={folder}/munge.sock"])
        until((folder / "munge.sock").exists, "munged does not open its socket")
        start(stack, folder, ["slurmctld", "-D", "-c"])
        start(stack, folder, ["slurmd", "-D"])
        cluster = Cluster(folder)
        until(idle, f"the node does not come up: see {folder}")
        stack.callback(cluster.drain)
        yield cluster


def configure(folder: Path) -> None:
    """Write the configuration and the key of a cluster into its folder."""
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        filled = {
            "HOST": socket.gethostname().split(".")[0],
            "DIR": str(folder),
            "CONTROLLER_PORT": str(first.getsockname()[1]),
            "NODE_PORT": str(second.getsockname()[1]),
        }
    for name in ("slurm.conf", "gres.conf", "task_prolog.sh"):
        text = (HERE / name).read_text(encoding="utf-8")
        for key, value in filled.items():
            text = text.replace(f"@{key}@", value)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "task_prolog.sh").chmod(0o755)
    (folder / "tasks").touch()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))


def link(path: Path, target: Path) -> None:
    """Link the file where Slurm looks for it. Raises CannotStart if there is another."""
    if path.is_symlink() and Path(os.readlink(path)).parent.name.startswith(PREFIX):
        if is_running(Path(os.readlink(path)).with_name("slurmctld.pid")):
            raise CannotStart(f"another test's cluster is running: {os.readlink(path)}")
        # A killed test left it.
        path.unlink()
    if path.exists() or path.is_symlink():
        raise CannotStart(f"this machine has a Slurm of its own: {path}")
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)


def is_running(pid: Path) -> bool:
    """Return True if the daemon that wrote its pid into a file is running."""
    return pid.exists() and Path("/proc", pid.read_text(encoding="ascii").strip()).exists()


def start(stack: ExitStack, folder: Path, command: list[str]) -> None:
    """Start a daemon that ends with the stack, and at the latest with this process."""
    words = ["setpriv", "--pdeathsig", "TERM", *command]
    with open(folder / f"{command[0]}.out", "wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    stack.callback(stop, daemon)


def stop(daemon: subprocess.Popen) -> None:
    """End a daemon, and return when it has ended."""
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait(30)


def idle() -> bool:
    """Return True if the node waits for jobs."""
    words = ["sinfo", "-h", "-o", "%T"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.returncode == 0 and set(done.stdout.split()) == {"idle"}
