"""Fetch a dataset's rows, unchanged, from a hub repository at a commit or from local files.

Makes one Parquet file of all source splits, with the split in the column `_split`, and a record of
where they came from. Local files may be Parquet, JSON Lines or CSV.
"""

import argparse
import csv
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import sha256, write_json, write_table
from scripts.common.hub import Repository
from scripts.common.splits import SPLIT_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa


def fetch_files(files: dict[str, str]) -> tuple["pa.Table", dict[str, Any]]:
    """Return all rows of local files and the record of where they came from.

    Parameters
    ----------
    files
        The path of each source split.

    Raises
    ------
    BadInput
        If a file is missing or does not hold what its suffix says.
    """
    tables = {split: _read(Path(path)) for split, path in files.items()}
    record = {
        "source": "file",
        "files": [_file_record(Path(path), Path(path).name) for path in files.values()],
    }
    return _joined(tables), record | {"rows": {split: t.num_rows for split, t in tables.items()}}


def fetch_hub(
    repository: str, revision: str, name: str | None, parent: Path
) -> tuple["pa.Table", dict[str, Any]]:
    """Return all rows of a dataset repository and the record of where they came from.

    Parameters
    ----------
    name
        The dataset's configuration, if it has several.
    parent
        The folder for the repository's files, which go into a folder named by the commit.

    Raises
    ------
    BadInput
        If the repository, the revision or the configuration does not exist, or files cannot be
        read.
    """
    folder, commit = Repository(repository, revision, "dataset").download(parent)
    from datasets.exceptions import DatasetsError

    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    try:
        tables = _load(folder, files, name)
    except (ValueError, OSError, DatasetsError) as error:
        reason = str(error.__cause__ or error).strip() or type(error).__name__
        raise BadInput(f"dataset {repository}: {reason.splitlines()[0]}") from None
    record = {
        "source": "hub",
        "repository": repository,
        "commit": commit,
        "name": name,
        "files": [_file_record(path, path.relative_to(folder).as_posix()) for path in files],
        "rows": {split: table.num_rows for split, table in tables.items()},
    }
    return _joined(tables), record


def _load(folder: Path, files: list[Path], name: str | None) -> dict[str, "pa.Table"]:
    """Return the rows of a repository's files by split, as `datasets` finds and orders them."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    with tempfile.TemporaryDirectory() as work:
        # Links, because `datasets` reads brackets in the folder's path as patterns.
        repository = Path(work, "repository")
        for path in files:
            link = repository / path.relative_to(folder)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path.resolve())
        splits = load_dataset(
            str(repository), name=name, cache_dir=f"{work}/cache", keep_in_memory=True
        )
        return {str(split): data.data.table for split, data in splits.items()}


def _file_record(path: Path, name: str) -> dict[str, Any]:
    return {"name": name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _read(path: Path) -> "pa.Table":
    """Return a file's rows. Strings stay strings, even if they look like numbers or dates."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        with open(path, encoding="utf-8-sig", newline="") as lines:
            if path.suffix == ".csv":
                rows = list(csv.DictReader(lines))
            else:
                rows = [json.loads(line) for line in lines if line.strip()]
        columns = dict.fromkeys(column for row in rows for column in row)
        return pa.table({column: [row.get(column) for row in rows] for column in columns})
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except (ValueError, AttributeError, TypeError, csv.Error, pa.ArrowException) as error:
        raise BadInput(f"{path}: not readable as {path.suffix}: {error}") from None


def _joined(tables: dict[str, "pa.Table"]) -> "pa.Table":
    """Return all splits as one table."""
    import pyarrow as pa

    marked = [
        table.append_column(SPLIT_COLUMN, pa.array([split] * table.num_rows, pa.string()))
        for split, table in tables.items()
    ]
    return pa.concat_tables(marked, promote_options="default").replace_schema_metadata()


def main(argv: list[str] | None = None) -> int:
    """Write raw.parquet and raw.json, and beside them a hub repository's files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.data.fetch", description=__doc__)
    parser.add_argument("--source", type=json.loads, required=True, help="the dataset's source")
    parser.add_argument("--rows", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--record", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    source = arguments.source
    if "file" in source:
        table, record = fetch_files(source["file"])
    else:
        snapshot = arguments.rows.parent / "snapshot"
        table, record = fetch_hub(source["hub"], source["revision"], source["name"], snapshot)
    write_table(arguments.rows, table)
    write_json(arguments.record, record)
    return 0


if __name__ == "__main__":
    run(main)
