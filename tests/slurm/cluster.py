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
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
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
        """Returns the state of every job that Slurm still knows, by the job's number."""
        lines = asked("squeue", "--states=all", "--noheader", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines)

    def facts(self, job: str) -> dict[str, str]:
        """Returns what the controller knows of a job, by its own names: StartTime, Restarts, …"""
        words = asked("scontrol", "--oneliner", "show", "job", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def tasks(self) -> list[Task]:
        """Returns the tasks of job steps, batch scripts left out, in the order they began."""
        lines = (self.folder / "tasks").read_text(encoding="utf-8").splitlines()
        parts = [line.split() for line in lines]
        return [Task(job, int(n), gpus) for job, n, step, gpus in parts if step != "batch"]

    def drain(self) -> None:
        """Ends every job, and returns when none is left."""
        asked("scancel", "--user=root")
        until(lambda: not asked("squeue", "--noheader"), "jobs of the cluster do not end", 90)


def asked(*words: str) -> str:
    """Returns what a Slurm command prints. Raises CalledProcessError if it fails."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


def until(holds: Callable[[], bool], complaint: str, seconds: float = 60) -> None:
    """Waits until something holds. Raises TimeoutError with the complaint."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(complaint)
        time.sleep(0.1)


def install() -> None:
    """Installs Slurm where that is possible and needed. Raises CannotStart."""
    if os.geteuid() != 0:
        raise CannotStart("only root may start Slurm's daemons")
    if all(map(shutil.which, PROGRAMS)):
        return
    if not shutil.which("apt-get"):
        raise CannotStart("Slurm is not installed, and there is no apt-get")
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", *PACKAGES]):
        done = subprocess.run(
            ["apt-get", "-qq", *words], env=quietly, capture_output=True, text=True
        )
        if done.returncode:
            raise CannotStart(f"apt-get {words[0]} failed: {done.stderr.strip()[-300:]}")


@contextmanager
def running() -> Iterator[Cluster]:
    """Returns a cluster that takes jobs; at the end nothing of it is left. Raises CannotStart."""
    install()
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
    """Writes the configuration and the key of a cluster into its folder."""
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
    """Puts a link where Slurm looks. Raises CannotStart if another configuration lies there."""
    if path.is_symlink() and Path(os.readlink(path)).parent.name.startswith(PREFIX):
        if is_running(Path(os.readlink(path)).with_name("slurmctld.pid")):
            raise CannotStart(f"another test's cluster is running: {os.readlink(path)}")
        # Of a test that was killed.
        path.unlink()
    if path.exists() or path.is_symlink():
        raise CannotStart(f"this machine has a Slurm of its own: {path}")
    path.parent.mkdir(exist_ok=True)
    path.symlink_to(target)


def is_running(pid: Path) -> bool:
    """Tells whether the daemon that wrote its number into a file is running."""
    return pid.exists() and Path("/proc", pid.read_text(encoding="ascii").strip()).exists()


def start(stack: ExitStack, folder: Path, command: list[str]) -> None:
    """Starts a daemon that ends with the stack, and at the latest with this process."""
    words = ["setpriv", "--pdeathsig", "TERM", *command]
    with open(folder / f"{command[0]}.out", "wb") as log:
        daemon = subprocess.Popen(words, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    stack.callback(stop, daemon)


def stop(daemon: subprocess.Popen) -> None:
    """Ends a daemon, and returns when it has ended."""
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def idle() -> bool:
    """Tells whether the node waits for jobs."""
    done = subprocess.run(["sinfo", "-h", "-o", "%T"], capture_output=True, text=True)
    return done.returncode == 0 and set(done.stdout.split()) == {"idle"}
