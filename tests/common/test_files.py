"""Files are written whole or not at all."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from scripts.common.files import (
    read_json,
    read_jsonl,
    read_rows,
    sha256,
    write_json,
    write_jsonl,
    write_rows,
    written_whole,
)


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
