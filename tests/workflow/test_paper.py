"""The paper's tables are remade from the published files of a run; nothing is trained."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from scripts.provenance.record import SUFFIX
from tests.workflow.conftest import Project, copied, environment

CONFIG = ("demo/config.yaml", "cut-down.yaml")
CONFIGS = [word for file in CONFIG for word in ("--config", file)]
# What `prefmake paper` passes to Snakemake, except the allowed rules.
AGAIN = ("--cores", "1", "--configfile", *CONFIG, "--config",
         'pathvars={results: "results/again", logs: "logs/again", metrics: "kept"}')  # fmt: skip


def prefmake(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the copy's command line."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "scripts", *words],
        cwd=folder, env=environment() | {"PYTHONPATH": str(folder)}, capture_output=True, text=True,
        timeout=170,
    )  # fmt: skip


@pytest.fixture(scope="module")
def kept(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the finished run was published."""
    folder = tmp_path_factory.mktemp("published") / "project"
    shutil.copytree(finished.folder, folder, symlinks=True)
    done = prefmake(folder, "publish", *CONFIGS, "--metrics", "kept")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bytes in" in done.stdout.splitlines()[-1]
    return folder / "kept"


@pytest.fixture
def fresh(kept: Path, tmp_path: Path) -> Project:
    """Return a copy of the project with the published files; all sources are newer than those."""
    project = copied(tmp_path / "fresh")
    shutil.copytree(kept, project.folder / "kept")
    later = time.time() + 3600
    for part in ("scripts", "demo", "rules", "envs", "Snakefile", "config.yaml", "cut-down.yaml"):
        path = project.folder / part
        for file in [path, *path.rglob("*")]:
            os.utime(file, (later, later))
    return project


def test_the_records_of_all_jobs_behind_it_are_published(kept: Path, finished: Project) -> None:
    run = finished.folder / "results" / "demo"
    wanted = ("data/dialogues/fetch", "models/demo/train", "trials/sft-r16/seed-0/train")
    origins = ("data/dialogues/raw.json", "models/demo/manifest.json")
    for file in (*(f"{step}{SUFFIX}" for step in wanted), *origins):
        assert (kept / file).read_bytes() == (run / file).read_bytes()
    assert not list(kept.rglob("*.safetensors"))
    assert not (kept / f"tables/dpo{SUFFIX}").exists()


def test_nothing_but_reports_can_be_made(fresh: Project) -> None:
    """Even if every rule is allowed, none makes what the reports read."""
    assert set(fresh.rules(*AGAIN)) == {"table", "figure", "all"}


def check_same(fresh: Project, finished: Project, files: Iterable[str]) -> None:
    """Check that files made from published ones have the same bytes as the run's own."""
    again, run = fresh.folder / "results" / "again", finished.folder / "results" / "demo"
    for file in files:
        assert (again / file).read_bytes() == (run / file).read_bytes(), file


def test_a_table_and_a_figure_are_those_of_the_run(fresh: Project, finished: Project) -> None:
    files = ("tables/dpo.csv", "tables/dpo.md", "tables/dpo.tex", "figures/accuracy.pdf")
    targets = (f"results/again/{file}" for file in ("tables/dpo.csv", "figures/accuracy.pdf"))
    fresh.run(*targets, *AGAIN)
    check_same(fresh, finished, files)
    # They are traced through the published files to the sources of the first run.
    cell = ("results/again/tables/dpo.md", "--row", "dpo-r8", "--column", "preference accuracy")
    done = prefmake(fresh.folder, "trace", *cell)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("table", "aggregate", "measure", "score", "train", "tokenize"):
        assert f"{step} → " in done.stdout
    assert "source demo/corpora/dialogues.jsonl" in done.stdout
    assert "not here: trials/dpo-r8/seed-0/pairs.parquet" in done.stdout
    assert "not here: models/demo/manifest.json" not in done.stdout


@pytest.mark.all
def test_all_tables_and_figures_are_those_of_the_run(fresh: Project, finished: Project) -> None:
    done = prefmake(
        fresh.folder, "paper", *CONFIGS, "--metrics", "kept", "--report", "results/again"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ran = re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE)
    assert set(ran) == {"table", "figure", "all"}
    results = fresh.folder / "results"
    assert [path.name for path in results.iterdir()] == ["again"]
    run = finished.folder / "results" / "demo"
    made = [path for room in ("tables", "figures") for path in (run / room).iterdir()]
    names = [path.relative_to(run).as_posix() for path in made if not path.name.endswith(SUFFIX)]
    check_same(fresh, finished, names)


def test_what_is_missing_is_named_and_nothing_starts(fresh: Project) -> None:
    lost = [
        "kept/trials/dpo-r8/seed-0/items.parquet",
        "kept/trials/sft-r4/seed-0/history.jsonl",
    ]
    for file in lost:
        (fresh.folder / file).unlink()
    done = prefmake(
        fresh.folder, "paper", *CONFIGS, "--metrics", "kept", "--report", "results/again"
    )
    assert done.returncode != 0
    assert sorted(line for line in done.stderr.splitlines() if line.startswith("kept/")) == lost
    assert not (fresh.folder / "results" / "again" / "tables").exists()
    assert not (fresh.folder / "results" / "again" / "figures").exists()


def test_an_unfinished_run_is_not_published(fresh: Project) -> None:
    done = prefmake(fresh.folder, "publish", *CONFIGS, "--metrics", "other")
    assert done.returncode != 0
    assert "results/demo/trials/sft-r4/seed-0/metrics.json" in done.stderr.splitlines()
    assert not (fresh.folder / "other").exists()
