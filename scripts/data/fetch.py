"""Fetch a dataset's rows, as they are written, from a hub repository at a commit or local files.

Makes one Parquet file of all source splits, with the columns that are asked for and the split in
the column `_split`, and a record of where they came from.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.columns import SUFFIXES, Kind, column_names, data_files, read_rows, suffix_of
from scripts.common.files import Row, sha256, write_json, write_table
from scripts.common.hub import Repository
from scripts.common.splits import SPLIT_COLUMN

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, Kind]
"""What each column holds that is asked for."""
Files = dict[str, list[tuple[str, Path]]]
"""The files of each source split: what messages call them, and where they are."""

ALIASES = 20
"""In a repository's front matter; each more makes what it stands for half as long again."""


def fetch_files(files: dict[str, str], columns: Columns) -> tuple["pa.Table", dict[str, Any]]:
    """Return some columns of local files and the record of where they came from.

    Parameters
    ----------
    files
        Of each source split the path of a file, a folder or a pattern.

    Raises
    ------
    BadInput
        If a file is missing or does not hold what its suffix says, or a column is missing or
        holds something else.
    """
    found = {
        split: [(str(file), file) for file in data_files(Path(path))]
        for split, path in files.items()
    }
    table, rows = _read(found, columns)
    records = [_file_record(path, path.name) for parts in found.values() for _, path in parts]
    return table, {"source": "file", "files": records, "rows": rows}


def fetch_hub(
    repository: str, revision: str, name: str | None, parent: Path, columns: Columns
) -> tuple["pa.Table", dict[str, Any]]:
    """Return some columns of a dataset repository and the record of where they came from.

    Parameters
    ----------
    name
        The dataset's configuration, if it has several.
    parent
        The folder for the repository's files, which go into a folder named by the commit.

    Raises
    ------
    BadInput
        If the repository, the revision or the configuration does not exist, files cannot be
        read or are not the repository's, or a column is missing or holds something else.
    """
    source = Repository(repository, revision, "dataset")
    folder = source.download(parent)
    listed = sorted(Path(file.rfilename) for file in source.files)
    where = f"dataset {repository}"
    splits = split_files(folder, listed, name, where)
    files = {
        split: [(f"{where}: {path.as_posix()}", folder / path) for path in paths]
        for split, paths in splits.items()
    }
    table, rows = _read(files, columns)
    record = {
        **source.origin,
        "name": name,
        "files": [_file_record(folder / path, path.as_posix()) for path in listed],
        "rows": rows,
    }
    return table, record


# ------------------------------------------------------------------------- files of a repository


def split_files(
    folder: Path, listed: list[Path], name: str | None, where: str
) -> dict[str, list[Path]]:
    """Return which of the listed files make up each split, as `datasets` finds and orders them.

    It reads the front matter of a README, which could name any file or host: it sees nothing but
    the listed files, and is not asked where the front matter names others.
    """
    from datasets import disable_progress_bars, load_dataset_builder
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError

    disable_progress_bars()
    with tempfile.TemporaryDirectory() as work:
        # Links, because `datasets` reads brackets in the folder's path as patterns.
        root = Path(work, "repository")
        for path in listed:
            link = root / path
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to((folder / path).resolve())
        try:
            for found in _named_files(root):
                if not _is_inside(found):
                    text = "lies outside the repository"
                    raise BadInput(f"its configs name {json.dumps(found)}, which {text}")
            builder = load_dataset_builder(str(root), name=name, cache_dir=f"{work}/cache")
        except BadInput as error:
            raise BadInput(f"{where}: {error}") from None
        except (DataFilesNotFoundError, EmptyDatasetError):
            allowed = ", ".join(SUFFIXES)
            raise BadInput(f"{where}: no file that is read; allowed: {allowed}") from None
        except Exception as error:  # Whatever a stranger's front matter can cause.
            reason = str(error.__cause__ or error).strip() or type(error).__name__
            # The folder of links is nobody's business.
            reason = reason.splitlines()[0].replace(f"{root}/", "").replace(str(root), repr("."))
            raise BadInput(f"{where}: {reason}") from None
        splits = {
            str(split): [_relative(file, root, where) for file in files]
            for split, files in (builder.config.data_files or {}).items()
        }
    for path in (path for paths in splits.values() for path in paths):
        if path not in listed or not suffix_of(path.name):
            allowed = ", ".join(SUFFIXES)
            raise BadInput(f"{where}: {path}: not a file that is read; allowed: {allowed}")
    return splits


def _relative(file: str, root: Path, where: str) -> Path:
    if not Path(file).is_relative_to(root):
        raise BadInput(f"{where}: {file}: lies outside the repository")
    return Path(file).relative_to(root)


def _is_inside(pattern: str) -> bool:
    """Return True if a pattern can only match files below the folder where it is looked for."""
    parts = pattern.replace("\\", "/").split("/")
    return not (pattern.startswith(("/", "\\", "~")) or ".." in parts or ":" in pattern)


def _named_files(root: Path) -> Iterator[str]:
    """Yield the patterns and folders that a repository's front matter names as data."""
    import yaml
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    cards: list[Any] = []
    for path in (root / "README.md", root / ".huggingface.yaml"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            if path.name == "README.md":
                block = REGEX_YAML_BLOCK.search(text)
                text = block[2] if block else ""
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            aliases = sum(isinstance(it, yaml.AliasEvent) for it in yaml.parse(text, loader))
            if aliases > ALIASES:
                raise BadInput(f"{path.name}: found {aliases:,} aliases; allowed are {ALIASES}")
            cards.append(yaml.safe_load(text))
    seen: set[int] = set()
    configs = [card.get("configs") for card in cards if isinstance(card, dict)]
    stack = [
        config[key]
        for part in configs
        for config in (part if isinstance(part, list) else [part])
        for key in ("data_files", "data_dir")
        if isinstance(config, dict) and key in config
    ]
    while stack:
        part = stack.pop()
        # YAML's aliases can make a part hold itself.
        if id(part) in seen:
            continue
        if isinstance(part, str):
            yield part
            continue
        seen.add(id(part))
        stack += part.values() if isinstance(part, dict) else part if isinstance(part, list) else []


# ------------------------------------------------------------------------------------------- rows


def _read(files: Files, columns: Columns) -> tuple["pa.Table", dict[str, int]]:
    """Return the rows of all splits as one table, and how many each split has."""
    import pyarrow as pa

    rows: list[Row] = []
    counts: dict[str, int] = {}
    for split, parts in files.items():
        before = len(rows)
        for name, path in parts:
            try:
                present = column_names(path, columns)
                for column in columns:
                    if column not in present:
                        # A name may have lines.
                        names = (it if it.isprintable() else json.dumps(it) for it in present)
                        allowed = ", ".join(names) or "none"
                        raise BadInput(f"no column {column}; it has: {allowed}")
                rows += ({**row, SPLIT_COLUMN: split} for _, row in read_rows(path, columns))
            except BadInput as error:
                raise BadInput(f"{name}: {error}") from None
        counts[split] = len(rows) - before
    schema = pa.schema([(column, pa.string()) for column in (*columns, SPLIT_COLUMN)])
    return pa.Table.from_pylist(rows, schema=schema), counts


def _file_record(path: Path, name: str) -> dict[str, Any]:
    return {"name": name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def main(argv: list[str] | None = None) -> int:
    """Write raw.parquet and raw.json, and beside them a hub repository's files."""
    parser = argparse.ArgumentParser(prog="python -m scripts.data.fetch", description=__doc__)
    parser.add_argument("--source", type=json.loads, required=True, help="the dataset's source")
    parser.add_argument("--columns", type=json.loads, required=True, help="what each column holds")
    parser.add_argument("--rows", type=Path, required=True, help="Parquet file to write")
    parser.add_argument("--record", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    source = arguments.source
    if "file" in source:
        table, record = fetch_files(source["file"], arguments.columns)
    else:
        snapshot = arguments.rows.parent / "snapshot"
        where = source["hub"], source["revision"], source["name"]
        table, record = fetch_hub(*where, snapshot, arguments.columns)
    write_table(arguments.rows, table)
    write_json(arguments.record, record)
    return 0


if __name__ == "__main__":
    run(main)
