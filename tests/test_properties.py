"""What every parser of the project must do with any input: hypothesis makes the inputs.

What was written is read back equal, or refused in one line; nothing ends in another error. The
inputs are the same every time.
"""

import csv
import gzip
import io
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from scripts.common.cli import BadInput
from scripts.common.columns import Kind, column_names, read_rows
from scripts.common.files import Row
from scripts.common.splits import SPLIT_COLUMN, parse_slices
from scripts.config.files import ConfigError, ConfigFile, read_config
from scripts.data.dialogues import Messages, NotADialogue, split_at_first, split_at_last
from scripts.data.fetch import fetch_files
from scripts.data.prepare import canonical_rows, split_rows
from scripts.evaluate.answers import final_number, marked_number
from scripts.rating.key import Contest, Item, Key, Model
from scripts.rating.ratings import read_sheet
from scripts.report.tables.claims import Claims, read_claims
from tests.evaluate.test_answers import strict


def fuzzed(inputs: int = 150) -> settings:
    """Return how often a property is tried: with so many inputs, always the same ones."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=inputs, derandomize=True, database=None, deadline=None,
                    suppress_health_check=slow)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed")


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def in_one_line(error: object) -> str:
    """Return an error's message, which is one line."""
    (line,) = str(error).splitlines()
    return line


def accepted(path: Path, reader: Callable[[], Any]) -> Any:
    """Return what a reader returns, or None where it refuses the file in one line with its name."""
    try:
        return reader()
    except BadInput as error:
        line = in_one_line(error)
    assert line.startswith(f"{path}:")
    return None


TEXT = st.text(max_size=8) | st.text("\",\n\r ;a'\\\t|é", max_size=8)
JSON: SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXT, part, max_size=3),
    max_leaves=6,
)
ALMOST_YAML = (
    st.text("ab:-[]{}#&*!|>'\"%@`,?\n \t~<=01.eE_xo+", max_size=25)
    | st.text(max_size=15)
    | st.binary(max_size=20)
)

# ----------------------------------------------------------------------------------------- answers

AROUND = [("", ""), ("$", ""), ("Rs", ""), ("Rs. ", ""), ("£", " "), ("**", "**"), ("_", "_"),
          ("\\boxed{", "}"), ("", "%"), ("", " pens"), ("USD", "."), ("(", ")"),
          ("= ", ",")]  # fmt: skip


def grouped_as_in_india(number: int) -> str:
    """Return 1234567 as 12,34,567."""
    digits, last = divmod(number, 1000)
    pairs = re.findall(r"..?", str(digits)[::-1])
    return ",".join(pairs)[::-1] + f",{last:03}" if digits else str(last)


@fuzzed(300)
@given(
    whole=st.integers(0, 10**12) | st.integers(0, 10**40),
    digits=st.sampled_from([str, "{:,}".format, grouped_as_in_india]),
    fraction=st.sampled_from(["", ".5", ".25", ".0", ".1234567890123456789"]),
    sign=st.sampled_from(["", "-", "\u2212"]),
    around=st.sampled_from(AROUND),
    before=st.sampled_from(["", "She has 3 pens and ", "2 * 2 =\n", "#### Step 1: ", "18 ####\n"]),
    mark=st.booleans(),
)
def test_a_number_is_read_in_every_form(
    whole: int, digits: Callable[[int], str], fraction: str, sign: str, around: tuple[str, str],
    before: str, mark: bool,
) -> None:  # fmt: skip
    left, right = around
    text = before
    if mark:
        # Behind the mark stands nothing but a number, its currency and emphasis.
        left, right = (left, right) if left in ("", "$", "**", "_") else ("", "")
        text += "\n#### "
    if left.isalpha():
        sign = ""
    text += sign + left + digits(whole) if left == "$" else left + sign + digits(whole)
    text += fraction + right + ("\n5 is another number" if mark else "")
    expected = Decimal(f"{'-' if sign else ''}{whole}{fraction}")
    found = final_number(text)
    assert Decimal(repr(found) if isinstance(found, float) else found or 0) == expected, text


@fuzzed(500)
@given(st.text(max_size=40) | st.text("#-$.,0123456789 _*%()a:\n\u2212١", max_size=40))
def test_any_text_has_a_finite_number_or_none(text: str) -> None:
    number, marked = final_number(text), marked_number(text)
    assert number is None or math.isfinite(number)
    assert (number is not None) == bool(re.search(r"\d", text))
    assert marked == strict(text)


# ------------------------------------------------------------------------------------------ slices

ENDS = st.none() | st.integers(0, 8)
ROWS = [{"id": f"{split}-{n}", "group": f"g{n // 3}", "split": split, "index": n}
        for split in "ab" for n in range(12) if n != 4]  # fmt: skip
"""Two source splits; a row of each was dropped."""


def as_text(split: str, start: int | None, stop: int | None) -> str:
    if start is None and stop is None:
        return split
    return f"{split}[{'' if start is None else start}:{'' if stop is None else stop}]"


@fuzzed(300)
@given(st.lists(st.tuples(st.sampled_from("ab"), ENDS, ENDS), min_size=1, max_size=3))
def test_slices_are_those_of_lists(parts: list[tuple[str, int | None, int | None]]) -> None:
    """A slice is what Python's is, or has no row or one that another has, too, and is refused."""
    text = "+".join(as_text(*part) for part in parts)
    drawn = [[(split, n) for n in range(12)[start:stop]] for split, start, stop in parts]
    names = [it for part in drawn for it in part]
    if not all(drawn) or len(set(names)) < len(names):
        with pytest.raises(ValueError, match=r"ends before it begins|may be drawn once"):
            parse_slices(text)
        return
    assert parse_slices(text) == parts
    assert "+".join(map(str, parse_slices(text))) == text
    rules = {"by": "source", "train": text, "valid": None, "test": None}
    kept = [f"{split}-{n}" for split, n in names if n != 4]
    if kept:
        assert [row["id"] for row in split_rows(ROWS, rules)["train"]] == kept


@fuzzed()
@given(st.text("ab[]:+-.0123 \n%", max_size=12) | st.text(max_size=9))
def test_any_text_is_slices_or_refused(text: str) -> None:
    try:
        slices = parse_slices(text)
    except ValueError as error:
        in_one_line(error)
        return
    assert parse_slices("+".join(map(str, slices))) == slices


@fuzzed(100)
@given(
    by=st.sampled_from(["row", "group"]),
    valid=st.floats(0, 0.6),
    test=st.floats(0, 0.6),
    seed=st.integers(0, 9),
)
def test_a_draw_gives_each_row_to_one_split(by: str, valid: float, test: float, seed: int) -> None:
    assume(valid + test < 1)
    rules = {"by": by, "source": "a", "valid": valid, "test": test, "seed": seed}
    unit = "id" if by == "row" else by
    units = len({row[unit] for row in ROWS if row["split"] == "a"})
    sizes = {"valid": round(valid * units), "test": round(test * units)}
    sizes["train"] = units - sum(sizes.values())
    if any(size <= 0 < rules.get(split, 1) for split, size in sizes.items()):
        with pytest.raises(BadInput, match="is empty"):
            split_rows(ROWS, rules)
        return
    splits = split_rows(ROWS, rules)
    assert {name: len({row[unit] for row in rows}) for name, rows in splits.items()} == sizes
    drawn = [row["id"] for rows in splits.values() for row in rows]
    assert sorted(drawn) == sorted(row["id"] for row in ROWS if row["split"] == "a")


# ------------------------------------------------------------------------------------------- files


def read(path: Path, kinds: dict[str, Kind]) -> list[Row] | None:
    """Return a file's rows, or None where it is refused in one line."""
    try:
        rows = [row for _, row in read_rows(path, kinds)]
        assert column_names(path, []) is not None
    except BadInput as error:
        in_one_line(error)
        return None
    return rows


@fuzzed()
@given(
    rows=st.lists(st.tuples(TEXT, TEXT), max_size=5),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    extra=TEXT,
)
def test_csv_is_read_as_python_writes_it(
    folder: Path, rows: list[tuple[str, str]], quoting: Any, extra: str
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, quoting=quoting)
    writer.writerows([("q", "a", f"more {extra}"), *((*row, extra) for row in rows)])
    path = written(folder / "a.csv", out.getvalue())
    assert column_names(path, []) == ["q", "a", f"more {extra}"]
    found = read(path, {"a": "text", "q": "text"})
    assert found == [{"a": a, "q": q} for q, a in rows]


@fuzzed(300)
@given(st.text('",\n\raé', max_size=25))
def test_csv_that_is_read_is_what_it_says(folder: Path, text: str) -> None:
    """Of two columns, by Python's strict reader; a quote stands around a cell or is one of two."""
    found = read(written(folder / "a.csv", f"q,a\n{text}"), {"q": "text", "a": "text"})
    if found is not None:
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        assert [list(row.values()) for row in found] == [row for row in rows if row]
        assert text.count('"') % 2 == 0


FINITE = st.lists(JSON, max_size=2).filter(lambda it: not re.search("NaN|Inf", json.dumps(it)))
NAMES = ["a.jsonl", "a.jsonl.gz", "a.json", "a.csv"]


@fuzzed(300)
@given(
    rows=st.lists(
        st.fixed_dictionaries(
            {"q": TEXT | st.none()},
            optional={"a": TEXT, "g": st.integers() | TEXT, "l": FINITE},
        ),
        max_size=4,
    ),
    name=st.sampled_from(NAMES[:3]),
    form=st.fixed_dictionaries(
        {"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 2])}
    ),
    as_list=st.booleans(),
)
def test_json_is_read_as_python_writes_it(
    folder: Path, rows: list[Row], name: str, form: Row, as_list: bool
) -> None:
    if as_list and name == "a.json":
        data = json.dumps(rows, **form).encode()
    else:
        form |= {"indent": None}
        data = "\n\n".join(json.dumps(row, **form) for row in rows).encode()
    path = written(folder / name, gzip.compress(data) if name.endswith("gz") else data)
    kinds: dict[str, Kind] = {"q": "text", "a": "text", "g": "group", "l": "lists"}
    as_kept = dict.fromkeys("qag", str) | {"l": partial(json.dumps, ensure_ascii=False)}
    kept = [{name: row[name] for name in kinds if row.get(name) is not None} for row in rows]
    assert read(path, kinds) == [
        dict.fromkeys(kinds) | {name: as_kept[name](it) for name, it in row.items()} for row in kept
    ]


@fuzzed(400)
@given(
    name=st.sampled_from(NAMES),
    data=st.binary(max_size=30)
    | st.text('{}[]":,\\u0dq1eE-. \n\ufeff', max_size=30).map(str.encode),
    packed=st.booleans(),
)
def test_any_bytes_are_read_or_refused(folder: Path, name: str, data: bytes, packed: bool) -> None:
    path = written(folder / name, gzip.compress(data) if packed else data)
    read(path, {"q": "text", "a": "group", "l": "lists"})


TABLE = pa.table({"q": ["one", "two", None], "a": ["1", "2", "3"]})


@fuzzed(200)
@given(data=st.data())
def test_a_parquet_file_with_a_changed_byte_is_refused_or_the_same(
    folder: Path, data: st.DataObject
) -> None:
    path = folder / "a.parquet"
    pq.write_table(TABLE, path, compression="none", write_page_checksum=True)
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255))
    written(path, content)
    found = accepted(path, lambda: fetch_files({"s": str(path)}, {"q": "text", "a": "text"}))
    # Pages have checksums; the footer, which says what a column holds, has none.
    assert found is None or place >= footer or found[0].select(["q", "a"]) == TABLE


@fuzzed()
@given(header=st.lists(TEXT, max_size=3), rows=st.lists(st.lists(TEXT, max_size=3), max_size=3))
def test_any_table_is_fetched_or_refused(
    folder: Path, header: list[str], rows: list[list[str]]
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([header, *rows])
    path = written(folder / "a.csv", out.getvalue())
    found = accepted(path, lambda: fetch_files({"s": str(path)}, {"q": "text"}))
    assert found is None or found[1]["rows"] == {"s": len(found[0])}


# --------------------------------------------------------------------------------------- dialogues

NAMED = {"user": "Human", "assistant": "Assistant"}
PARTS = ["\n\nHuman:", "\n\nAssistant:", " ", "a", "\n", "Human:", "Assistant:", "é", "\n\n"]
DIALOGUE = st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | TEXT


def text_of(turns: Messages) -> str:
    """Return turns as hh-rlhf writes them."""
    return "".join(f"\n\n{NAMED[turn['role']]}: {turn['content']}" for turn in turns)


def letters(text: str) -> str:
    """Return a text without white space, of which parsing strips some around turns."""
    return "".join(text.split())


@fuzzed(400)
@given(DIALOGUE)
def test_the_turns_of_a_dialogue_together_are_the_dialogue(text: str) -> None:
    try:
        before, last = split_at_last(text)
    except NotADialogue as error:
        in_one_line(error)
    else:
        assert letters(text_of(before + last)) == letters(text)
        assert split_at_last(text_of(before + last)) == (before, last)
        assert [turn["role"] for turn in last] == ["assistant"]
    try:
        (asked,), (answered,) = split_at_first(text)
    except NotADialogue as error:
        in_one_line(error)
        assert "\n\nAssistant:" not in text
    else:
        # What stands before the first turn stays, as published.
        after = text.removeprefix("\n\nHuman:")
        assert letters(f"{asked['content']}Assistant:{answered['content']}") == letters(after)
        assert "\n\nAssistant:" not in asked["content"]


@fuzzed()
@given(st.lists(st.text("ab é.:\n", max_size=9).map(str.strip), min_size=1, max_size=3))
def test_a_dialogue_is_read_as_it_is_written(said: list[str]) -> None:
    assume(not any(re.search(r"\n\n(Human|Assistant):", it) for it in said))
    turns = [{"role": role, "content": it} for it in said for role in NAMED]
    assert split_at_last(text_of(turns)) == (turns[:-1], turns[-1:])
    assert split_at_first(text_of(turns[:2])) == (turns[:1], turns[1:2])


VALUE = st.sampled_from(["user", "assistant", "tool", "", None, 3, ["x"]]) | TEXT
MESSAGE = (
    st.fixed_dictionaries({"role": VALUE, "content": VALUE}, optional={"name": VALUE})
    | st.dictionaries(st.sampled_from(["role", "content", "tool_calls", "x"]), VALUE)
    | VALUE
)
COLUMN = st.lists(MESSAGE, max_size=2) | MESSAGE


@fuzzed(400)
@given(
    rows=st.lists(st.fixed_dictionaries(dict.fromkeys(["p", "c", "r"], COLUMN)), max_size=3),
    identical=st.sampled_from(["drop", "keep"]),
)
def test_any_message_is_kept_whole_or_its_row_dropped(rows: list[Row], identical: str) -> None:
    settings = {"format": "messages", "columns": {"prompt": "p", "chosen": "c", "rejected": "r"},
                "group": None, "min_characters": 1, "identical": identical}  # fmt: skip
    raw = [{name: json.dumps(it) for name, it in row.items()} | {SPLIT_COLUMN: "s"} for row in rows]
    kept, dropped = canonical_rows(raw, settings)
    assert sorted(it["index"] for it in kept + dropped) == list(range(len(rows)))
    assert all(in_one_line(it["reason"]) for it in dropped)
    for row in kept:
        for role, column in settings["columns"].items():
            found = rows[row["index"]][column]
            assert [it["content"] for it in row[role]] == [it["content"].strip() for it in found]
            assert [it["role"] for it in row[role]] == [it["role"] for it in found]


# -------------------------------------------------------------------------------------------- YAML

# https://yaml.org/spec/1.2.2/#103-core-schema, whose tests these are, and what 1.1 reads otherwise.
SCALARS = [
    ("", None), ("~", None), ("null", None), ("Null", None), ("true", True), ("False", False),
    ("yes", "yes"), ("no", "no"), ("on", "on"), ("off", "off"), ("y", "y"), ("010", 10),
    ("0o14", 12), ("0x1F", 31), ("0b1", "0b1"), ("0o8", "0o8"), ("-7", -7), ("+7", 7),
    ("1:30", "1:30"), ("1_000", "1_000"), ("1e3", 1000.0), ("5e-5", 5e-5), ("-.5", -0.5),
    ("12.", 12.0), ("+12e03", 12000.0), ("-2E+05", -200000.0), (".inf", math.inf),
    ("-.INF", -math.inf), ("2020-01-01", "2020-01-01"), ("=", "="), ("'1e5'", "1e5"),
    ('"no"', "no"),
    ("'it''s'", "it's"), ("a b # c", "a b"), ("é", "é"), ("1.2.3", "1.2.3"), ("nan", "nan"),
]  # fmt: skip
PLAIN_TEXT = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=6)
QUOTED = PLAIN_TEXT.map(lambda it: (json.dumps(it, ensure_ascii=False), it))
WRITTEN = (
    st.sampled_from(SCALARS)
    | st.integers(-(10**18), 10**18).map(lambda it: (str(it), it))
    | st.floats(allow_nan=False, allow_infinity=False).map(lambda it: (repr(it), it))
    | QUOTED
)
KEYS = st.from_regex(r"[a-z][a-z_-]{0,3}", fullmatch=True).filter(lambda it: it not in ("null",))
TREE: SearchStrategy[Any] = st.recursive(
    WRITTEN,
    lambda part: (
        st.dictionaries(KEYS | QUOTED.map(lambda it: it[0]), part, min_size=1, max_size=3)
        | st.lists(part, min_size=1, max_size=3)
    ),
    max_leaves=8,
)
GAPS = st.lists(st.sampled_from(["", "# more: text", "   "]), max_size=2)


def with_lines(
    tree: Any, gap: Callable[[], list[str]], indent: str = "", path: tuple[Any, ...] = ()
) -> tuple[list[str], dict[tuple[Any, ...], int], Any]:
    """Return a tree as lines of YAML, the line in which each key and item stands, and its value."""
    lines: list[str] = []
    places: dict[tuple[Any, ...], int] = {}
    values: Any = {} if isinstance(tree, dict) else [None] * len(tree)
    for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
        name = json.loads(key) if str(key).startswith('"') else key
        lines += gap()
        head = f"{indent}{key}:" if isinstance(tree, dict) else f"{indent}-"
        lines.append(head)
        if isinstance(part, tuple):
            lines[-1], values[name] = f"{head} {part[0]}", part[1]
            places[*path, name] = len(lines)
            continue
        before = len(lines)
        inner, below, values[name] = with_lines(part, gap, f"{indent}  ", (*path, name))
        lines += inner
        places |= {it: line + before for it, line in below.items()}
        # An item of a list begins with its first key or item.
        first = next(n for n, line in enumerate(inner, 1) if line.strip(" ")[:1] not in ("", "#"))
        places[*path, name] = before if isinstance(tree, dict) else before + first
    return lines, places, values


def typed(value: Any) -> Any:
    """Return a value in which true is not 1."""
    if isinstance(value, dict):
        return {key: typed(it) for key, it in value.items()}
    if isinstance(value, list):
        return [typed(it) for it in value]
    return type(value) if value is None or isinstance(value, bool) else None, value


def config(path: Path, content: str | bytes) -> ConfigFile | None:
    """Return a config file, or None where it is refused with lines of the file."""
    lines = 1 + (content if isinstance(content, bytes) else content.encode()).count(b"\n")
    try:
        return read_config(written(path, content))
    except ConfigError as error:
        for problem in str(error).splitlines():
            assert problem.startswith(f"{path}:")
            assert 1 <= int(problem.removeprefix(f"{path}:").partition(":")[0]) <= lines + 1
        return None


@fuzzed(200)
@given(tree=st.dictionaries(KEYS, TREE, min_size=1, max_size=4), data=st.data())
def test_yaml_is_that_of_version_1_2_and_each_key_has_its_line(
    folder: Path, tree: Any, data: st.DataObject
) -> None:
    lines, places, values = with_lines(tree, lambda: data.draw(GAPS))
    found = config(folder / "c.yaml", "\n".join(lines) + "\n")
    assert found is not None
    assert typed(found.values) == typed(values)
    assert {path: line for path, (_, line) in found.origins.items() if path} == places


@fuzzed()
@given(st.dictionaries(PLAIN_TEXT, JSON, min_size=1, max_size=3), st.sampled_from([None, 2]))
def test_json_is_yaml(folder: Path, values: Row, indent: int | None) -> None:
    """But for control characters and numbers of more than 20 digits, which are refused."""
    text = json.dumps(values, ensure_ascii=False, indent=indent)
    assume(not re.search("Infinity|[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", text))
    found = config(folder / "c.yaml", text)
    if found is None:
        assert re.search(r"\\u00|\\[bf]|\d{20}", text)
    else:
        assert typed(found.values) == typed(values)


@fuzzed(400)
@given(ALMOST_YAML)
def test_any_text_is_a_config_or_refused_with_its_line(folder: Path, text: str | bytes) -> None:
    found = config(folder / "c.yaml", text)
    if found:
        last = 1 + (text if isinstance(text, bytes) else text.encode()).count(b"\n")
        assert all(1 <= line <= last for _, line in found.origins.values())


# ------------------------------------------------------------------------------ ratings and claims

ITEM = Item(set="s", prompt="p", group="g", left="x")
MODEL = Model(experiment="e", name="n", seed=None, generations="0")
CONTEST = Contest(trial="x", against="y", prompts=2, identical=0, items={"i": ITEM, "j": ITEM})
KEY = Key(page="P", secret="00", question="?", models={"x": MODEL, "y": MODEL}, contests=[CONTEST])
CHOICES = ("left", "right", "tie", "skip")
CHOSEN = st.fixed_dictionaries(
    {"item": st.sampled_from("ij"), "choice": st.sampled_from(CHOICES)}
) | st.dictionaries(st.sampled_from(["item", "choice", "x\ny"]), JSON, max_size=3)
SHEET = st.fixed_dictionaries(
    {
        "page": st.just("P") | TEXT,
        "rater": TEXT | JSON,
        "ratings": st.lists(CHOSEN, max_size=3) | JSON,
    },
    optional={"two\nlines": JSON},
)


@fuzzed(300)
@given(SHEET | JSON, st.booleans())
def test_any_rating_file_is_read_whole_or_refused(folder: Path, content: Any, ascii: bool) -> None:
    path = written(folder / "r.json", json.dumps(content, ensure_ascii=ascii))
    sheet = accepted(path, lambda: read_sheet(path, KEY))
    if sheet is None:
        return
    assert sheet.rater in content["rater"]
    assert sheet.rater.strip() == content["rater"].strip()
    assert sheet.model_dump() == {**content, "rater": sheet.rater}
    assert sheet.page == KEY.page
    assert sheet.rater
    items = [made.item for made in sheet.ratings]
    assert len(set(items)) == len(items)
    assert {*items} <= {"i", "j"}
    assert {made.choice for made in sheet.ratings} <= {*CHOICES}


CLAIMS: Row = {
    "experiments": {"t": "T"},
    "notes": {"l": "All of it leaks."},
    "figures": [
        {
            "experiment": "t",
            "figure": "F",
            "ours": {"figure": "accuracy"},
            "show": "percent",
            "compare": "interval",
            "notes": ["l"],
            "claims": [
                {"trial": "a", "claimed": "~50 %", "value": 0.5, "successes": 1, "n": 2,
                 "notebook": None},
            ],
        }
    ],
}  # fmt: skip


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if not isinstance(value, dict | list):
        return [path]
    below = value.items() if isinstance(value, dict) else enumerate(value)
    return [path, *(it for key, part in below for it in places_in(part, (*path, key)))]


def claims(path: Path, content: str | bytes) -> Claims | None:
    """Return claims, or None where they are refused in one line with file and line."""
    written(path, content)
    return accepted(path, lambda: read_claims(path))


@fuzzed(200)
@given(st.sampled_from(places_in(CLAIMS)[1:]), JSON, st.sampled_from(["replace", "remove", "add"]))
def test_claims_with_another_value_are_read_or_refused_with_their_line(
    folder: Path, place: tuple[Any, ...], value: Any, change: str
) -> None:
    content = json.loads(json.dumps(CLAIMS))
    part = content
    for key in place[:-1]:
        part = part[key]
    if change == "replace":
        part[place[-1]] = value
    elif change == "remove":
        del part[place[-1]]
    elif isinstance(part, dict):
        part[f"{place[-1]}\nmore"] = value
    found = claims(folder / "claims.yaml", yaml.safe_dump(content, allow_unicode=True))
    if found and change == "replace":
        assert found.model_dump(exclude_unset=True) == content


@fuzzed()
@given(ALMOST_YAML)
def test_any_text_is_claims_or_refused(folder: Path, text: str | bytes) -> None:
    assert claims(folder / "claims.yaml", text) is None
