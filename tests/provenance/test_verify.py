"""Where records are looked for, and which files need none."""

from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import sha256, write_json
from scripts.provenance.record import SCHEMA, SUFFIX, read_job, records_in
from scripts.provenance.verify import findings

STEPS = ("trials/work/seed-0/train", "trials/snapshot/seed-0/train", "data/snapshot/fetch",
         "data/work/prepare", "models/snapshot/fetch", "models/work/fetch",
         "bases/work/score", "baselines/snapshot/lookup")  # fmt: skip
"""Of trials, datasets and models whose names are those of folders that hold no records."""
WITHOUT = ("trials/work/seed-0/work", "trials/a/seed-12/work", "models/snapshot/snapshot",
           "models/a/tokenizer/snapshot", "data/snapshot/snapshot")  # fmt: skip


def record(results: Path, step: str) -> None:
    """Write the file that a step makes, and its record."""
    made = results / f"{step}.json"
    write_json(made, {})
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "file": f"{step}{SUFFIX}",
        "rule": Path(step).name,
        "inputs": [],
        "outputs": [{"file": f"{step}.json", "sha256": sha256(made), "bytes": 2}],
        "code": {"edited": []},
        "git": None,
        "env": {"drift": []},
    }
    write_json(results / f"{step}{SUFFIX}", content)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return results with a record for each step."""
    results = tmp_path / "demo"
    for step in STEPS:
        record(results, step)
    for folder in WITHOUT:
        write_json(results / folder / f"other{SUFFIX}", {})
    return results


def test_a_trial_may_have_the_name_of_a_folder_without_records(results: Path) -> None:
    """Also if the run lies in the folder of another one."""
    for root in (results, results.parent):
        found = [str(path.relative_to(results)) for path in records_in(root)]
        assert sorted(found) == sorted(f"{step}{SUFFIX}" for step in STEPS)


def test_such_a_run_verifies_and_files_without_a_job_are_named(results: Path) -> None:
    found, counts = findings(results)
    assert found == []
    assert counts["jobs"] == len(STEPS)
    (results / "trials" / "work" / "notes.txt").touch()
    assert [kind for kind, _ in findings(results)[0]] == ["no provenance"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schema": 0}, "found schema 0, allowed is 1"),
        ([], "found schema None, allowed is 1"),
        ({"schema": SCHEMA, "file": f"b{SUFFIX}"}, "it says that it lies at b"),
    ],
)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / f"a{SUFFIX}"
    write_json(path, content)
    with pytest.raises(BadInput, match=message):
        read_job(path)
