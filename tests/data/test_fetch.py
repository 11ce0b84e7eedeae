"""Sources are read as they are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.common.cli import BadInput
from scripts.data import fetch
from scripts.data.fetch import fetch_files, fetch_hub


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


def test_columns_of_later_rows_and_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"q": "1"}\n{"q": "2", "a": "x"}\n', encoding="utf-8")
    table, _ = fetch_files({"train": f"{tmp_path}/a.jsonl"})
    assert [row["a"] for row in table.to_pylist()] == [None, "x"]
    (tmp_path / "b.csv").write_text("\ufeffq,a\n1,2\n", encoding="utf-8")
    table, _ = fetch_files({"train": f"{tmp_path}/b.csv"})
    assert table.column_names == ["q", "a", "_split"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.csv: no such file"):
        fetch_files({"train": str(tmp_path / "none.csv")})


def test_a_hub_repository_is_read_as_the_library_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The download is stood in for by a folder; splits come from the files' names."""
    (tmp_path / "data").mkdir()
    for split, rows in {"train": ["1", "2"], "test": ["3"]}.items():
        pq.write_table(pa.table({"q": rows}), tmp_path / f"data/{split}-00000-of-00001.parquet")
    monkeypatch.setattr(fetch, "download", lambda *_: (tmp_path, "c" * 40))
    table, record = fetch_hub("owner/name", "main", None)
    assert table.to_pylist() == [
        {"q": "1", "_split": "train"},
        {"q": "2", "_split": "train"},
        {"q": "3", "_split": "test"},
    ]
    assert record["commit"] == "c" * 40
    assert record["rows"] == {"train": 2, "test": 1}
    assert [file["name"][:9] for file in record["files"]] == ["data/test", "data/trai"]


def test_an_unknown_configuration_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(pa.table({"q": ["1"]}), tmp_path / "train.parquet")
    monkeypatch.setattr(fetch, "download", lambda *_: (tmp_path, "c" * 40))
    with pytest.raises(BadInput, match=r"dataset owner/name: .*none"):
        fetch_hub("owner/name", "main", "none")


def test_the_real_gsm8k(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hub / "datasets" / "openai" / "gsm8k"
    monkeypatch.setattr(fetch, "download", lambda *_: (folder, "c" * 40))
    table, record = fetch_hub("openai/gsm8k", "main", None)
    assert record["rows"] == {"train": 7473, "test": 1319}
    assert table.column_names == ["question", "answer", "_split"]
