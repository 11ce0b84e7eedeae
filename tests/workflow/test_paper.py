"""The paper's tables are remade from the published files of a run; nothing is trained."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

import pytest

from scripts.common.files import read_json
from scripts.config.check import load
from scripts.config.plan import Plan, Reports, make_plan, reported_files
from scripts.provenance.publish import RUNS as OWN
from scripts.provenance.publish import check_published, published_in, read_runs
from scripts.provenance.record import SUFFIX
from scripts.report.catalog import TABLES
from scripts.report.tables import write
from tests.conftest import contents
from tests.workflow.conftest import Project, copied, environment

CONFIG = ("demo/config.yaml", "cut-down.yaml")
CONFIGS = [word for file in CONFIG for word in ("--config", file)]
# What `prefmake paper` passes to Snakemake, except the allowed rules.
AGAIN = ("--cores", "1", "--configfile", *CONFIG, "--config",
         'pathvars={results: "results/again", logs: "logs/again", metrics: "kept"}')  # fmt: skip
RUNS = """\
gpu: {config: [../config.yaml], megabytes: 40}
demo: {config: [../demo/config.yaml, ../cut-down.yaml], megabytes: 8, docs: ../docs/demo}
"""


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
    first, second, last = done.stdout.splitlines()
    assert (first, second) == ("tutor: published", "headlines: published")
    assert re.fullmatch(r"kept: \d+ files, [\d,]+ bytes", last)
    return folder / "kept"


@pytest.fixture
def fresh(kept: Path, tmp_path: Path) -> Project:
    """Return a copy of the project with the published files; all sources are newer than those."""
    project = copied(tmp_path / "fresh")
    shutil.copytree(kept, project.folder / "kept")
    later = time.time()
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
    assert set(fresh.rules(*AGAIN)) == {"table", "figure", "page", "all"}


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
def test_all_that_is_published_is_made_again(fresh: Project, finished: Project) -> None:
    """Every file has the run's bytes; docs/ gets what is to be read there."""
    (fresh.folder / "paper/runs.yaml").write_text(RUNS, encoding="utf-8")
    (fresh.folder / "kept").rename(fresh.folder / "paper/demo")
    done = prefmake(fresh.folder, "paper")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == (
        "gpu: not published yet (prefmake publish --config config.yaml fills paper/gpu/)"
    )
    assert lines[-2:] == [
        "demo: results/paper/demo/: tables, figures and report.html",
        "demo: docs/demo/: the same tables and figures, to read",
    ]
    ran = re.findall(r"^(?:local)?rule (\w+):", done.stdout + done.stderr, re.MULTILINE)
    assert set(ran) == {"table", "figure", "page", "all"}
    results = fresh.folder / "results"
    assert [path.name for path in results.iterdir()] == ["paper"]
    run = finished.folder / "results/demo"
    (results / "paper/demo").rename(results / "again")
    made = [path for room in ("tables", "figures") for path in (run / room).iterdir()]
    names = [path.relative_to(run).as_posix() for path in made if not path.name.endswith(SUFFIX)]
    check_same(fresh, finished, [*names, "report.html"])
    shown = contents(fresh.folder / "docs/demo")
    assert set(shown) == {it for it in names if it.endswith((".md", ".png"))}
    assert all(shown[it] == (run / it).read_bytes() for it in shown)


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
    named = sorted(line for line in done.stderr.splitlines() if line.startswith("kept/"))
    assert named == [f"{file}: missing" for file in lost]
    assert not (fresh.folder / "results" / "again" / "tables").exists()
    assert not (fresh.folder / "results" / "again" / "figures").exists()


def test_an_unfinished_run_is_not_published(fresh: Project) -> None:
    done = prefmake(fresh.folder, "publish", *CONFIGS, "--metrics", "other")
    assert done.returncode != 0
    assert "results/demo/trials/sft-r4/seed-0/metrics.json: missing" in done.stderr.splitlines()
    assert not (fresh.folder / "other").exists()


def test_nothing_is_made_where_no_run_is_published(fresh: Project) -> None:
    (fresh.folder / "paper/runs.yaml").write_text(RUNS, encoding="utf-8")
    done = prefmake(fresh.folder, "paper")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == ["gpu", "demo"]
    assert done.stderr == "error: paper: no run is published here\n"


def test_what_is_finished_is_published_and_made_without_the_rest(rerun: Project) -> None:
    (rerun.folder / "paper/runs.yaml").write_text(RUNS, encoding="utf-8")
    # As if titles-r16 were trained again: its metrics are still those of before.
    (rerun.folder / "results/demo/trials/titles-r16/seed-0/train.json").unlink()
    done = prefmake(rerun.folder, "publish", *CONFIGS)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, last = done.stdout.splitlines()
    assert (first, last.split(":")[0]) == ("tutor: published", "paper/demo")
    assert second == (
        "headlines: not published; it lacks 2, such as results/demo/trials/titles-r16/seed-0: "
        "not run"
    )
    kept = rerun.folder / "paper/demo"
    assert published_in(kept) == ["tutor"]
    assert not (kept / "trials/titles-r16").exists()
    # The demo's run, of which only one experiment is there, has its tables.
    made = tables_of([rerun.folder / file for file in CONFIG], kept)
    assert "sft-r16" in made["sft"]
    assert "titles-r16" not in made["dpo"]


def plan_of(config: list[Path], published: Path) -> Plan:
    """Return the plan of a published run, whose base model need not be here."""
    return make_plan(load([*config], {"pathvars": {"metrics": str(published)}}))


def tables_of(config: list[Path], published: Path) -> dict[str, str]:
    """Return the tables of a published run as Markdown, made in this process as rules make them."""
    plan = plan_of(config, published)
    reports = Reports(plan, only=published_in(published))
    made: dict[str, str] = {}
    for name in reports.tables():
        entry, out = TABLES[name], io.StringIO()
        costs = {file: f"{it}={file}" for file, it in reports.reference_costs(entry).items()}
        options = {
            "claims": reports.claims(entry),
            "data": reports.data_files(entry),
            "references": list(costs.values()),
            "mark": [plan.mark] if plan.mark else [],
        }
        words = ["--root", str(published), "--plan", json.dumps(reports.experiments(entry))]
        for option, values in options.items():
            words += [f"--{option}", *values] if values else []
        words = [word.replace("<metrics>", str(published)) for word in words]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(write, "write_text", lambda path, text, out=out: out.write(text))
            assert import_module(f"scripts.report.tables.{name}").main([*words, "--md", name]) == 0
        made[name] = out.getvalue()
    return made


def differing(config: list[Path], published: Path, docs: Path) -> list[str]:
    """Return the tables in a folder that are not those of a published run."""
    made = tables_of(config, published)
    shown = {path.stem: path.read_text(encoding="utf-8") for path in docs.glob("*.md")}
    return sorted(name for name in made | shown if made.get(name) != shown.get(name))


def test_tables_that_are_not_those_of_the_published_run_are_found(
    fresh: Project, finished: Project, tmp_path: Path
) -> None:
    config = [fresh.folder / file for file in CONFIG]
    kept, docs = fresh.folder / "kept", tmp_path / "docs"
    shutil.copytree(finished.folder / "results/demo/tables", docs)
    assert differing(config, kept, docs) == []
    (docs / "sft.md").write_text((docs / "sft.md").read_text().replace("sft-r16", "sft-r17"))
    (docs / "seeds.md").unlink()
    (docs / "more.md").write_text("made by hand")
    assert differing(config, kept, docs) == ["more", "seeds", "sft"]
    # Or what was published is other than what stands in docs/.
    path = kept / "trials/dpo-r8/seed-0/score.json"
    path.write_text(json.dumps(read_json(path) | {"seconds": 9876.5}))
    assert differing(config, kept, docs) == ["cost", "more", "seeds", "sft"]


@pytest.mark.parametrize("name", [it for it, run in read_runs(OWN).items() if run.docs])
def test_docs_have_the_tables_of_the_published_run(name: str) -> None:
    run, folder = read_runs(OWN)[name], OWN.parent / name
    if published_in(folder) is None:
        pytest.skip(f"{name} is not published: paper/{name}/ has no manifest")
    assert run.docs is not None
    check_published(reported_files(plan_of(run.config, folder)), folder)
    assert differing(run.config, folder, run.docs / "tables") == []
