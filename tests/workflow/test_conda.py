"""`snakemake --sdm conda` for real: each rule in its own env, made from its lock.

The channel and the conda command are stand-ins (tests/conda). Everything else is what a user has:
Snakemake's own calls, the envs' files, uv, and the package index that `make setup` asks, too.
"""

import hashlib
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conda import stand_in
from tests.workflow.conftest import CUT_DOWN, Project

COST = "results/demo/tables/cost.csv"
REPORT = "envs/report.post-deploy.sh"
# Of these the report's env has one, which no table imports.
SPARE = re.compile(r"^choix==.*\n(?:    --hash.*\n)+", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11)
    or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the envs are locked for Python 3.11 on Linux, and the channel holds this Python",
)


@dataclass(frozen=True)
class Conda:
    """Where envs are made, and under which variables conda is found."""

    prefix: Path
    variables: dict[str, str]

    def run(self, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
        """Runs the cut-down demo with a conda env for each rule; it may fail."""
        command = project.command(*words, *CUT_DOWN, "--sdm", "conda")
        return subprocess.run(
            [*command, "--conda-prefix", str(self.prefix)],
            cwd=project.folder,
            env=self.variables,
            capture_output=True,
            text=True,
        )

    def envs(self) -> set[Path]:
        """Returns the folders of all envs that were made whole."""
        return {flag.with_suffix("") for flag in self.prefix.glob("*.env_setup_done")}


@pytest.fixture(scope="session")
def conda(tmp_path_factory: pytest.TempPathFactory) -> Conda:
    """Returns the stand-in for conda; what one test made the next one finds."""
    folder = tmp_path_factory.mktemp("conda")
    return Conda(folder / "envs", stand_in(folder / "root"))


def ran(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def rules(project: Project, *words: str) -> set[str]:
    """Returns the rules that have jobs to run, conda or not: the digests are the same."""
    return {rule for rule, _ in project.jobs(*words, *CUT_DOWN)}


@pytest.mark.slow
def test_a_changed_lock_makes_its_env_anew_and_reruns_what_used_it(
    conda: Conda, rerun: Project
) -> None:
    assert rules(rerun) == set()
    ran(conda.run(rerun, COST, "--forcerun", COST))
    before = conda.envs()
    lock = (rerun.folder / REPORT).read_text("utf-8")
    (rerun.folder / REPORT).write_text(SPARE.sub("", lock), "utf-8")

    assert rules(rerun) == {"table", "figure", "page", "all"}
    ran(conda.run(rerun, COST))
    (made,) = conda.envs() - before
    assert not list(made.glob("lib/python*/site-packages/choix"))
    assert rules(rerun, COST) == set()
    # The other lock's env is still there, and its results are back without making anything.
    (rerun.folder / REPORT).write_text(lock, "utf-8")
    ran(conda.run(rerun, COST))
    assert conda.envs() == before | {made}


@pytest.mark.slow
def test_a_tampered_hash_stops_the_run(conda: Conda, rerun: Project) -> None:
    lock = (rerun.folder / REPORT).read_text("utf-8")
    spare = SPARE.search(lock)[0]
    altered = re.sub(
        r"sha256:(\w+)", lambda it: f"sha256:{hashlib.sha256(it[1].encode()).hexdigest()}", spare
    )
    (rerun.folder / REPORT).write_text(lock.replace(spare, altered), "utf-8")
    before = conda.envs()
    table = (rerun.folder / COST).stat()

    done = conda.run(rerun, COST)

    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert re.search(r"Hash mismatch for `choix==", said), said[-3000:]
    assert "report.yaml" in said
    assert conda.envs() == before
    assert (rerun.folder / COST).stat().st_mtime_ns == table.st_mtime_ns
