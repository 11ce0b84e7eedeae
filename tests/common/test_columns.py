"""Data files: read as they are written, and refused with a place where they are not well formed."""

import gzip
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from scripts.common import columns
from scripts.common.cli import BadInput
from scripts.common.columns import Kind, column_names, data_files, read_rows, suffix_of

TEXTS: dict[str, Kind] = {"q": "text", "a": "text"}


def read(path: Path, content: str | bytes, kinds: dict[str, Kind] = TEXTS) -> list[tuple[Any, ...]]:
    """Return the place and the values of each row of a file with this content."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return [(place, *row.values()) for place, row in read_rows(path, kinds)]


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("q,a\n1,2\n", [("line 2", "1", "2")]),
        ("\ufeffq,a\r\n1,2\r\n", [("line 2", "1", "2")]),
        ("a,more,q\n2,,1", [("line 2", "1", "2")]),
        ('q,a\n"1\nand\n",2\n\n3,4\n', [("line 2", "1\nand\n", "2"), ("line 6", "3", "4")]),
        ('q,a\n"said ""yes"", twice",""\n', [("line 2", 'said "yes", twice', "")]),
        ("q,a\nNone,NA\n00501, 1.50\n", [("line 2", "None", "NA"), ("line 3", "00501", " 1.50")]),
        ("q,a\n\\n,né\u2028好\n", [("line 2", "\\n", "né\u2028好")]),
        (f"q,a\n1,{'x' * 200_000}\n", [("line 2", "1", "x" * 200_000)]),
        ('"q","a"\n"1","2;3"\n', [("line 2", "1", "2;3")]),
        ('q,a,x;y\n"1\n1;1\n","2\t2",""\n', [("line 2", "1\n1;1\n", "2\t2")]),
        ("q,a\n\ufeff1,\ufeff2\n", [("line 2", "\ufeff1", "\ufeff2")]),
        ("q,a\n", []),
    ],
)
def test_csv(tmp_path: Path, content: str, rows: list[tuple[str, ...]]) -> None:
    assert read(tmp_path / "a.csv", content) == rows


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('q,a\n1,"Hello\n2,ok\n3,fine\n', "line 2: found a quote that is never closed"),
        ('q,a\n1,2\n\n3,"x\n4,"y"\n', "line 4: found text behind a closing quote"),
        ('q,a\n1,"say \\"hi, you\\" now"\n', "line 2: found text behind a closing quote"),
        ('q,a\n1, "Hello"\n', "line 2: found a quote in a text without quotes around it"),
        ('q,a\n1,5" pipe\n', "line 2: found a quote in a text without quotes around it"),
        (
            "q,a\n1,yes, of course\n",
            "line 2: found 3 fields, the header has 2; a text with a comma",
        ),
        ("q,a\n1,2\n3\n", "line 3: found 1 fields, the header has 2"),
        ("q,a\n1,2\n  \n", "line 3: found 1 fields, the header has 2"),
        ("q,a,a\n1,2,3\n", 'line 1: the column "a" stands twice'),
        ("q;a\n1;2\n", "line 1: found columns separated by semicolons; allowed: commas"),
        ('"q";"a"\n1;2,5\n', "line 1: found columns separated by semicolons; allowed: commas"),
        ("q\ta\n1\t2\n", "line 1: found columns separated by tabs; allowed: commas"),
        ("q,a\r1,2\r", "line 1: found a line that ends in a carriage return alone"),
        ("", "holds no line; allowed: a header and rows"),
        (b"q,a\n1,2\n3,caf\xe9\n", "line 3: found byte 0xe9; allowed: text in UTF-8"),
        ("q,a\n1,2\n".encode("utf-16"), "line 1: found byte 0xff; allowed: text in UTF-8"),
    ],
)
def test_csv_that_is_not_well_formed(tmp_path: Path, content: str | bytes, line: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path / "a.csv", content)
    assert str(caught.value).startswith(line)


LINES = '\n{"a": "2", "q": "1"}\n \n{"q": "3"}\n\n'
LIST = '\n\n[{"a": "2", "q": "1"},\n{"q": "3", "more": [1]}]\n'


@pytest.mark.parametrize(
    ("name", "content", "places"),
    [
        ("a.jsonl", LINES, ["line 2", "line 4"]),
        ("a.jsonl", f"\ufeff{LINES.strip()}", ["line 1", "line 3"]),
        ("a.jsonl.gz", LINES, ["line 2", "line 4"]),
        ("a.json", LINES, ["line 2", "line 4"]),
        ("a.json", LIST, ["row 1", "row 2"]),
    ],
)
def test_json(tmp_path: Path, name: str, content: str, places: list[str]) -> None:
    rows = read(tmp_path / name, content)
    assert rows == [(places[0], "1", "2"), (places[1], "3", None)]


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", '{"q": "1"}\n\n{"q": ', "line 3: no JSON: expecting value at character"),
        ("a.jsonl", '{"q": "1"}{"q": "2"}', "line 1: no JSON: extra data at character 11"),
        ("a.jsonl", '\n[{"q": "1"}]', "line 2: found a list, [{'q': '1'}]; allowed: an object"),
        ("a.jsonl", "null", "line 1: found null; allowed: an object"),
        ("a.jsonl", '{"q": "1"}\n{"q": "2", "q": "3"}',
         'line 2: no JSON that is read: the key "q" stands twice in an object: text, \'2\''),
        ("a.jsonl", '{"a": "2", "q": "1", "b": 3, "q": null}',
         'line 1: no JSON that is read: the key "q" stands twice in an object: text, \'1\' and nu'),
        ("a.jsonl", '{"q": [{"role": 1, "role": 2}]}', 'line 1: no JSON that is read: the key'),
        ("a.jsonl", f'{{"q": {"[" * 100_000}', "line 1: no JSON that is read: "),
        ("a.jsonl", f'{{"n": {"9" * 5000}}}', "line 1: no JSON that is read: Exceeds the limit"),
        ("a.jsonl", b'{"q": "\xff"}', "line 1: found byte 0xff; allowed: text in UTF-8"),
        ("a.jsonl", '{"q": "\\ud83d"}', "line 1: column q: found half a character, \\ud83d"),
        ("a.jsonl", '{"q": 0}', "line 1: column q: found a number, 0; allowed: text"),
        ("a.jsonl", '{"q": true}', "line 1: column q: found true or false, True; allowed: text"),
        ("a.jsonl", '{"q": 1e999}', "line 1: column q: found a number, inf; allowed: text"),
        ("a.jsonl", '{"q": {"text": "1"}}', "line 1: column q: found an object, {'text': '1'}"),
        ("a.json", '\n[{"q": "1"},\n{"q" "2"}]', "line 3: no JSON: expecting ':' delimiter"),
        ("a.json", '[{"q": "1"}, "x"]', "row 2: found text, 'x'; allowed: an object"),
        ("a.json", '[{"q": "1"}, {"q": 2}]', "row 2: column q: found a number, 2; allowed: text"),
        ("a.json", '{"data": [\n{"q": "1"}]}', "line 1: no JSON: expecting value at character 11"),
    ],
)  # fmt: skip
def test_json_that_is_not_well_formed(
    tmp_path: Path, name: str, content: str | bytes, line: str
) -> None:
    with pytest.raises(BadInput) as caught:
        read(tmp_path / name, content)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet"])
def test_a_file_that_is_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pq.write_table(pa.table({"q": ["1"] * 99, "a": ["2"] * 99}), tmp_path / "a.parquet")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"q": "1"}\n' * 99))
    whole = path.read_bytes()
    for content in (b"no", whole[: len(whole) // 2], whole[:20] + b"\x7f" * 9 + whole[29:]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=rf"^not readable as {name[1:]}: "):
            list(read_rows(path, TEXTS))


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pa.array([None, 0]), "row 2: column q: found a number, 0; allowed: text"),
        (pa.array([None, 2**64 - 1], pa.uint64()), "row 2: column q: found a number, 18446744073"),
        (pa.array([True]), "row 1: column q: found true or false, True; allowed: text"),
        (pa.array([b"1"]), "row 1: column q: found bytes, b'1'; allowed: text"),
        (pa.array([["1"]]), "row 1: column q: found a list, ['1']; allowed: text"),
        (pa.array([{"t": "1"}]), "row 1: column q: found an object, {'t': '1'}; allowed: text"),
        (pa.array([datetime(2024, 1, 5)]), "row 1: column q: found datetime, datetime.datetime("),
        (pa.array([0.5]), "row 1: column q: found a number, 0.5; allowed: text"),
        (
            pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers()),
            "column q, string: 'utf-8' codec can't decode byte 0xff",
        ),
        (pa.array([2**55], pa.timestamp("ms")), "column q, timestamp[ms]: date value out of"),
        (pa.array([2**62], pa.duration("s")), "column q, duration[s]: Python int too large"),
    ],
)
def test_a_column_of_another_type(tmp_path: Path, values: pa.Array, found: str) -> None:
    pq.write_table(pa.table({"q": values, "a": ["2"] * len(values)}), tmp_path / "a.parquet")
    with pytest.raises(BadInput) as caught:
        list(read_rows(tmp_path / "a.parquet", TEXTS))
    assert str(caught.value).startswith(found)


@pytest.mark.parametrize("content", [b"\n", b'{"q": "', b'{"q": "1", "a": "2"}\n'])
def test_a_file_that_unpacks_to_much_more_than_text_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Lines without end, and one line without end."""
    monkeypatch.setattr(columns, "UNPACKED_ANYWAY", 1 << 12)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(content * 100_000))
    with pytest.raises(BadInput, match=r"^line \d+: found more than 100 times the file's size"):
        list(read_rows(tmp_path / "a.jsonl.gz", TEXTS))


def test_a_small_file_may_unpack_to_as_much_as_it_likes(tmp_path: Path) -> None:
    rows = read(tmp_path / "a.jsonl.gz", '{"q": "1", "a": "2"}\n' * 20_000)
    assert len(rows) == 20_000
    assert (tmp_path / "a.jsonl.gz").stat().st_size * 200 < 20_000 * 21


def test_a_parquet_file_of_more_rows_than_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columns, "ROWS_ANYWAY", 1_000)
    same = pa.array(["1"] * 100_000)
    pq.write_table(pa.table({"q": same, "a": same}), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r"^found 100,000 rows in fewer bytes"):
        list(read_rows(tmp_path / "a.parquet", TEXTS))


@pytest.mark.parametrize("nested", [False, True])
def test_a_parquet_file_of_one_text_that_many_rows_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    """900 GB in 5 kB."""
    monkeypatch.setattr(columns, "UNPACKED_ROWS", 1 << 27)
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 900_000, pa.int32()), ["1" * 10**6])
    values: pa.Array = texts
    if nested:
        messages = pa.StructArray.from_arrays([texts], ["content"])
        values = pa.ListArray.from_arrays(pa.array([0, 900_000], pa.int32()), messages)
    pq.write_table(pa.table({"q": values}), tmp_path / "a.parquet", compression="zstd")
    with pytest.raises(BadInput, match=r"^its rows take more than 100 times the file's size in"):
        list(read_rows(tmp_path / "a.parquet", {"q": "lists" if nested else "text"}))


def test_a_parquet_file_may_have_a_text_many_times(tmp_path: Path) -> None:
    """50 MB in 9 kB."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * 50_000, pa.int32()), ["1" * 1000])
    pq.write_table(pa.table({"q": texts}), tmp_path / "a.parquet", compression="zstd")
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    rows = list(read_rows(tmp_path / "a.parquet", {"q": "text"}))
    assert len(rows) == 50_000
    assert rows[-1] == ("row 50000", {"q": "1" * 1000})


def test_a_byte_that_has_changed_in_a_text(tmp_path: Path) -> None:
    """Where the file has checksums."""
    path, table = tmp_path / "a.parquet", pa.table({"q": ["one"], "a": ["two"]})
    pq.write_table(table, path, compression="none", write_page_checksum=True)
    path.write_bytes(path.read_bytes().replace(b"one", b"ohe", 1))
    with pytest.raises(BadInput, match=r"^not readable as \.parquet: .*CRC"):
        list(read_rows(path, TEXTS))


def test_a_footer_in_which_bytes_have_changed(tmp_path: Path) -> None:
    """Each one of them: a file is read, or refused in one line."""
    path, table = tmp_path / "a.parquet", pa.table({"q": ["é"], "a": ["2"]})
    pq.write_table(table, path, store_schema=False)
    whole = path.read_bytes()
    said = set()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :])
        try:
            column_names(path, TEXTS)
            list(read_rows(path, TEXTS))
        except BadInput as error:
            said.add(str(error))
    assert not any("\n" in line for line in said)
    assert any(line.startswith("not readable as .parquet: ") for line in said)


def test_parquet_with_names_that_hold_one_another(tmp_path: Path) -> None:
    table = pa.table({"a.b": [1], "a": ["2"], "q.a": [{"a": 1}], "q": ["1"]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet", TEXTS)) == [("row 1", {"q": "1", "a": "2"})]
    pq.write_table(pa.table([["1"], ["2"]], ["q", "q"]), tmp_path / "a.parquet")
    with pytest.raises(BadInput, match=r'^the column "q" stands twice'):
        list(read_rows(tmp_path / "a.parquet", TEXTS))


def test_of_parquet_only_what_is_asked_for_is_looked_at(tmp_path: Path) -> None:
    """A file may have two columns of one name, and a date that Python has not, if nobody asks."""
    dates = pa.array([2**55], pa.timestamp("ms"))
    table = pa.table([["1"], dates, ["x"], ["y"]], ["q", "date", "twice", "twice"])
    pq.write_table(table, tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet", TEXTS)) == [("row 1", {"q": "1", "a": None})]
    pq.write_table(table.slice(1), tmp_path / "a.parquet")
    assert list(read_rows(tmp_path / "a.parquet", TEXTS)) == []
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "a.parquet")
    rows = [(f"row {number}", {"q": None, "a": None}) for number in (1, 2)]
    assert list(read_rows(tmp_path / "a.parquet", TEXTS)) == rows


def test_a_parquet_file_may_have_as_many_rows_as_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    same = pa.array(["1"] * 10_000)
    pq.write_table(pa.table({"q": same}), tmp_path / "a.parquet")
    monkeypatch.setattr(columns, "ROWS_ANYWAY", 10_000)
    assert (tmp_path / "a.parquet").stat().st_size < 5_000
    assert len(list(read_rows(tmp_path / "a.parquet", {"q": "text"}))) == 10_000


@pytest.mark.parametrize("count", [0, 1, 2, 4, 63])
def test_a_parquet_file_whose_footer_contradicts_itself(tmp_path: Path, count: int) -> None:
    """Of the row group's count; it stands before the offset of its pages, and is no byte of them.

    Thrift writes 3 as 6: numbers are doubled, so that the sign is the last bit.
    """
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"q": ["1", "2", "3"], "a": ["x"] * 3}), path)
    content = path.read_bytes()
    place = content.rindex(b"\x16\x06\x26\x08") + 1
    path.write_bytes(content[:place] + bytes([2 * count]) + content[place + 1 :])
    with pytest.raises(BadInput, match=rf"^found 3 rows in all and {count} in its parts"):
        list(read_rows(path, TEXTS))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, "7"), (10**37 - 1, "9" * 37), (10**38 - 1, "9" * 38), (10**39 - 1, "9" * 38 + "…")],
)
def test_of_a_long_value_the_beginning_is_told(tmp_path: Path, value: int, shown: str) -> None:
    with pytest.raises(BadInput, match=rf": found a number, {shown}; allowed: text$"):
        read(tmp_path / "a.jsonl", f'{{"q": {value}}}')


@pytest.mark.parametrize(
    ("value", "kept"),
    [(True, "true"), (False, "false"), (1, "true"), (0, "false"), ("True", "true"),
     ("0", "false"), (None, None)],
)  # fmt: skip
def test_labels_are_true_or_false(tmp_path: Path, value: object, kept: str | None) -> None:
    content = json.dumps({"q": value})
    assert read(tmp_path / "a.jsonl", content, {"q": "label"}) == [("line 1", kept)]


@pytest.mark.parametrize("value", [2, -1, "yes", "", 1.0, []])
def test_other_labels_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(BadInput, match=r"column q: found .*; allowed: true or false, 1 or 0"):
        read(tmp_path / "a.jsonl", json.dumps({"q": value}), {"q": "label"})


def test_lists_are_read_as_json_text(tmp_path: Path) -> None:
    content = '{"q": [{"role": "user", "content": "ä"}, true, 1.5]}\n{"q": "[]"}\n{"a": 1}\n'
    rows = read(tmp_path / "a.jsonl", content, {"q": "lists"})
    found = ['[{"role": "user", "content": "ä"}, true, 1.5]', "[]", None]
    assert rows == [(f"line {number}", value) for number, value in enumerate(found, 1)]


def test_a_group_is_text_or_a_whole_number(tmp_path: Path) -> None:
    content = '{"g": "x"}\n{"g": 7}\n{"g": null}\n'
    places = [("line 1", "x"), ("line 2", "7"), ("line 3", None)]
    assert read(tmp_path / "a.jsonl", content, {"g": "group"}) == places
    for value in (1.5, [1], {"a": 1}, True):
        with pytest.raises(BadInput, match="allowed: text or whole numbers"):
            read(tmp_path / "a.jsonl", json.dumps({"g": value}), {"g": "group"})


def test_columns_are_found_without_reading_all(tmp_path: Path) -> None:
    """Of JSON as many rows are read as it takes to see those that are wanted."""
    path = tmp_path / "a.jsonl"
    path.write_text('\n{"q": 1}\n{"a": 2}\n{"more"\n')
    assert column_names(path, ["q"]) == ["q"]
    assert column_names(path, ["a", "q"]) == ["q", "a"]
    with pytest.raises(BadInput, match=r"^line 4: no JSON"):
        column_names(path, ["b"])
    (tmp_path / "a.csv").write_text('q,a\n1,"\n')
    assert column_names(tmp_path / "a.csv", ["b"]) == ["q", "a"]
    pq.write_table(pa.table({"q": [1]}), tmp_path / "a.parquet")
    assert column_names(tmp_path / "a.parquet", ["b"]) == ["q"]


@pytest.mark.parametrize("kind", ["text", "group", "lists"])
def test_a_row_that_holds_the_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: columns.Kind
) -> None:
    """It would stand in reports."""
    token = "hf_loopbackSecret123"
    monkeypatch.setenv("HF_TOKEN", f" {token}\n")
    value = [{"content": f"a {token}"}] if kind == "lists" else f"a {token}"
    rows = json.dumps({"q": value[:0]}) + "\n" + json.dumps({"q": value})
    with pytest.raises(BadInput, match=r"^line 2: found the token of \$HF_TOKEN; rows stand in re"):
        read(tmp_path / "a.jsonl", rows, {"q": kind})
    monkeypatch.setenv("HF_TOKEN", "a")
    assert len(read(tmp_path / "a.jsonl", rows, {"q": kind})) == 2


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    (tmp_path / "a.parquet").mkdir()
    for name, text in {
        "a.csv": "a folder",
        "a.parquet": "a folder",
        "b.csv": "no such file",
    }.items():
        with pytest.raises(BadInput, match=text):
            column_names(tmp_path / name, [])


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.b.csv", ".csv"),
        ("a.jsonl.gz", ".jsonl.gz"),
        ("a.csv.gz", ""),
        ("a.txt", ""),
        ("csv", ""),
    ],
)
def test_suffixes(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


def test_arrow_files(tmp_path: Path) -> None:
    """As `datasets` saves them, a stream, and of the file format; damage is named."""
    import pyarrow as pa
    from datasets import Dataset

    rows = {"q": ["1", "ä"], "m": [[{"role": "user"}], []], "n": [1, 2]}
    Dataset.from_dict(rows).save_to_disk(tmp_path / "saved")
    (saved,) = data_files(tmp_path / "saved")
    other = tmp_path / "b.arrow"
    with (
        pa.OSFile(str(other), "wb") as sink,
        pa.ipc.new_file(sink, pa.table(rows).schema) as writer,
    ):
        writer.write_table(pa.table(rows))
    for path in (saved, other):
        assert column_names(path, ["q"]) == ["q", "m", "n"]
        assert list(read_rows(path, {"q": "text", "m": "lists"})) == [
            ("row 1", {"q": "1", "m": '[{"role": "user"}]'}), ("row 2", {"q": "ä", "m": "[]"})
        ]  # fmt: skip
    other.write_bytes(other.read_bytes()[:200])
    with pytest.raises(BadInput, match=r"^not readable as \.arrow: "):
        list(read_rows(other, {"q": "text"}))


def test_a_folder_and_a_pattern_stand_for_their_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "c.csv", "notes.txt", "d[1].jsonl"):
        (tmp_path / name).touch()
    assert data_files(tmp_path / "*.jsonl") == [
        tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "d[1].jsonl"
    ]  # fmt: skip
    # A file that is there is no pattern.
    assert data_files(tmp_path / "d[1].jsonl") == [tmp_path / "d[1].jsonl"]
    assert data_files(tmp_path / "x*.csv") == [tmp_path / "x*.csv"]
    with pytest.raises(
        BadInput, match=r"a folder with \.jsonl and \.csv; allowed are files of one of"
    ):
        data_files(tmp_path)
    (tmp_path / "c.csv").unlink()
    assert [path.name for path in data_files(tmp_path)] == ["a.jsonl", "b.jsonl", "d[1].jsonl"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="a folder with no file that is read"):
        data_files(tmp_path / "empty")
