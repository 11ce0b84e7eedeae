"""Publishing a run's small files, and checking them where they are read again."""

import json
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256
from scripts.provenance import check_published, publish

FILES = ["bases/a/metrics.json", "trials/b/seed-0/metrics.json"]


def finished(folder: Path) -> Path:
    for file in [*FILES, "trials/b/seed-0/adapter/weights.bin"]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"{file}\n")
    return folder


def arguments(tmp_path: Path, root: Path, files: list[str] = FILES) -> list[str]:
    (tmp_path / "files.json").write_text(json.dumps(files))
    return ["--files", str(tmp_path / "files.json"), "--root", str(root)]


def published(tmp_path: Path, files: list[str] = FILES) -> Path:
    root, out = tmp_path / "run", tmp_path / "kept"
    assert publish.main([*arguments(tmp_path, root, files), "--out", str(out)]) == 0
    return out


def tree(folder: Path) -> list[str]:
    return sorted(str(it.relative_to(folder)) for it in folder.rglob("*") if it.is_file())


def test_what_reports_read_is_copied_and_nothing_else(tmp_path, capsys):
    finished(tmp_path / "run")
    out = published(tmp_path)
    assert tree(out) == ["bases/a/metrics.json", "manifest.json", "trials/b/seed-0/metrics.json"]
    assert read_json(out / "manifest.json") == {file: sha256(out / file) for file in FILES}
    sizes = [len(f"{file}\n") for file in FILES]
    assert capsys.readouterr().out.splitlines() == [
        *(f"{size:>12}  {file}" for size, file in zip(sizes, FILES, strict=True)),
        f"{sum(sizes):>12}  bytes in 2 files, now in {out}",
    ]


def test_comparisons_are_published_where_there_are_any(tmp_path):
    root = finished(tmp_path / "run")
    (root / "comparisons").mkdir()
    (root / "comparisons" / "tutor.json").write_text("{}")
    assert "comparisons/tutor.json" in read_json(published(tmp_path) / "manifest.json")


def test_an_unfinished_run_is_refused_and_each_missing_file_named(tmp_path):
    root = tmp_path / "run"
    (root / "trials").mkdir(parents=True)
    with pytest.raises(BadInput) as raised:
        published(tmp_path)
    assert str(raised.value).splitlines() == [
        f"{root}: the run is not finished; 2 files are missing",
        *(str(root / file) for file in FILES),
    ]
    assert not (tmp_path / "kept").exists()


def test_publishing_again_takes_away_what_is_no_longer_read_and_nothing_of_others(tmp_path):
    finished(tmp_path / "run")
    out = published(tmp_path)
    (out / "README.md").write_text("kept")
    published(tmp_path, FILES[1:])
    assert tree(out) == ["README.md", "manifest.json", "trials/b/seed-0/metrics.json"]


def test_what_was_published_passes(tmp_path):
    finished(tmp_path / "run")
    out = published(tmp_path)
    assert check_published.main(arguments(tmp_path, out)) == 0


def test_each_missing_file_is_named(tmp_path):
    with pytest.raises(BadInput) as raised:
        check_published.main(arguments(tmp_path, tmp_path / "nowhere"))
    first, *rest = str(raised.value).splitlines()
    assert "3 files are missing" in first
    assert rest == [str(tmp_path / "nowhere" / file) for file in [*FILES, "manifest.json"]]


def test_a_file_that_was_edited_is_named(tmp_path):
    finished(tmp_path / "run")
    out = published(tmp_path)
    (out / FILES[1]).write_text("another number")
    with pytest.raises(BadInput) as raised:
        check_published.main(arguments(tmp_path, out))
    assert str(raised.value).splitlines()[1:] == [str(out / FILES[1])]


def test_a_file_that_reports_read_and_nobody_published_is_named(tmp_path):
    root = finished(tmp_path / "run")
    out = published(tmp_path, FILES[:1])
    (out / FILES[1]).parent.mkdir(parents=True)
    (out / FILES[1]).write_bytes((root / FILES[1]).read_bytes())
    with pytest.raises(BadInput, match=r"are not those of manifest\.json"):
        check_published.main(arguments(tmp_path, out))
