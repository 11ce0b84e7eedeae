"""Publishing a run's small files, and checking them before they are read."""

from pathlib import Path

import pytest

from scripts.common.cli import BadInput, one_line
from scripts.common.files import read_json, sha256
from scripts.provenance.publish import check_published, publish
from tests.conftest import no_file_grows

FILES = ["bases/a/metrics.json", "trials/b/seed-0/metrics.json"]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the results of a finished run."""
    for file in [*FILES, "trials/b/seed-0/adapter/weights.bin"]:
        (tmp_path / "run" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "run" / file).write_text(f"{file}\n")
    return tmp_path / "run"


@pytest.fixture
def out(run: Path, tmp_path: Path) -> Path:
    """Return the folder in which the run was published."""
    publish(FILES, run, tmp_path / "kept")
    return tmp_path / "kept"


def tree(folder: Path) -> list[str]:
    return sorted(str(it.relative_to(folder)) for it in folder.rglob("*") if it.is_file())


def test_only_what_reports_read_is_copied(run: Path, tmp_path: Path) -> None:
    (run / "comparisons").mkdir()
    (run / "comparisons" / "tutor.json").write_text("{}")
    out = tmp_path / "kept"
    sizes = publish(FILES, run, out)
    assert tree(out) == sorted(["comparisons/tutor.json", "manifest.json", *FILES])
    assert sizes == {file: (out / file).stat().st_size for file in sizes}
    assert read_json(out / "manifest.json") == {file: sha256(out / file) for file in sizes}
    check_published(FILES, out)


def test_each_file_that_an_unfinished_run_lacks_is_named(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(BadInput) as raised:
        publish(FILES, run, tmp_path / "kept")
    assert str(raised.value).splitlines() == [
        f"{run}: the run is not finished; 2 files are missing",
        *(str(run / file) for file in FILES),
    ]
    assert not (tmp_path / "kept").exists()


def test_publishing_again_deletes_only_its_own_old_files(run: Path, out: Path) -> None:
    (out / "README.md").write_text("kept")
    publish(FILES[1:], run, out)
    assert tree(out) == ["README.md", "manifest.json", FILES[1]]


def test_each_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as raised:
        check_published(FILES, tmp_path / "nowhere")
    first, *rest = str(raised.value).splitlines()
    assert "3 files are missing" in first
    assert rest == [str(tmp_path / "nowhere" / file) for file in [*FILES, "manifest.json"]]


def test_an_edited_or_unpublished_file_is_named(out: Path) -> None:
    (out / FILES[1]).write_text("another number")
    (out / "more.json").write_text("{}")
    with pytest.raises(BadInput, match=r"2 files are not those of manifest\.json") as raised:
        check_published([*FILES, "more.json"], out)
    assert str(raised.value).splitlines()[1:] == [str(out / "more.json"), str(out / FILES[1])]


def test_a_full_disk_names_the_copy_and_not_what_is_copied(run: Path, tmp_path: Path) -> None:
    (run / FILES[1]).write_bytes(bytes(9999))
    with no_file_grows(beyond=999), pytest.raises(OSError, match="too large") as error:
        publish(FILES, run, tmp_path / "kept")
    assert one_line(error.value).startswith(f"{tmp_path}/kept/{FILES[1]}: File too large; ")
    assert tree(tmp_path / "kept") == [FILES[0]]
    with pytest.raises(BadInput, match=r"manifest\.json"):
        check_published(FILES, tmp_path / "kept")
