"""Copy of the project in which Snakemake runs for real."""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.conftest import ROOT

PARTS = (
    "Snakefile", "config.yaml", "demo", "envs", "paper", "profiles", "report", "rules", "scripts",
)  # fmt: skip
LIMIT = 900
"""Time limit of a test in seconds: the first one waits for the cut-down demo."""
JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", re.MULTILINE)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the tests of workflows more time."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LIMIT))


@dataclass(frozen=True)
class Project:
    """A copy of the project, and where Snakemake is called in it."""

    folder: Path

    def command(self, *words: str) -> list[str]:
        """Return a snakemake command that this Python runs."""
        return [sys.executable, "-m", "snakemake", *words]

    def run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run snakemake, this Python first on the path; with `check`, it must succeed."""
        done = subprocess.run(
            self.command(*words), cwd=self.folder, env=environment(), capture_output=True, text=True
        )
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done

    def jobs(self, *words: str) -> list[tuple[str, str]]:
        """Return rule and first output of every job of a dry run."""
        done = self.run("-n", *words)
        found = []
        for rule, body in JOB.findall(done.stdout + done.stderr):
            output = re.search(r"^    output: ([^,\n]+)", body, re.MULTILINE)
            found.append((rule, output[1] if output else ""))
        return sorted(set(found))

    def rules(self, *words: str) -> Counter[str]:
        """Return how many jobs of each rule a dry run lists."""
        return Counter(rule for rule, _ in self.jobs(*words))

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace text in a file, which must contain it."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")


TOKEN = "hf_workflowSecret123"
"""Stands in no file of a run."""


def environment() -> dict[str, str]:
    """Return this process's environment with its Python first on the path, and a token.

    Bytecode is written; otherwise each of a run's many jobs would compile the project again.
    """
    kept = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "HF_TOKEN": TOKEN}


def copied(folder: Path) -> Project:
    """Copy the project's tracked files, without results, into a folder."""
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / part, ignore=ignored)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / part)
    shutil.copy2(ROOT / "tests" / "workflow" / "cut-down.yaml", folder / "cut-down.yaml")
    return Project(folder)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a fresh copy of the project."""
    return copied(tmp_path / "project")


CUT_DOWN = ("--workflow-profile", "profiles/demo", "--configfile", "demo/config.yaml",
            "cut-down.yaml")  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Project:
    """Return a copy in which the cut-down demo was interrupted once and then ran to its end.

    All of pytest's workers share it, and must not change it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            project = copied(folder.with_name("unfinished"))
            interrupt(project, "rule train_demo_model:")
            project.run(*CUT_DOWN)
            folder.with_name("unfinished").rename(folder)
    return Project(folder)


def interrupt(project: Project, line: str) -> None:
    """Start the cut-down demo, and interrupt it as with Ctrl-C once a line appears."""
    process = subprocess.Popen(
        project.command(*CUT_DOWN),
        cwd=project.folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    sent, awaited = False, line
    assert process.stdout
    for text in process.stdout:
        if awaited not in text:
            continue
        # Between two jobs the signal may have no effect: send it again when a later batch starts,
        # but not for the next job of this one. A second signal leaves the folder locked.
        if awaited == "Execute ":
            awaited = "rule "
        else:
            os.killpg(process.pid, signal.SIGINT)
            sent, awaited = True, "Execute "
    assert process.wait() != 0
    assert sent, f"the run ended before {line!r}"


@pytest.fixture
def rerun(finished: Project, tmp_path: Path) -> Project:
    """Return a copy of the finished run, with its times, that a test may edit."""
    shutil.copytree(finished.folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


CHAINS = """\
rule all:
    input:
        expand("{chain}.7", chain=range(1000)),


"""
STEP = """\
rule step_{number}:
    input:
        "{{chain}}.{before}",
    output:
        "{{chain}}.{number}",
    shell:
        "cp {{input}} {{output}}"


"""
BARE_SECONDS = 5.0
"""CPU seconds of Snakemake 9.27 for those 7,000 jobs on the machine that the limits were set on,
which plans 1,000 trials in about 11 s."""


def cpu_seconds(project: Project, *words: str) -> float:
    """Return the CPU seconds of a dry run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    project.run("-n", "--quiet", "all", *words)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="session")
def slowness(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Return how much slower than that this machine plans 1,000 chains of 7 jobs."""
    folder = tmp_path_factory.mktemp("bare")
    steps = (STEP.format(number=number, before=number - 1) for number in range(1, 8))
    Path(folder, "Snakefile").write_text(CHAINS + "".join(steps), encoding="utf-8")
    for chain in range(1000):
        Path(folder, f"{chain}.0").touch()
    return cpu_seconds(Project(folder), "--cores", "1") / BARE_SECONDS
