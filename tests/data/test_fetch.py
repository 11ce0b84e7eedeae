"""Datasets are fetched with their rows unchanged."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, sha256
from scripts.data.fetch import fetch_files, fetch_hub
from tests.conftest import ROOT
from tests.hub.repositories import COMMIT, write_hh_rlhf
from tests.hub.server import Fault, Hub

Start = Callable[..., Hub]


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


def write_table(root: Path, name: str, rows: dict[str, list[str]]) -> Path:
    """Write a dataset repository of one column in Parquet."""
    folder = root / "datasets" / name
    (folder / "data").mkdir(parents=True)
    for split, values in rows.items():
        pq.write_table(pa.table({"q": values}), folder / f"data/{split}-00000-of-00001.parquet")
    return folder


def test_a_hub_repository_is_read_and_recorded(tmp_path: Path, loopback: Start) -> None:
    """Splits come from the files' names. The folder's name holds characters of patterns."""
    folder = write_table(tmp_path / "hub", "owner/name", {"train": ["1", "2"], "test": ["3"]})
    loopback(tmp_path / "hub", commits={"owner/name": COMMIT})
    table, record = fetch_hub("owner/name", "main", None, tmp_path / "a [b] {c} *")
    assert table.to_pylist() == [
        {"q": "1", "_split": "train"},
        {"q": "2", "_split": "train"},
        {"q": "3", "_split": "test"},
    ]
    files = ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]
    assert record == {
        "source": "hub",
        "repository": "owner/name",
        "commit": COMMIT,
        "name": None,
        "files": [
            {
                "name": name,
                "bytes": (folder / name).stat().st_size,
                "sha256": sha256(folder / name),
            }
            for name in files
        ],
        "rows": {"train": 2, "test": 1},
    }


def test_an_unknown_configuration_is_one_line(tmp_path: Path, loopback: Start) -> None:
    write_table(tmp_path / "hub", "owner/name", {"train": ["1"]})
    loopback(tmp_path / "hub")
    with pytest.raises(BadInput, match=r"dataset owner/name: .*none"):
        fetch_hub("owner/name", "main", "none", tmp_path / "got")


@pytest.mark.parametrize(
    ("name", "content"), [("train.jsonl", b"{"), ("train.parquet", b"no"), ("a.md", b"text")]
)
def test_a_repository_that_cannot_be_read_is_one_line(
    tmp_path: Path, loopback: Start, name: str, content: bytes
) -> None:
    folder = tmp_path / "hub" / "datasets" / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(content)
    loopback(tmp_path / "hub")
    with pytest.raises(BadInput, match=r"^dataset owner/name: .+$"):
        fetch_hub("owner/name", "main", None, tmp_path / "got")


PARTS = ["harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"]


def test_pairs_of_the_shape_of_hh_rlhf(tmp_path: Path, loopback: Start) -> None:
    """On the command line, as the rule does it; `datasets` itself loads the same rows by name.

    Reading sends the hub no further requests: it got one for the listing and one for each file.
    """
    folder = write_hh_rlhf(tmp_path / "hub")
    hub = loopback(tmp_path / "hub", commits={"owner/hh-rlhf": COMMIT})
    environment = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    source = {"hub": "owner/hh-rlhf", "revision": COMMIT, "name": None}
    out = tmp_path / "data"
    done = subprocess.run(
        [sys.executable, "-m", "scripts.data.fetch", "--source", json.dumps(source),
         "--rows", str(out / "raw.parquet"), "--record", str(out / "raw.json")],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    assert hub.sent() == sorted(files)
    listing = f"/api/datasets/owner/hh-rlhf/revision/{COMMIT}"
    assert [r.path for r in hub.requests if "/resolve/" not in r.path] == [listing]

    rows = read_rows(out / "raw.parquet")
    assert [set(row) for row in rows] == [{"chosen", "rejected", "_split"}] * len(rows)
    assert [(row["_split"], row["chosen"].split()[1:4]) for row in rows] == [
        (split, [part, split, str(number)])
        for split, count in [("train", 3), ("test", 2)]
        for part in PARTS
        for number in range(count)
    ]
    assert {row["rejected"] for row in rows} == {
        "\n\nHuman: hi", "", "\n\nAssistant: \u2028\u0085 ¿né? 好 \\u0000",
    }  # fmt: skip
    assert read_json(out / "raw.json")["rows"] == {"train": 12, "test": 8}

    code = (
        "import json, datasets\n"
        f"splits = datasets.load_dataset('owner/hh-rlhf', revision='{COMMIT}')\n"
        "print(json.dumps([{**row, '_split': s} for s, rows in splits.items() for row in rows]))"
    )
    by_name = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert rows == json.loads(by_name.stdout)


def test_a_file_that_fails_is_one_line(tmp_path: Path, loopback: Start) -> None:
    write_hh_rlhf(tmp_path / "hub")
    fault = Fault("*/helpful-base/train.jsonl.gz", body=b"x")
    loopback(tmp_path / "hub", commits={"owner/hh-rlhf": COMMIT}, faults=[fault])
    where = f"dataset owner/hh-rlhf@{COMMIT}: helpful-base/train.jsonl.gz"
    with pytest.raises(BadInput, match=f"^{where}: found sha256 2d711642b7[0-9a-f]*, expected "):
        fetch_hub("owner/hh-rlhf", COMMIT, None, tmp_path / "got")


@pytest.mark.parametrize(
    ("repository", "revision", "name", "rows", "columns"),
    [
        ("EliasHossain/youtube-titles-dpo", "main", None,
         {"train": 1026, "valid": 114}, ["prompt", "chosen", "rejected"]),
        ("qwedsacf/grade-school-math-instructions", "main", None,
         {"train": 8792}, ["INSTRUCTION", "RESPONSE", "SOURCE"]),
        ("openai/gsm8k", "e53f048856ff4f594e959d75785d2c2d37b678ee", "main",
         {"train": 7473, "test": 1319}, ["question", "answer"]),
    ],
)  # fmt: skip
def test_the_real_datasets(
    hub: Path, tmp_path: Path, loopback: Start,
    repository: str, revision: str, name: str | None, rows: dict[str, int], columns: list[str],
) -> None:  # fmt: skip
    """Their rows are those of the files, in the same order."""
    commits = {} if revision == "main" else {repository: revision}
    loopback(hub, commits=commits)
    table, record = fetch_hub(repository, revision, name, tmp_path)
    assert record["rows"] == rows
    assert set(table.column_names) == {*columns, "_split"}
    assert revision in ("main", record["commit"])
    for split in rows:
        (file,) = (hub / "datasets" / repository).rglob(f"{split}-*.parquet")
        found = table.filter(pa.compute.equal(table["_split"], split)).drop_columns("_split")
        assert found.to_pylist() == pq.read_table(file).to_pylist()
