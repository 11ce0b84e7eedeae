"""Data files: which columns they have, and what stands in them.

Parquet, Arrow, JSON (an object a line, or a list of objects in one `.json` file) and CSV, read as
they are written: no string becomes a number, a date or nothing, and what is not well formed is
refused with its place.
"""

import csv
import gzip
import json
import re
import sys
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from glob import glob
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from scripts.common.cli import TOKEN, BadInput, secret
from scripts.common.files import Row
from scripts.common.processes import limited_memory

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".parquet", ".arrow", ".jsonl", ".jsonl.gz", ".json", ".csv")

Kind = Literal["text", "group", "lists", "label"]
"""What a column holds: text; text or whole numbers, kept as text; lists, kept as JSON text, since
Arrow would give all their objects the same keys, whose parts are checked later; or whether a row is
good, kept as `true` or `false`.
"""

_TYPES: dict[str, tuple[type, ...]] = {
    "text": (str,), "group": (str, int), "lists": (list, str), "label": (bool, int, str),
}  # fmt: skip
_ALLOWED = {
    "text": "text", "group": "text or whole numbers", "lists": "a list, or one as JSON text",
    "label": "true or false, 1 or 0",
}  # fmt: skip
_PATTERN = re.compile(r"[*?\[]")
_FIELD = r'(?:"[^"]*(?:""[^"]*)*"|[^"\r\n,]*)'
_RECORD = re.compile(f"{_FIELD}(?:,{_FIELD})*[\r\n]*")
_CSV_ERRORS = {
    "unexpected end of data": "a quote that is never closed",
    "expected after": "text behind a closing quote; a quote inside a text is written twice",
    "new-line character": "a line that ends in a carriage return alone; allowed: a line feed",
}
UNPACKED, UNPACKED_ANYWAY = 100, 1 << 24
"""So many times its size, and so many bytes more, may a packed file hold; gzip can pack 1,032."""
UNPACKED_ROWS = 1 << 30
"""So many bytes more the rows of a Parquet file may take in memory, where a text is an object."""
ROWS_ANYWAY = 1_000_000
"""A Parquet file may hold more rows than this if it has a byte for each."""
_DESCRIBING = ("dataset_info.json", "state.json")
"""What `datasets` writes into a folder beside its data."""
_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def suffix_of(name: str) -> str:
    """Return the suffix that says how a file is read, or nothing where it is not read."""
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def data_files(path: Path) -> list[Path]:
    """Return the files that a path stands for, by name: a folder's or a pattern's, or the path.

    Raises
    ------
    BadInput
        If a folder has no file that is read, or files of several kinds.
    """
    if path.is_dir():
        inside = sorted(it for it in path.iterdir() if it.name not in _DESCRIBING)
        files = [it for it in inside if suffix_of(it.name) and it.is_file()]
        kinds = list(dict.fromkeys(suffix_of(it.name) for it in files))
        if len(kinds) != 1:
            raise BadInput(
                f"found {path}, a folder with {' and '.join(kinds) or 'no file that is read'}; "
                f"allowed are files of one of {', '.join(SUFFIXES)}, or a pattern"
            )
        return files
    if path.exists() or not _PATTERN.search(str(path)):
        return [path]
    return sorted(Path(found) for found in glob(str(path), recursive=True)) or [path]


def column_names(path: Path, wanted: Collection[str]) -> list[str]:
    """Return a file's columns: of JSON, the keys of rows up to where all that are wanted were seen.

    Raises
    ------
    BadInput
        When the file does not hold what its suffix says; without the file's name.
    """
    with _readable(path):
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return pq.read_schema(path).names
        if path.suffix == ".arrow":
            with _arrow_reader(path) as reader:
                return reader.schema.names
        if path.suffix == ".csv":
            return next(_csv_records(path))[1]
        names: dict[str, None] = {}
        for _, row in _objects(path):
            names |= dict.fromkeys(row)
            if names.keys() >= set(wanted):
                break
        return list(names)


def first_rows(path: Path, count: int) -> list[Row]:
    """Return the first rows of a file with all of their columns, whatever they hold.

    Raises
    ------
    BadInput
        When the file does not hold what its suffix says; without the file's name.
    """
    with _readable(path):
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(path) as file:
                return next(file.iter_batches(count, use_threads=False)).to_pylist()
        if path.suffix == ".arrow":
            with _arrow_reader(path) as reader:
                return reader.read_all().slice(0, count).to_pylist()
        rows = _csv_rows if path.suffix == ".csv" else _json_rows
        return [row for _, row in islice(rows(path, {}), count)]


def read_rows(path: Path, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Row]]:
    """Yield each row of a file with its place: of some columns, None where it lacks one.

    Raises
    ------
    BadInput
        When the file does not hold what its suffix says, or a value is not of its column's kind;
        without the file's name.
    """
    readers = {".parquet": _parquet_rows, ".arrow": _arrow_rows, ".csv": _csv_rows}
    token = secret()
    with _readable(path):
        for place, row in readers.get(path.suffix, _json_rows)(path, kinds):
            kept = as_kept(row, place, kinds)
            if token and token in str(kept):
                raise BadInput(f"{place}: found the token of ${TOKEN}; rows stand in reports")
            yield place, kept


def as_kept(row: Row, place: str, kinds: Mapping[str, Kind]) -> Row:
    """Return some columns of a row as they are kept; None where it lacks one.

    Raises
    ------
    BadInput
        When a value is not of its column's kind.
    """
    return {name: _checked(row.get(name), place, name, kinds[name]) for name in kinds}


def _checked(value: Any, place: str, column: str, kind: Kind) -> Any:
    if value is None:
        return None
    where = f"{place}: column {column}"
    # In Python true and false are whole numbers.
    if not isinstance(value, _TYPES[kind]) or (kind == "group" and isinstance(value, bool)):
        raise BadInput(f"{where}: found {_named(value)}; allowed: {_ALLOWED[kind]}")
    if kind == "label":
        text = {"1": "true", "0": "false"}.get(str(value), str(value).lower())
        if text not in ("true", "false"):
            raise BadInput(f"{where}: found {_named(value)}; allowed: {_ALLOWED[kind]}")
        return text
    if kind == "lists":
        return _encodable(_list_as_json(value, where), where)
    return _encodable(str(value), where)


def _encodable(text: str, where: str) -> str:
    """Return a text that has no half a character, which no file could hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise BadInput(f"{where}: found half a character, \\u{code:x}") from None
    return text


def _list_as_json(value: Any, where: str) -> str:
    """Return a list, which may be JSON text already, as JSON text."""
    try:
        found = json.loads(value) if isinstance(value, str) else value
        text = json.dumps(found, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(f"{where}: found {_named(value)}: cannot be kept: {error}") from None
    if not isinstance(found, list):
        raise BadInput(f"{where}: found {_named(value)}; allowed: {_ALLOWED['lists']}")
    return text


def _named(value: Any) -> str:
    """Return what a value is and how it begins."""
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list",
             dict: "an object", bytes: "bytes", str: "text", type(None): "null"}  # fmt: skip
    shown = "" if value is None else f", {value!r}"
    shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
    return f"{kinds.get(type(value), type(value).__name__)}{shown}"


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn errors of reading into one line."""
    broken: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
    if path.suffix in (".parquet", ".arrow"):
        from pyarrow import ArrowException

        # The latter two from a footer in which bytes have changed.
        broken += (ArrowException, ValueError, LookupError)
    if path.is_dir():
        raise BadInput("a folder; allowed: a file")
    try:
        yield
    except FileNotFoundError:
        raise BadInput("no such file") from None
    except broken as error:
        reason = str(error).strip().splitlines()[:1] or [type(error).__name__]
        raise BadInput(f"not readable as {suffix_of(path.name)}: {reason[0]}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield each line with its number."""
    zipped = path.suffix == ".gz"
    opener: Any = gzip.open if zipped else open
    most = UNPACKED * path.stat().st_size + UNPACKED_ANYWAY if zipped else -1
    with opener(path, "rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(most), b""), 1):
            if zipped and lines.tell() >= most:
                raise BadInput(
                    f"line {number}: found more than {UNPACKED} times the file's size; text packs"
                    " less, so unpack the file if it is meant"
                )
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{error.object[error.start]:02x}"
                raise BadInput(f"line {number}: found {byte}; allowed: text in UTF-8") from None


# ----------------------------------------------------------------------------------------- Parquet


def _parquet_rows(path: Path, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Row]]:
    import pyarrow.parquet as pq

    size = path.stat().st_size
    # Of files that have checksums; else a byte that has changed in a text is seen by nobody.
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        count = file.metadata.num_rows
        if count > max(ROWS_ANYWAY, size):
            raise BadInput(f"found {count:,} rows in fewer bytes; a row takes a byte or more")
        names = [name for name in file.schema_arrow.names if name in kinds]
        _require_sum(file.metadata)
        _require_once(names, "")
        try:
            # A text that many rows have stands in the file once. Threads would end the process.
            with limited_memory(UNPACKED * size + UNPACKED_ROWS):
                table = file.read(columns=names, use_threads=False)
                columns = {name: _values(table[name], name) for name in names}
        except MemoryError:
            text = f"its rows take more than {UNPACKED} times the file's size in memory"
            raise BadInput(
                f"{text}; write it unpacked, without dictionaries, if it is meant"
            ) from None
    for number in range(count):
        yield f"row {number + 1}", {name: values[number] for name, values in columns.items()}


@contextmanager
def _arrow_reader(path: Path) -> Iterator[Any]:
    """Open a file of Arrow's stream format, which `datasets` writes, or of its file format."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        try:
            reader = pa.ipc.open_stream(file)
        except pa.ArrowInvalid:
            file.seek(0)
            reader = pa.ipc.open_file(file)
        with reader:
            yield reader


def _arrow_rows(path: Path, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Row]]:
    with _arrow_reader(path) as reader:
        names = [name for name in reader.schema.names if name in kinds]
        _require_once(names, "")
        table = reader.read_all().select(names)
        # Nothing else would notice a damaged offset before it is followed.
        table.validate(full=True)
        columns = {name: _values(table[name], name) for name in names}
    for number in range(table.num_rows):
        yield f"row {number + 1}", {name: values[number] for name, values in columns.items()}


def _values(column: "pa.ChunkedArray", name: str) -> list[Any]:
    from pyarrow import ArrowException

    try:
        return column.to_pylist()
    except MemoryError:
        raise
    # What Python has no value for, such as a text that is none, or a date before the year 1.
    except (ArrowException, UnicodeDecodeError, OverflowError, ValueError) as error:
        raise BadInput(f"column {name}, {column.type}: {error}") from None


def _require_sum(metadata: Any) -> None:
    """Raise BadInput if a footer, which has no checksum, contradicts itself: rows would be lost."""
    count = metadata.num_rows
    counts = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
    if sum(counts) != count:
        text = f"found {count:,} rows in all and {sum(counts):,} in its parts"
        raise BadInput(f"{text}; the file is damaged")


# -------------------------------------------------------------------------------------------- JSON


def _json_rows(path: Path, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Row]]:
    return _objects(path)


def _objects(path: Path) -> Iterator[tuple[str, Row]]:
    lines = _lines(path)
    for number, line in lines:
        if path.suffix == ".json" and line.lstrip().startswith("["):
            whole = _parsed(line + "".join(rest for _, rest in lines), number)
            for place, value in enumerate(whole, 1):
                yield f"row {place}", _object(value, f"row {place}")
        elif line.strip():
            yield f"line {number}", _object(_parsed(line.rstrip(), number), f"line {number}")


def _parsed(text: str, first: int) -> Any:
    """Return the value of JSON text that begins at line `first` of its file."""
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        what = (
            f"{error.msg[:1].lower()}{error.msg[1:].removesuffix(' at')} at character {error.colno}"
        )
        raise BadInput(f"line {first + error.lineno - 1}: no JSON: {what}") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).partition(";")[0] or type(error).__name__
        raise BadInput(f"line {first}: no JSON that is read: {reason}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        name = next(name for name in names if names.count(name) > 1)
        found = " and ".join(_named(value) for key, value in pairs if key == name)
        raise ValueError(f"the key {json.dumps(name)} stands twice in an object: {found}")
    return row


def _object(value: Any, place: str) -> Row:
    if not isinstance(value, dict):
        raise BadInput(f'{place}: found {_named(value)}; allowed: an object, {{"column": …}}')
    return value


# --------------------------------------------------------------------------------------------- CSV


def _csv_rows(path: Path, kinds: Mapping[str, Kind]) -> Iterator[tuple[str, Row]]:
    records = _csv_records(path)
    _, header = next(records)
    for place, fields in records:
        yield place, dict(zip(header, fields, strict=True))


def _csv_records(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the header and each record, with the line in which it begins."""
    csv.field_size_limit(sys.maxsize)
    read: list[str] = []

    def lines() -> Iterator[str]:
        for number, line in _lines(path):
            if number == 1 and "," not in line:
                for separator in filter(line.__contains__, _SEPARATORS):
                    found = f"columns separated by {_SEPARATORS[separator]}"
                    raise BadInput(f"line 1: found {found}; allowed: commas")
            read.append(line)
            yield line

    records = csv.reader(lines(), strict=True)
    header: list[str] = []
    while True:
        place = f"line {records.line_num + 1}"
        read.clear()
        try:
            fields = next(records, None)
        except csv.Error as error:
            text = next((it for key, it in _CSV_ERRORS.items() if key in str(error)), str(error))
            raise BadInput(f"{place}: found {text}") from None
        if fields is None:
            break
        if not fields:
            continue
        if not _RECORD.fullmatch("".join(read)):
            text = "a quote in a text without quotes around it"
            raise BadInput(f"{place}: found {text}; allowed: quotes around it, and each twice")
        if not header:
            header = fields
            _require_once(header, f"{place}: ")
        elif len(fields) != len(header):
            text = f"{len(fields)} fields, the header has {len(header)}"
            raise BadInput(f"{place}: found {text}; a text with a comma needs quotes around it")
        yield place, fields
    if not header:
        raise BadInput("holds no line; allowed: a header and rows")


def _require_once(names: list[str], where: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{where}the column {json.dumps(name)} stands twice")
