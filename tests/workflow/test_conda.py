"""`snakemake --sdm conda`: each rule runs in its own env, made from its lock.

The channel and the conda command are stand-ins (tests/conda). Everything else is as for users:
Snakemake's calls, the env files, uv, and the package index that `make setup` uses.
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
from tests.envs import rules as written
from tests.workflow.conftest import CUT_DOWN, Project

COST = "results/demo/tables/cost.csv"
REPORT = "envs/report.post-deploy.sh"
# A package in the report env that no table imports.
SPARE = re.compile(r"^choix==.*\n(?:    --hash.*\n)+", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11)
    or (platform.system(), platform.machine()) != ("Linux", "x86_64"),
    reason="the envs are locked for Python 3.11 on Linux, and the channel holds this Python",
)


@dataclass(frozen=True)
class Conda:
    """The folder for envs, and the environment variables that make Snakemake find conda."""

    prefix: Path
    variables: dict[str, str]

    def run(
        self, project: Project, *words: str, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the cut-down demo with a conda env for each rule; it may fail."""
        command = project.command(*words, *CUT_DOWN, "--sdm", "conda")
        return subprocess.run(
            [*command, "--conda-prefix", str(self.prefix)],
            cwd=project.folder,
            env=self.variables | variables,
            capture_output=True,
            text=True,
        )

    def table(self, project: Project, *words: str) -> subprocess.CompletedProcess[str]:
        """Make one table again. Snakemake makes envs for all rules that it may run, here only one.

        Compiling bytecode pays off over many jobs, but would take longer than this one.
        """
        only = (COST, "--allowed-rules", "table")
        return self.run(project, *only, *words, UV_COMPILE_BYTECODE="0")

    def envs(self) -> set[Path]:
        """Return the folders of all complete envs."""
        return {flag.with_suffix("") for flag in self.prefix.glob("*.env_setup_done")}


@pytest.fixture(scope="session")
def conda(tmp_path_factory: pytest.TempPathFactory) -> Conda:
    """Return the stand-in for conda; its envs are shared by the tests."""
    folder = tmp_path_factory.mktemp("conda")
    return Conda(folder / "envs", stand_in(folder / "root"))


def ran(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def rules(project: Project, *words: str) -> set[str]:
    """Return the rules that have jobs to run; check that they are the same without conda."""
    return {rule for rule, _ in project.jobs(*words, *CUT_DOWN)}


def test_a_rule_runs_in_its_env(conda: Conda, rerun: Project) -> None:
    ran(conda.table(rerun, "--forcerun", "table"))
    (env,) = conda.envs()
    assert list(env.glob("lib/python*/site-packages/pandas"))
    assert not list(env.glob("lib/python*/site-packages/torch"))


@pytest.mark.all
def test_a_changed_lock_makes_its_env_again_and_reruns_what_used_it(
    conda: Conda, rerun: Project
) -> None:
    assert rules(rerun) == set()
    ran(conda.table(rerun, "--forcerun", "table"))
    before = conda.envs()
    lock = (rerun.folder / REPORT).read_text("utf-8")
    (rerun.folder / REPORT).write_text(SPARE.sub("", lock), "utf-8")

    assert rules(rerun) == {"table", "figure", "page", "all"}
    ran(conda.table(rerun))
    (made,) = conda.envs() - before
    assert not list(made.glob("lib/python*/site-packages/choix"))
    assert rules(rerun, COST) == set()
    # With the old lock, the old env is reused and the table is made again.
    (rerun.folder / REPORT).write_text(lock, "utf-8")
    assert rules(rerun, COST) == {"table"}
    ran(conda.table(rerun))
    assert conda.envs() == before | {made}


@pytest.mark.all
def test_a_tampered_hash_stops_the_run(conda: Conda, rerun: Project) -> None:
    lock = (rerun.folder / REPORT).read_text("utf-8")
    spare = SPARE.search(lock)[0]
    altered = re.sub(
        r"sha256:(\w+)", lambda it: f"sha256:{hashlib.sha256(it[1].encode()).hexdigest()}", spare
    )
    (rerun.folder / REPORT).write_text(lock.replace(spare, altered), "utf-8")
    before = conda.envs()
    table = (rerun.folder / COST).stat()

    done = conda.table(rerun)

    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert re.search(r"Hash mismatch for `choix==", said), said[-3000:]
    assert "report.yaml" in said
    assert conda.envs() == before
    assert (rerun.folder / COST).stat().st_mtime_ns == table.st_mtime_ns


@pytest.mark.all
@pytest.mark.parametrize(
    ("words", "forms"),
    [
        ((), {"data", "train.cpu", "evaluate.cpu", "report"}),
        (("--config", "accelerator=cuda"), {"data", "train", "evaluate", "report"}),
    ],
    ids=["as the demo says", "from the command line"],
)
def test_the_configuration_chooses_the_forms(
    words: tuple[str, ...], forms: set[str], conda: Conda, project: Project, tmp_path: Path
) -> None:
    done = Conda(tmp_path, conda.variables).run(project, "--dry-run", *words)
    ran(done)
    said = re.findall(
        r"Conda environment envs/([\w.]+)\.yaml will be created", done.stdout + done.stderr
    )
    assert set(said) == forms


@pytest.mark.all
def test_another_accelerator_trains_and_scores_again_and_leaves_data_alone(rerun: Project) -> None:
    stale = rules(rerun, "--config", "accelerator=cuda")
    assert stale >= {"train_demo_model", "train", "reference", "score", "measure"}
    assert stale.isdisjoint({"fetch_dataset", "prepare_dataset"})


FORMS = {"data": "data", "train": "train.cpu", "evaluate": "evaluate.cpu", "report": "report"}
TARGETS = ("all", "doctor", "plan", "probes", "results/demo/backends.json")


@pytest.mark.all
@pytest.mark.timeout(1800)
def test_every_rule_runs_in_its_env_alone(conda: Conda, project: Project) -> None:
    project.edit("cut-down.yaml", "problems: {limit", "problems: {leave_out_overlap: true, limit")
    done = conda.run(project, *TARGETS)
    ran(done)
    jobs = set(re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE))
    assert jobs >= {rule.name for rule in written.rules()}

    envs = {env.with_suffix(".post-deploy.sh").read_text("utf-8"): env for env in conda.envs()}
    for stage, form in FORMS.items():
        env = envs[(project.folder / "envs" / f"{form}.post-deploy.sh").read_text("utf-8")]
        python = env / "bin" / "python"
        compared = module(python, project, "scripts.provenance.environment", "--env", stage,
                          "--accelerator", "cpu")  # fmt: skip
        assert compared.startswith(f"{form}: as locked")
    # The launcher's environment has the same digests, so nothing is left to run.
    assert rules(project, *TARGETS) <= {"all"}


def module(python: Path, project: Project, name: str, *words: str) -> str:
    """Run a module in an env as rules do; return what it printed."""
    done = subprocess.run(
        [str(python), "-m", name, *words], cwd=project.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
