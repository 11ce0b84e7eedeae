"""Files are written whole or not at all, and an error names the file that is written."""

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from scripts.common import folders
from scripts.common.cli import BadInput, one_line
from scripts.common.files import (
    read_json,
    read_jsonl,
    read_rows,
    sha256,
    write_json,
    write_jsonl,
    write_rows,
    write_text,
    written_whole,
)
from tests.conftest import contents, no_file_grows


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old", encoding="utf-8")

    def fail() -> None:
        with written_whole(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_json_and_jsonl_round_trip(tmp_path: Path) -> None:
    rows = [{"a": "ü", "b": 1.5}, {"a": None, "b": []}]
    write_json(tmp_path / "deep" / "a.json", rows)
    write_jsonl(tmp_path / "a.jsonl", rows)
    assert read_json(tmp_path / "deep" / "a.json") == rows == read_jsonl(tmp_path / "a.jsonl")


def test_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_empty_rows_keep_their_types_and_bytes_repeat(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("ids", pa.list_(pa.int32()))])
    write_rows(tmp_path / "a.parquet", [], schema)
    assert pa.parquet.read_schema(tmp_path / "a.parquet").equals(schema)
    rows = [{"id": "x", "ids": [1, 2]}]
    write_rows(tmp_path / "b.parquet", rows, schema)
    write_rows(tmp_path / "c.parquet", rows, schema)
    assert read_rows(tmp_path / "b.parquet") == rows
    assert sha256(tmp_path / "b.parquet") == sha256(tmp_path / "c.parquet")


LONG = os.urandom(40_000).hex()


def copy(path: Path, source: Path) -> None:
    with written_whole(path) as temporary:
        shutil.copyfile(source, temporary)


WRITERS: dict[str, Callable[[Path, Path], None]] = {
    "text": lambda path, _: write_text(path, LONG),
    "json": lambda path, _: write_json(path, [LONG]),
    "jsonl": lambda path, _: write_jsonl(path, [{"a": LONG}]),
    "parquet": lambda path, _: write_rows(path, [{"a": LONG}], pa.schema([("a", pa.string())])),
    "copy": copy,
}
each_writer = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@each_writer
def test_a_full_disk_is_named_with_the_file_and_leaves_the_old_one(
    tmp_path: Path, write: Callable[[Path, Path], None]
) -> None:
    source, path = tmp_path / "source", tmp_path / "folder" / "a"
    path.parent.mkdir()
    source.write_text(LONG, encoding="utf-8")
    path.write_text("old", encoding="utf-8")
    with no_file_grows(beyond=4096), pytest.raises(OSError, match="too large") as error:
        write(path, source)
    assert one_line(error.value).startswith(f"{path}: ")
    assert one_line(error.value).endswith("ile too large; make room on this disk, and run it again")
    assert contents(path.parent) == {"a": b"old"}


@each_writer
def test_a_disk_that_is_really_full(tmp_path: Path, write: Callable[[Path, Path], None]) -> None:
    """A file system of its own."""
    disk, source = tmp_path / "disk", tmp_path / "source"
    disk.mkdir()
    source.write_text(LONG, encoding="utf-8")
    made = ["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)]
    mounted = subprocess.run(made, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted: {mounted.stderr.strip()}")
    try:
        (disk / "a").write_text("old", encoding="utf-8")
        with pytest.raises(OSError, match="No space left on device") as error:
            write(disk / "a", source)
        assert one_line(error.value).startswith(f"{disk}/a: ")
        assert contents(disk) == {"a": b"old"}
        assert folders.unwritable(disk / "b") is None
        # A page for the file, and all others for this one.
        with pytest.raises(OSError, match="No space"):
            (disk / "filler").write_bytes(bytes(40_000))
        assert folders.unwritable(disk / "b") == f"{disk}: No space left on device"
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        said = f"{disk}: no file can be written here: read-only, or another user's"
        assert folders.unwritable(disk / "b" / "c") == said
        with pytest.raises(OSError, match="Read-only") as error:
            write(disk / "a", source)
        assert one_line(error.value).startswith(f"{disk}/a: Read-only file system; name a place")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_read_only_disk_is_named_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(dir: Path, prefix: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), f"{dir}/{prefix}x7z")

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    with pytest.raises(OSError, match="Read-only") as error:
        write_text(tmp_path / "a.txt", "")
    assert one_line(error.value).startswith(f"{tmp_path}/a.txt: Read-only file system; name a")


def test_a_folder_in_a_files_place_and_a_file_in_a_folders(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    with pytest.raises(OSError, match="directory") as error:
        write_text(tmp_path / "a", "")
    assert one_line(error.value).startswith(f"{tmp_path}/a: Is a directory; a file is needed")
    (tmp_path / "file").write_text("old", encoding="utf-8")
    for place in ("file/a", "file/a/b"):
        with pytest.raises(BadInput) as refused:
            write_text(tmp_path / place, "")
        said = f"{tmp_path}/file: a file where a folder must be; move it away"
        assert str(refused.value) == said
    assert contents(tmp_path) == {"file": b"old"}
