"""Jobs whose packages differ from their env's lock are marked below tables and on the page."""

from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import write_json
from scripts.provenance import record as provenance
from scripts.report.drift import drift_notes
from scripts.report.page.trials import groups_of
from scripts.report.results import Results as Read
from scripts.report.tables import dpo
from tests.report.conftest import Results, preferred

DRIFT = ["torch: 2.13.0 is locked, 2.12.0 is installed"]


def record(root: Path, step: str, outputs: list[str], **more: Any) -> None:
    """Write the part of a job's provenance that reports read."""
    content = {
        "schema": provenance.SCHEMA,
        "file": f"{step}.provenance.json",
        "rule": Path(step).name,
        "inputs": [],
        "outputs": [{"file": file, "sha256": "0"} for file in outputs],
        "git": {"commit": "abc", "dirty": False, "changed": []},
        "code": {"module": "scripts/train/dpo.py", "digest": "c0de", "edited": []},
        "env": {"form": "train.cpu", "digest": "e4f", "drift": []},
        "drift_behind": [],
    }
    write_json(root / f"{step}.provenance.json", content | more)


@pytest.fixture
def made(tmp_path: Path) -> Results:
    """Return two preference trials with one seed each, with provenance without drift."""
    provenance.forget()
    made = Results(tmp_path)
    for name in ("dpo-1", "dpo-2"):
        made.trial(name, "dpo", preferred())
        folder = f"trials/{name}/seed-0"
        record(tmp_path, f"trials/{name}/aggregate", [f"trials/{name}/metrics.json"])
        record(tmp_path, f"{folder}/measure", [f"{folder}/metrics.json"])
        record(tmp_path, f"{folder}/train", [f"{folder}/train.json"])
    return made


def test_nothing_is_said_where_nothing_drifted(made: Results) -> None:
    assert drift_notes(Read(made.root, made.plan)) == []
    (group,) = groups_of(Read(made.root, made.plan))
    assert "env drift" not in group.trials[0].made_with


def test_nothing_is_said_where_there_is_no_provenance(made: Results) -> None:
    for path in made.root.rglob("*.provenance.json"):
        path.unlink()
    assert drift_notes(Read(made.root, made.plan)) == []
    (group,) = groups_of(Read(made.root, made.plan))
    assert "commit" not in group.trials[0].made_with


def test_a_table_names_the_rows_and_the_jobs_behind_them(made: Results, tmp_path: Path) -> None:
    behind = ["trials/dpo-2/seed-0/train.provenance.json"]
    record(made.root, "trials/dpo-2/aggregate", ["trials/dpo-2/metrics.json"], drift_behind=behind)
    out = tmp_path / "dpo"
    forms = {form: out.with_suffix(f".{form}") for form in ("csv", "md", "tex")}
    assert dpo.main(made.arguments(*forms.values())) == 0
    note = (
        "Env drift: jobs behind these rows ran with other packages than their env's lock names "
        "(allow_env_drift), as their provenance says: dpo-2 (trials/dpo-2/seed-0/train)."
    )
    notes = forms["md"].read_text(encoding="utf-8").replace("\\_", "_").splitlines()
    assert f"- {note}" in notes
    assert "Env drift" in forms["tex"].read_text(encoding="utf-8")


def test_the_page_says_commit_code_env_and_drift_of_each_trial(made: Results) -> None:
    folder = "trials/dpo-2/seed-0"
    record(
        made.root, f"{folder}/train", [f"{folder}/train.json"],
        git={"commit": "abc", "dirty": True, "changed": ["scripts/train/dpo.py"]},
        env={"form": "train.cpu", "digest": "e4f", "drift": DRIFT},
    )  # fmt: skip
    (group,) = groups_of(Read(made.root, made.plan))
    first, second = (trial.made_with for trial in group.trials)
    assert (first["commit"], first["code"], first["env"]) == ("abc", "c0de", "train.cpu e4f")
    assert not {"uncommitted changes", "env drift", "edited while it ran"} & first.keys()
    assert second["uncommitted changes"] == "scripts/train/dpo.py"
    assert second["env drift"] == DRIFT[0]
