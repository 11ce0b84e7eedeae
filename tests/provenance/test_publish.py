"""Publishing a run's small files, and checking them before they are read."""

import json
import re
import shutil
from pathlib import Path

import pytest

from scripts.common.cli import BadInput, one_line
from scripts.common.files import read_json, sha256
from scripts.provenance.publish import (
    RUNS,
    check_published,
    lacking,
    named,
    publish,
    published_in,
    read_runs,
    show,
)
from tests.conftest import contents, no_file_grows

FILES = ["bases/a/metrics.json", "trials/b/seed-0/metrics.json"]
OTHER = ["bases/c/metrics.json", FILES[0]]
"""What the reports of a second experiment read; it shares a file with the first."""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the results of a finished run."""
    for file in [*FILES, *OTHER, "trials/b/seed-0/adapter/weights.bin"]:
        (tmp_path / "run" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / file).write_text(f"{file}\n")
    return tmp_path / "run"


@pytest.fixture
def out(run: Path, tmp_path: Path) -> Path:
    """Return the folder in which the run was published."""
    publish({"b": FILES}, run, tmp_path / "kept")
    return tmp_path / "kept"


def tree(folder: Path) -> list[str]:
    return sorted(str(it.relative_to(folder)) for it in folder.rglob("*") if it.is_file())


def test_only_what_reports_read_is_copied(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "kept"
    assert published_in(out) is None
    sizes = publish({"b": FILES}, run, out)
    assert tree(out) == sorted(["manifest.json", *FILES])
    assert sizes == {file: (out / file).stat().st_size for file in FILES}
    digests = {file: sha256(out / file) for file in FILES}
    assert read_json(out / "manifest.json") == {"experiments": {"b": FILES}, "files": digests}
    assert published_in(out) == ["b"]
    check_published({"b": FILES, "c": OTHER}, out)


def test_what_each_unfinished_experiment_lacks_is_named(run: Path) -> None:
    (run / OTHER[0]).unlink()
    experiments = {"b": FILES, "c": OTHER}
    assert lacking(experiments, run, {}) == {"c": [f"{run / OTHER[0]}: missing"]}
    states = {"trials/b/seed-0": "running", "trials/x/seed-0": "failed"}
    assert lacking(experiments, run, states)["b"] == [f"{run}/trials/b/seed-0: running"]


def test_an_experiment_is_added_and_others_stay_as_they_were(run: Path, out: Path) -> None:
    (run / FILES[1]).write_text("of a run in progress")
    publish({"c": OTHER}, run, out)
    assert (out / FILES[1]).read_text() == f"{FILES[1]}\n"
    assert published_in(out) == ["b", "c"]
    check_published({"b": FILES, "c": OTHER}, out)
    # What is shared by both is that of the later copy.
    (run / FILES[0]).write_text("again")
    publish({"c": OTHER}, run, out)
    assert (out / FILES[0]).read_text() == "again"
    check_published({"b": FILES, "c": OTHER}, out)


def record(run: Path, name: str, made: list[str], read: str) -> str:
    """Write the record of a job that made files and read another; return its name."""
    files = {
        key: [{"file": file, "sha256": sha256(run / file)} for file in named]
        for key, named in (("inputs", [read]), ("outputs", made))
    }
    file = f"{Path(made[0]).parent}/{name}.provenance.json"
    content = {"schema": 1, "file": file, "rule": name, "code": {}, "env": {}} | files
    (run / file).write_text(json.dumps(content), encoding="utf-8")
    return file


def test_all_that_a_shared_job_made_again_goes_with_its_record(run: Path, tmp_path: Path) -> None:
    """A trial that another experiment starts from ran again: same weights, other seconds."""
    weights, after = "trials/b/seed-0/adapter/weights.bin", "trials/c/seed-0/metrics.json"
    (run / after).parent.mkdir(parents=True)
    (run / after).write_text("c")
    again = tmp_path / "again"
    shutil.copytree(run, again)
    (again / FILES[1]).write_text("other seconds")
    for folder in (run, again):
        record(folder, "train", [FILES[1], weights], FILES[0])
        record(folder, "score", [after], weights)

    out = tmp_path / "published"
    publish({"b": FILES}, run, out)
    publish({"c": [after]}, again, out)
    assert (out / FILES[1]).read_text() == "other seconds"
    made = read_json(out / "trials/b/seed-0/train.provenance.json")["outputs"][0]
    assert made["sha256"] == sha256(out / FILES[1])
    check_published({"b": FILES, "c": [after]}, out)


def test_publishing_again_deletes_only_its_own_old_files(run: Path, out: Path) -> None:
    (out / "README.md").write_text("kept")
    publish({"b": FILES[1:]}, run, out)
    assert tree(out) == ["README.md", "manifest.json", FILES[1]]


def test_what_would_be_too_large_is_refused_and_the_largest_named(run: Path, out: Path) -> None:
    (run / FILES[1]).write_bytes(bytes(1_200_000))
    (run / OTHER[0]).write_bytes(bytes(900_000))
    publish({"b": FILES}, run, out, most=1.3)
    before = contents(out)
    with pytest.raises(BadInput) as raised:
        publish({"c": OTHER}, run, out, most=1.3)
    assert re.fullmatch(
        rf"{out}: found 2\.1 MB to publish; allowed are 1\.3 \(megabytes in .*runs\.yaml\); "
        r"the largest are metrics\.json 2\.1 MB",
        str(raised.value),
    )
    assert contents(out) == before


def test_each_missing_file_is_named(out: Path) -> None:
    for file in FILES:
        (out / file).unlink()
    with pytest.raises(BadInput) as raised:
        check_published({"b": FILES}, out)
    first, *rest = str(raised.value).splitlines()
    assert first == f"{out}: 2 files are missing (publish the run again)"
    assert rest == [f"{out / file}: missing" for file in FILES]


def test_an_empty_folder_and_another_configuration_are_told(out: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere: no run is published here"):
        check_published({"b": FILES}, tmp_path / "nowhere")
    with pytest.raises(BadInput, match="found experiment b; the configuration has c: publish"):
        check_published({"c": OTHER}, out)


def test_an_edited_or_unpublished_file_is_named(out: Path) -> None:
    (out / FILES[1]).write_text("another number")
    (out / "more.json").write_text("{}")
    with pytest.raises(BadInput, match=r"2 files are not those of manifest\.json") as raised:
        check_published({"b": [*FILES, "more.json"]}, out)
    assert str(raised.value).splitlines()[1:] == [str(out / "more.json"), str(out / FILES[1])]


def test_a_full_disk_names_the_copy_and_not_what_is_copied(run: Path, tmp_path: Path) -> None:
    (run / FILES[1]).write_bytes(bytes(9999))
    with no_file_grows(beyond=999), pytest.raises(OSError, match="too large") as error:
        publish({"b": FILES}, run, tmp_path / "kept")
    assert one_line(error.value).startswith(f"{tmp_path}/kept/{FILES[1]}: File too large; ")
    assert tree(tmp_path / "kept") == [FILES[0]]
    assert published_in(tmp_path / "kept") is None


def test_runs_are_named_with_what_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "paper").mkdir()
    path = Path("paper", "runs.yaml")
    path.write_text("a: {config: [../one.yaml, two.yaml], megabytes: 8, docs: ../docs/a}\n"
                    "b: {config: [../one.yaml], megabytes: 0.5}\n")  # fmt: skip
    runs = read_runs(path)
    assert runs["a"].config == [Path("one.yaml"), Path("paper/two.yaml")]
    assert runs["a"].docs == Path("docs/a")
    assert (runs["b"].megabytes, runs["b"].docs) == (0.5, None)
    assert named([tmp_path / "one.yaml"], runs) == "b"
    assert named([Path("paper/two.yaml"), Path("one.yaml")], runs) is None


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: {config: [x.yaml]}", "runs.yaml:1: a.megabytes: Field required"),
        ("a: {config: [], megabytes: 8}", "runs.yaml:1: a.config: "),
        ("a: {config: [x.yaml], megabytes: 8}\nB b: {}", "runs.yaml:2: B b: "),
        ("a: {config: [x.yaml], megabytes: 8, doc: x}", "runs.yaml:1: a.doc: Extra inputs"),
        ("- a", "runs.yaml:1: "),
    ],
)
def test_what_is_wrong_with_the_runs_is_one_line(tmp_path: Path, text: str, place: str) -> None:
    (tmp_path / "runs.yaml").write_text(text)
    with pytest.raises(BadInput) as raised:
        read_runs(tmp_path / "runs.yaml")
    assert place in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_project_names_its_own_runs() -> None:
    runs = read_runs(RUNS)
    assert [runs["gpu"].config, runs["pilot"].config] == [
        [Path("config.yaml")], [Path("pilot/config.yaml")],
    ]  # fmt: skip
    assert (runs["pilot"].megabytes, runs["pilot"].docs) == (8, Path("docs/pilot"))


def test_docs_hold_the_tables_and_figures_that_are_made_now(tmp_path: Path) -> None:
    report, docs = tmp_path / "report", tmp_path / "docs"
    for name in ("tables/a.md", "tables/a.csv", "figures/b.png", "figures/b.md", "figures/b.pdf"):
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text(name)
    (docs / "tables").mkdir(parents=True)
    (docs / "tables/old.md").write_text("made no longer")
    show(report, docs)
    assert tree(docs) == ["figures/b.md", "figures/b.png", "tables/a.md"]
    assert (docs / "tables/a.md").read_text() == "tables/a.md"
