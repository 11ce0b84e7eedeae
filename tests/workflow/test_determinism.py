"""The same trials, seeds and machine give the same bytes, however the run was made."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.workflow.conftest import CUT_DOWN, Project, copied, environment

MEASURED_TIMES = (
    "trials/*/seed-*/train.json",
    "trials/*/seed-*/score.json",
    "bases/*/score.json",
    "references/*/*.json",
)
"""Files that say how long something took."""
MADE_OF_TIMES = (
    "tables/cost.*",
    "tables/seeds.*",
    "tables/sft.*",
    "figures/quality.*",
    "report.html",
)
"""What shows a time."""
PROVENANCE = ("**/*provenance.json",)
OTHERWISE = {"TZ": "Asia/Kathmandu", "PYTHONHASHSEED": "12345", "LC_ALL": "C.UTF-8"}
"""Another time zone, another order of sets; the other run has this machine's."""
ALONE = ("--cores", "1")


def run_otherwise(project: Project, *words: str) -> None:
    """Runs snakemake on one core, in another environment and with files for their owner alone."""
    done = subprocess.run(
        project.command(*words, *ALONE),
        cwd=project.folder,
        env=environment() | OTHERWISE,
        umask=0o077,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]


def digests(results: Path, *left_out: str) -> dict[str, str]:
    """Returns by path the digest of every file but those that match a pattern."""
    ignored = {path for pattern in left_out for path in results.glob(pattern)}
    return {
        str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file() and path not in ignored
    }


def differing(one: dict[str, str], other: dict[str, str]) -> list[str]:
    """Returns the paths that are not the same in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


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
    again = digests(results, *MEASURED_TIMES, *PROVENANCE, *MADE_OF_TIMES)
    first = digests(
        finished.folder / "results" / "demo", *MEASURED_TIMES, *PROVENANCE, *MADE_OF_TIMES
    )
    assert any(name.startswith("trials/titles-r16/seed-0/adapter/") for name in again)
    assert differing(first, again) == []
    assert os.stat(results / "comparisons/headlines.json").st_mode & 0o777 == 0o600


@pytest.mark.all
def test_a_whole_run_on_one_core_has_the_same_bytes(finished: Project, tmp_path: Path) -> None:
    """From the corpora on, the base model included, and in a folder of another name."""
    other = copied(tmp_path / "another name")
    run_otherwise(other, *CUT_DOWN)
    first, again = (
        digests(project.folder / "results" / "demo", *PROVENANCE) for project in (finished, other)
    )
    times = {
        str(path.relative_to(root))
        for root in [finished.folder / "results" / "demo"]
        for pattern in (*MEASURED_TIMES, *MADE_OF_TIMES)
        for path in root.glob(pattern)
    }
    assert set(differing(first, again)) <= times
