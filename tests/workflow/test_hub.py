"""The real config.yaml with real repositories, served by a hub on the loopback interface."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.common.files import read_json, read_rows
from scripts.config.check import load
from scripts.config.plan import make_plan
from tests.conftest import ROOT
from tests.hub.server import Hub
from tests.rehearsal.__main__ import commits
from tests.workflow.conftest import Project

DATA = ("youtube-titles", "youtube-titles-by-idea", "grade-school-math", "gsm8k")
TITLES = "youtube-titles.qwen-14b.chat.1024"
TARGETS = (
    *(f"results/data/{dataset}/train.parquet" for dataset in DATA),
    f"results/tokens/{TITLES}/doctor.json",
)
LITERAL = ("--cores", "2", "--resources", "gpu=2", "--config", "accelerator=cpu")


@pytest.mark.all
def test_the_papers_data_is_fetched_prepared_and_examined_once(
    project: Project, hub: Path, loopback: Callable[..., Hub]
) -> None:
    # Other tests import Unsloth.
    project.edit("config.yaml", "backend: unsloth", "backend: transformers")
    served = loopback(hub, commits=commits(make_plan(load([ROOT / "config.yaml"]))))
    project.run(*TARGETS, *LITERAL)
    folder = project.folder / "results"
    rows = {
        (dataset, split): len(read_rows(folder / "data" / dataset / f"{split}.parquet"))
        for dataset in DATA
        for split in ("train", "valid", "test")
    }
    assert [n for n in rows.values() if n] == [1026, 114, 800, 110, 230, 5000, 500, 7473, 1319]
    record = read_json(folder / "data" / "gsm8k" / "raw.json")
    assert record["commit"] == "e53f048856ff4f594e959d75785d2c2d37b678ee"
    findings = read_json(folder / "tokens" / TITLES / "doctor.json")["findings"]
    leaked = next(found for found in findings if found["check"] == "leaked_groups")
    assert (leaked["count"], leaked["of"]) == (76, 76)
    assert not any(name.endswith(".safetensors") for name in served.sent())
    assert not project.jobs(*TARGETS, *LITERAL)
    # Another backend downloads nothing again.
    project.edit("config.yaml", "backend: transformers", "backend: unsloth")
    assert set(project.rules(*TARGETS, *LITERAL)) <= {"check_backends"}
    assert read_json(folder / "backends.json").keys() == {"transformers"}


@pytest.mark.all
def test_a_backend_that_cannot_run_stops_everything_before_a_download(
    project: Project, hub: Path, loopback: Callable[..., Hub]
) -> None:
    served = loopback(hub)
    # An installed package of that name that cannot be imported.
    (project.folder / "unsloth.py").write_text("raise ImportError('no kernels')\n")
    shutil.copy(project.folder / "unsloth.py", project.folder / "scripts")
    done = project.run(*TARGETS, *LITERAL, check=False)
    assert done.returncode != 0
    line = "backend unsloth cannot run here: ImportError: no kernels; use backend: transformers"
    assert line in done.stdout + done.stderr
    assert served.requests == []
