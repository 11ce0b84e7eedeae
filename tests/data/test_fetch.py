"""Datasets are fetched with their rows unchanged."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, sha256
from scripts.data import fetch
from scripts.data.fetch import Columns, fetch_files, fetch_hub
from tests.conftest import ROOT
from tests.hub.repositories import COMMIT, write_hh_rlhf
from tests.hub.server import Fault, Hub

Start = Callable[..., Hub]


TEXTS: Columns = {"q": "text", "a": "text"}


def test_strings_that_look_like_numbers_or_dates_stay_strings(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,a\n2020-01-01,012\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"q": "2021-01-01", "a": "7"}\n\n', encoding="utf-8")
    files = {"train": f"{tmp_path}/a.csv", "test": f"{tmp_path}/b.jsonl"}
    table, record = fetch_files(files, TEXTS)
    assert table.to_pylist() == [
        {"q": "2020-01-01", "a": "012", "_split": "train"},
        {"q": "2021-01-01", "a": "7", "_split": "test"},
    ]
    assert record["rows"] == {"train": 1, "test": 1}
    assert [file["name"] for file in record["files"]] == ["a.csv", "b.jsonl"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.csv: no such file"):
        fetch_files({"train": str(tmp_path / "none.csv")}, TEXTS)


def test_an_error_names_file_row_and_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "1", "a": "x"}\n\n{"q": "2", "a": 3}\n', encoding="utf-8")
    with pytest.raises(
        BadInput, match=rf"^{path}: line 3: column a: found a number, 3; allowed: t"
    ):
        fetch_files({"train": str(path)}, TEXTS)


def test_a_column_that_no_file_has_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": "1", "b": 3}\n', encoding="utf-8")
    with pytest.raises(BadInput, match=rf"^{path}: no column a; it has: q, b$"):
        fetch_files({"train": str(path)}, TEXTS)


def test_a_file_without_a_column(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n{}\n", encoding="utf-8")
    with pytest.raises(BadInput, match=rf"^{path}: no column q; it has: none$"):
        fetch_files({"train": str(path)}, TEXTS)


def test_a_column_of_nothing_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"q": null, "a": "1"}\n', encoding="utf-8")
    table, _ = fetch_files({"train": str(path)}, TEXTS)
    assert table.schema.types == [pa.string()] * 3
    assert table.to_pylist() == [{"q": None, "a": "1", "_split": "train"}]


def options(folder: Path, source: dict[str, object]) -> dict[str, str]:
    """Return the options of the command line that fetches into a folder."""
    return {
        "--source": json.dumps(source),
        "--columns": json.dumps(TEXTS),
        "--rows": str(folder / "raw.parquet"),
        "--record": str(folder / "raw.json"),
    }


def test_command_line_of_a_file_and_of_a_repository(tmp_path: Path, loopback: Start) -> None:
    hub = repository(tmp_path, train_csv="q,a\n1,2\n")
    loopback(hub)
    path = hub / "datasets" / "owner" / "name" / "train.csv"
    sources = {
        "file": {"file": {"train": str(path)}},
        "hub": {"hub": "owner/name", "revision": "main", "name": None},
    }
    for kind, source in sources.items():
        given = options(tmp_path / kind, source)
        assert fetch.main([part for option in given.items() for part in option]) == 0
        rows = read_rows(tmp_path / kind / "raw.parquet")
        assert rows == [{"q": "1", "a": "2", "_split": "train"}]
        record = read_json(tmp_path / kind / "raw.json")
        assert (record["source"], record["rows"]) == (kind, {"train": 1})
    assert list((tmp_path / "hub" / "snapshot").rglob("train.csv"))


@pytest.mark.parametrize("left_out", ["--source", "--columns", "--rows", "--record"])
def test_command_line_needs_all_of_its_options(tmp_path: Path, left_out: str) -> None:
    given = options(tmp_path, {"file": {}})
    del given[left_out]
    with pytest.raises(SystemExit) as exit:
        fetch.main([part for option in given.items() for part in option])
    assert exit.value.code == 2


def test_a_name_of_two_lines_is_told_in_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('q,"two\nlines"\n1,2\n', encoding="utf-8")
    with pytest.raises(BadInput, match=rf'^{path}: no column a; it has: q, "two\\nlines"$'):
        fetch_files({"train": str(path)}, TEXTS)


def test_a_column_that_one_file_lacks_is_named(tmp_path: Path) -> None:
    whole, lacks = tmp_path / "a.jsonl", tmp_path / "b.csv"
    whole.write_text('{"q": "1", "a": "2"}\n', encoding="utf-8")
    lacks.write_text("q,b\n1,2\n", encoding="utf-8")
    with pytest.raises(BadInput, match=rf"^{lacks}: no column a; it has: q, b$"):
        fetch_files({"train": str(whole), "test": str(lacks)}, TEXTS)


def test_files_of_unlike_types_are_one_table(tmp_path: Path) -> None:
    """Whatever type of string a Parquet file has; what is not asked for is not read."""
    large = pa.table({"q": pa.array(["1"], pa.large_string()), "a": ["x"], "n": [1]})
    coded = pa.table({"q": pa.array(["2"]).dictionary_encode(), "a": ["y"], "n": [b"1"]})
    views = pa.table({"a": ["z"], "q": pa.array(["3"], pa.string_view()), "_split": ["mine"]})
    for name, table in {"one": large, "two": coded, "three": views}.items():
        pq.write_table(table, tmp_path / f"{name}.parquet")
    (tmp_path / "four.jsonl").write_text('{"q": "4", "a": null, "n": 18446744073709551616}')
    files = {path.stem: str(path) for path in sorted(tmp_path.iterdir())}
    table, _ = fetch_files(files, TEXTS)
    assert table.schema == pa.schema({"q": pa.string(), "a": pa.string(), "_split": pa.string()})
    assert sorted(table["q"].to_pylist()) == ["1", "2", "3", "4"]


def test_lists_keep_their_own_keys(tmp_path: Path) -> None:
    """Types, too; and a list that is JSON text already is one."""
    lists = [[{"role": "user", "content": "ä"}], [{"role": "tool", "name": 2**70}], [3], []]
    rows = [{"q": value} for value in (*lists, '[{"role": "user"}]', None)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    table, _ = fetch_files({"train": f"{tmp_path}/a.jsonl"}, {"q": "lists"})
    *kept, last = table["q"].to_pylist()
    assert list(map(json.loads, kept)) == [*lists, [{"role": "user"}]]
    assert last is None


@pytest.mark.parametrize(
    ("odd", "found"),
    [
        ("text", "found text, 'text': cannot be kept: Expecting value"),
        ("{}", "found text, '{}'; allowed: a list, or one as JSON text"),
        (3, "found a number, 3; allowed: a list"),
        ({"role": "user"}, "found an object, {'role': 'user'}; allowed: a list"),
        ([float("nan")], "found a list, [nan]: cannot be kept: Out of range float"),
        ([{"content": "\ud800"}], "found half a character, \\ud800"),
    ],
)
def test_a_list_of_another_type_is_named(tmp_path: Path, odd: object, found: str) -> None:
    rows = [{"q": [{"role": "user", "content": "1"}]}] * 5 + [{"q": odd}] + [{"q": [{}]}] * 2
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        fetch_files({"train": f"{tmp_path}/a.jsonl"}, {"q": "lists"})
    assert f"a.jsonl: line 6: column q: {found}" in str(caught.value)


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
    table, record = fetch_hub("owner/name", "main", None, tmp_path / "a [b] {c} *", {"q": "text"})
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


def test_a_folder_stands_in_for_the_hub(
    tmp_path: Path, loopback: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows and digests are those of a hub that serves it; only the commit is not known."""
    folder = write_hh_rlhf(tmp_path / "hub")
    # What git and the hub's client put there is not the repository's.
    for beside in (".git/config", ".cache/huggingface/train.jsonl"):
        (folder / beside).parent.mkdir(parents=True)
        (folder / beside).write_text('{"chosen": "", "rejected": ""}', encoding="utf-8")
    wanted = ("owner/hh-rlhf", COMMIT, None)
    monkeypatch.setenv("HF_ENDPOINT", f"file:{tmp_path}/hub")
    table, record = fetch_hub(*wanted, tmp_path / "copied", PAIRS)
    for beside in (".git", ".cache"):
        shutil.rmtree(folder / beside)
    loopback(tmp_path / "hub", commits={"owner/hh-rlhf": COMMIT})
    served, served_record = fetch_hub(*wanted, tmp_path / "served", PAIRS)
    assert table.equals(served, check_metadata=True)
    assert record == served_record | {"source": "folder", "commit": None}
    assert (served_record["source"], served_record["commit"]) == ("hub", COMMIT)


def test_an_unknown_configuration_is_one_line(tmp_path: Path, loopback: Start) -> None:
    write_table(tmp_path / "hub", "owner/name", {"train": ["1"]})
    loopback(tmp_path / "hub")
    with pytest.raises(BadInput, match=r"dataset owner/name: .*none"):
        fetch_hub("owner/name", "main", "none", tmp_path / "got", {"q": "text"})


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
        fetch_hub("owner/name", "main", None, tmp_path / "got", {"q": "text"})


PAIRS: Columns = {"chosen": "text", "rejected": "text"}
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
         "--columns", json.dumps(PAIRS),
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
        fetch_hub("owner/hh-rlhf", COMMIT, None, tmp_path / "got", PAIRS)


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
    hub: Path, tmp_path: Path, loopback: Start, monkeypatch: pytest.MonkeyPatch,
    repository: str, revision: str, name: str | None, rows: dict[str, int], columns: list[str],
) -> None:  # fmt: skip
    """Their rows are those of the files, in the same order, whether a hub serves them or not."""
    commits = {} if revision == "main" else {repository: revision}
    loopback(hub, commits=commits)
    kinds: Columns = dict.fromkeys(columns, "lists" if "chosen" in columns else "text")
    table, record = fetch_hub(repository, revision, name, tmp_path, kinds)
    monkeypatch.setenv("HF_ENDPOINT", f"file:{hub}")
    copied, its_record = fetch_hub(repository, revision, name, tmp_path, kinds)
    assert copied.equals(table, check_metadata=True)
    assert its_record == record | {"source": "folder", "commit": None}
    assert record["rows"] == rows
    assert set(table.column_names) == {*columns, "_split"}
    assert revision in ("main", record["commit"])
    for split in rows:
        (file,) = (hub / "datasets" / repository).rglob(f"{split}-*.parquet")
        found = table.filter(pa.compute.equal(table["_split"], split)).drop_columns("_split")
        read = json.loads if "chosen" in columns else str
        values = [{name: read(text) for name, text in row.items()} for row in found.to_pylist()]
        assert values == pq.read_table(file).to_pylist()


def repository(root: Path, **files: str) -> Path:
    """Write a dataset repository of text files; `_` in a name stands for a dot."""
    folder = root / "hub" / "datasets" / "owner" / "name"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_text(content, encoding="utf-8")
    return root / "hub"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("train_csv", "q,a\n1,None\n2,NA\n3,\n4,00501\n5,1.50\n",
         ["None", "NA", "", "00501", "1.50"]),
        ("train_jsonl", '{"q": "1", "a": "2024-01-05"}\n{"q": "2"}\n', ["2024-01-05", None]),
        ("train_json", '[{"q": "1", "a": "null"},\n {"a": "7", "q": "2"}]', ["null", "7"]),
    ],
)  # fmt: skip
def test_a_repositorys_texts_are_read_as_they_are_written(
    tmp_path: Path, loopback: Start, name: str, content: str, found: list[str]
) -> None:
    loopback(repository(tmp_path, **{name: content}))
    table, _ = fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)
    assert table["a"].to_pylist() == found


CONFIGS = "---\nconfigs:\n- config_name: default\n  {}\n---\n"


@pytest.mark.parametrize(
    "named",
    [
        "data_files: {secret}",
        "data_files: ../../*/secret.csv",
        'data_files: ["train.csv", "~/secret.csv"]',
        'data_files: ["~/secret.csv", "train.csv"]',
        "data_files: ['{secret}', &a [train.csv], *a]",
        "data_files: [3, ~, '{secret}']",
        "data_files: [{{split: train, path: [train.csv, 'a/../../b.csv']}}]",
        "data_files: [{{split: train, path: 'https://example.invalid/a.csv'}}]",
        "data_files: 'zip://a.csv::{secret}'",
        "data_files: 'file:{secret}'",
        "data_dir: {root}\n  data_files: train.csv",
        "data_dir: ..",
    ],
)
def test_a_readme_that_names_other_files_is_refused(
    tmp_path: Path, loopback: Start, named: str
) -> None:
    """In the front matter, or in the file that may stand for it; in a list, or alone."""
    secret = tmp_path / "secret.csv"
    secret.write_text("q,a\nsecret,1\n")
    card = CONFIGS.format(named.format(secret=secret, root=tmp_path))
    texts = [card, card.strip("-\n"), card.replace("- config_name", "  config_name")]
    names = ["README.md", ".huggingface.yaml", "README.md"]
    for number, (name, text) in enumerate(zip(names, texts, strict=True)):
        root = repository(tmp_path / str(number), train_csv="q,a\n1,2\n")
        (root / "datasets" / "owner" / "name" / name).write_text(text)
        loopback(root)
        with pytest.raises(BadInput, match=r"^dataset owner/name: its configs name .* outside the"):
            fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)


def test_a_readme_whose_files_hold_themselves(tmp_path: Path, loopback: Start) -> None:
    loopback(repository(tmp_path, README_md=CONFIGS.format("data_files: &a [train.csv, *a]"),
                        train_csv="q,a\n1,2\n"))  # fmt: skip
    with pytest.raises(BadInput, match=r"^dataset owner/name: .+$"):
        fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)


@pytest.mark.parametrize("link", ["[{}]", "{{<<: [{}]}}"])
def test_a_readme_of_aliases_that_stand_for_others(
    tmp_path: Path, loopback: Start, link: str
) -> None:
    """They would take longer than anybody waits, and more memory than there is."""
    lines = ["a0: &a0 {path: a.csv}"]
    for index in range(1, 30):
        nine = ", ".join([f"*a{index - 1}"] * 9)
        lines.append(f"a{index}: &a{index} {link.format(nine)}")
    text = "\n".join([*lines, "configs: [{config_name: default, data_files: *a29}]"])
    for name, card in {"README.md": f"---\n{text}\n---\n", ".huggingface.yaml": text}.items():
        root = repository(tmp_path / name, train_csv="q,a\n1,2\n")
        (root / "datasets" / "owner" / "name" / name).write_text(card)
        loopback(root)
        found = rf"^dataset owner/name: {re.escape(name)}: found 262 aliases; allowed are 20$"
        with pytest.raises(BadInput, match=found):
            fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)


@pytest.mark.parametrize(
    "card",
    [
        "No front matter",
        "---\nlicense: mit\n---\n",
        f"---\nmore: &a 1\nlist: [{', '.join(['*a'] * 20)}]\n---\n",
    ],
)
def test_a_readme_that_names_no_files(tmp_path: Path, loopback: Start, card: str) -> None:
    """With as many aliases as are allowed, too."""
    loopback(repository(tmp_path, README_md=card, train_csv="q,a\n1,2\n"))
    table, _ = fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)
    assert table["q"].to_pylist() == ["1"]


def test_a_readme_says_which_files_are_which_split(tmp_path: Path, loopback: Start) -> None:
    named = "data_files: [{split: train, path: b.csv}, {split: test, path: 'a.*'}]"
    root = repository(
        tmp_path, README_md=CONFIGS.format(named), a_csv="q,a\n1,2\n", b_csv="q,a\n3,4\n"
    )
    loopback(root)
    table, record = fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)
    assert table["q"].to_pylist() == ["3", "1"]
    assert record["rows"] == {"train": 1, "test": 1}


def test_a_file_that_is_not_listed_is_not_read(tmp_path: Path, loopback: Start) -> None:
    loopback(repository(tmp_path, train_csv="q,a\n1,2\n"), commits={"owner/name": COMMIT})
    other = tmp_path / "got" / COMMIT / "test.csv"
    other.parent.mkdir(parents=True)
    other.write_text("q,a\nmine,1\n")
    table, record = fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)
    assert table["q"].to_pylist() == ["1"]
    assert [file["name"] for file in record["files"]] == ["train.csv"]


def test_a_repository_of_a_kind_that_is_not_read(tmp_path: Path, loopback: Start) -> None:
    loopback(repository(tmp_path, train_txt="a\nb\n"))
    with pytest.raises(
        BadInput, match=r"train\.txt: not a file that is read; allowed: \.parquet, "
    ):
        fetch_hub("owner/name", "main", None, tmp_path / "got", TEXTS)
