"""The same trials, seeds and machine give the same bytes, however the run was made."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import CUT_DOWN, Project, copied, environment
from tests.workflow.same_bytes import differing

OTHERWISE = {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "12345", "LC_ALL": "C.UTF-8"}
"""A time zone and set order different from those of the first run, which are this machine's."""
ALONE = ("--cores", "1")


def run_otherwise(project: Project, *words: str) -> None:
    """Run snakemake on one core, in another environment, with files that only their owner reads."""
    done = subprocess.run(
        project.command(*words, *ALONE),
        cwd=project.folder,
        env=environment() | OTHERWISE,
        umask=0o077,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


@pytest.mark.all
def test_a_trial_made_again_on_one_core_has_the_same_bytes(rerun: Project, finished: Project):
    """Training, scoring, judging, measuring, comparing, a table and a figure."""
    results = rerun.folder / "results" / "demo"
    shutil.rmtree(results / "trials" / "titles-r16")
    for path in results.glob("references/*titles*/*"):
        path.unlink()
    made = ("comparisons/headlines.json", "tables/dpo.md", "figures/curves.pdf")
    for name in made:
        (results / name).unlink()
    run_otherwise(rerun, *(f"results/demo/{name}" for name in made), *CUT_DOWN)
    assert (results / "trials/titles-r16/seed-0/adapter/adapter_model.safetensors").is_file()
    assert differing(finished.folder / "results" / "demo", results) == []
    assert os.stat(results / "comparisons/headlines.json").st_mode & 0o777 == 0o600


@pytest.mark.all
def test_a_whole_run_on_one_core_has_the_same_bytes(finished: Project, tmp_path: Path) -> None:
    """From the corpora and the base model on, in a folder of another name."""
    other = copied(tmp_path / "another name")
    run_otherwise(other, *CUT_DOWN)
    first, again = (project.folder / "results" / "demo" for project in (finished, other))
    assert differing(first, again) == []
