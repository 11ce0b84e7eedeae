"""Sources are read as they are."""

from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.data.fetch import fetch_files


def test_strings_that_look_like_numbers_or_dates_stay_strings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,a\n2020-01-01,012\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"q": "2021-01-01", "a": "7"}\n\n', encoding="utf-8")
    table, record = fetch_files({"train": f"{tmp_path}/a.csv", "test": f"{tmp_path}/b.jsonl"})
    assert table.to_pylist() == [
        {"q": "2020-01-01", "a": "012", "_split": "train"},
        {"q": "2021-01-01", "a": "7", "_split": "test"},
    ]
    assert record["rows"] == {"train": 1, "test": 1}
    assert [file["name"] for file in record["files"]] == ["a.csv", "b.jsonl"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "{"),
        ("a.jsonl", "[1]"),
        ("a.parquet", "no"),
        ("a.jsonl", '{"a": 1}\n{"a": "b"}'),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=f"{name}: not readable as"):
        fetch_files({"train": str(tmp_path / name)})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.csv: no such file"):
        fetch_files({"train": str(tmp_path / "none.csv")})
