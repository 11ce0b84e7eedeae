"""Where provenance is looked for, and what no job needs to say that it made."""

from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import sha256, write_json
from scripts.provenance.chain import jobs_in
from scripts.provenance.record import SCHEMA, SUFFIX
from scripts.provenance.verify import findings

NAMED_SO = ("trials/work/seed-0/train", "trials/snapshot/seed-0/train", "data/snapshot/fetch",
            "data/work/prepare", "models/snapshot/fetch", "models/work/fetch",
            "bases/work/score", "baselines/snapshot/lookup")  # fmt: skip
IN_PROGRESS = ("trials/work/seed-0/work", "trials/a/seed-12/work", "models/snapshot/snapshot",
               "models/a/tokenizer/snapshot", "data/snapshot/snapshot")  # fmt: skip


def record(results: Path, step: str) -> None:
    """Leaves the file that a step made, and the step's provenance beside it."""
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
    """Returns results whose trials, datasets and models have names of folders that are left out."""
    results = tmp_path / "demo"
    for step in NAMED_SO:
        record(results, step)
    for folder in IN_PROGRESS:
        write_json(results / folder / f"other{SUFFIX}", {})
    return results


def test_a_trial_or_a_model_may_be_called_as_a_folder_is_that_is_left_out(results: Path) -> None:
    """Also where the run lies in another's folder."""
    for root in (results, results.parent):
        found = [str(path.relative_to(results)) for path in jobs_in(root)]
        assert sorted(found) == sorted(f"{step}{SUFFIX}" for step in NAMED_SO)


def test_it_verifies_too_and_its_loose_files_are_named(results: Path) -> None:
    found, counts = findings(results)
    assert found == []
    assert counts["jobs"] == len(NAMED_SO)
    (results / "trials" / "work" / "notes.txt").touch()
    assert [kind for kind, _ in findings(results)[0]] == ["no provenance"]
