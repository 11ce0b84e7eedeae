"""Reading and writing the project's files: atomically, and with the same bytes every time."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, note_reading

if TYPE_CHECKING:
    import pyarrow as pa

ROOT = Path(__file__).resolve().parents[2]
"""The project's folder."""

Row = dict[str, Any]


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and rename it to `path` if the block succeeds.

    A reader therefore sees the old file or the new one, never half of one.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise BadInput(in_the_way(path.parent)) from None
    with named(path):
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=_hidden(path))
        os.close(descriptor)
        temporary = Path(name)
        try:
            yield temporary
            make_shared(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def in_the_way(folder: str | Path) -> str | None:
    """Return in one line which file is where a folder, or one above it, must be; None for none."""
    there = nearest(folder)
    return None if there.is_dir() else f"{there}: a file where a folder must be; move it away"


def nearest(path: str | Path) -> Path:
    """Return a path, or what there is that is nearest above it."""
    path = Path(path).absolute()
    return next(it for it in (path, *path.parents) if os.path.lexists(it))


def _hidden(path: Path) -> str:
    """Return how the name of a file begins while it is written."""
    return f".{path.name}."


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Make an OSError name a path that is written.

    Errors of writing name no file, or the hidden one, or where copying failed that which is copied.
    """
    try:
        yield
    except OSError as error:
        name = os.path.basename(str(error.filename or ""))
        if not name or name.startswith(_hidden(path)) or error.errno in FULL:
            error.filename = str(path)
        raise


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The disk is full, the user's quota is, or the file has the largest size allowed."""


def make_shared(path: Path) -> None:
    """Give a file the permissions of other new files; mkstemp makes private ones."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def read_text(path: str | Path) -> str:
    """Return the text of a file that people wrote. Raises BadInput where it is not UTF-8."""
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        found = f"found byte 0x{error.object[error.start]:02x}"
        raise BadInput(f"{path}: line {line}: {found}; allowed: text in UTF-8") from None


def write_text(path: str | Path, text: str) -> None:
    """Write `text` as UTF-8."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


class Damaged(BadInput, ValueError):
    """A file that this project wrote, and that does not hold what it should."""


def damaged(path: object, found: object) -> Damaged:
    """Return the error of a file in which something else was found."""
    reason = (str(found).strip() or type(found).__name__).splitlines()[0].rstrip(".")
    return Damaged(f"{path}: {reason}: it was cut or edited; delete it, and make it again")


def read_json(path: str | Path) -> Any:
    """Return the value in a JSON file. Raises Damaged where it holds none."""
    note_reading(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, f"not JSON: {error}") from None


def read_object(path: str | Path) -> Row:
    """Return the object in a JSON file. Raises Damaged where it holds something else."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise damaged(path, "not a JSON object")
    return found


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON. Raises ValueError on NaN, which JSON does not have."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_jsonl(path: str | Path) -> list[Row]:
    """Return the objects of a JSON Lines file. Raises Damaged where a line is none."""
    note_reading(path)
    rows: list[Row] = []
    with open(path, "rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                rows += [json.loads(line)] if line.strip() else []
            except (ValueError, RecursionError) as error:
                raise damaged(f"{path}: line {number}", f"not JSON: {error}") from None
    return rows


def write_jsonl(path: str | Path, rows: Iterable[Row]) -> None:
    """Write one JSON object per line."""
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_text(path, "".join(lines))


def read_table(path: str | Path) -> "pa.Table":
    """Return the Arrow table in a Parquet file. Raises Damaged where it holds none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    note_reading(path)
    # Arrow's own errors do not name the file.
    with open(path, "rb"):
        pass
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, f"not Parquet: {error}") from None


def read_rows(path: str | Path) -> list[Row]:
    """Return the rows of a Parquet file as dictionaries. Raises as `read_table` does."""
    return read_table(path).to_pylist()


def write_rows(path: str | Path, rows: list[Row], schema: "pa.Schema") -> None:
    """Write rows as Parquet with exactly the columns and types of `schema`."""
    import pyarrow as pa

    write_table(path, pa.Table.from_pylist(rows, schema=schema))


def write_table(path: str | Path, table: "pa.Table") -> None:
    """Write an Arrow table as Parquet."""
    import pyarrow.parquet as pq

    with written_whole(path) as temporary:
        pq.write_table(table, temporary)


def shortest(path: Path) -> str:
    """Return the path relative to the working directory if it lies below it, else absolute.

    A checkout that was moved then has the same inputs, and nothing reruns.
    """
    absolute, here = path.resolve(), Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def sha256(path: str | Path) -> str:
    """Return the file's SHA-256 as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
