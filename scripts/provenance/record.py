"""What each job left about itself: `{step}.provenance.json` beside the files that it made.

A record names what the job read and made, with digests. Each input also names the record of the job
that made it, with that record's digest: a chain from a table back to the sources.

Files of the results are named relative to the results, so that a moved folder stays whole. Files
from elsewhere, sources and templates, are marked `outside` and named relative to the project, or by
their absolute path if they do not lie in it.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import ROOT, damaged, read_json, sha256

Part = dict[str, Any]
"""One file in a record: its name, SHA-256 and size, and for an input who made it."""

SCHEMA = 1
SUFFIX = ".provenance.json"
FAILED = ".provenance.failed.json"
"""The record of a failed job. No rule declares it, so Snakemake keeps it."""
PARTS = {"rule": str, "inputs": list, "outputs": list, "code": dict, "env": dict}
"""What is read of every record, and its types."""
FOLDERS = 256
"""Number of folders whose records are kept in memory; a table may read from thousands."""
KEPT = ".kept"
"""The folder in the results where earlier versions of them are kept."""
WITHOUT_RECORDS = re.compile(
    r"(^|/)(data/[^/]+/snapshot|models/[^/]+/(tokenizer/)?snapshot|trials/[^/]+/seed-[^/]+/work"
    rf"|{re.escape(KEPT)})$"
)
"""Folders that hold no records: downloads, which manifests list, training in progress, and earlier
versions. More of the path than the name counts, since a trial or a dataset may be called `work` or
`snapshot`."""


@dataclass(frozen=True)
class Job:
    """A finished job, as its record describes it."""

    results: str
    """The absolute path of the folder that its files are named relative to."""
    file: str
    """Its record, relative to `results`."""
    content: Part = field(hash=False, compare=False, repr=False)
    digest: str = field(hash=False, compare=False, repr=False)
    """The SHA-256 of the record."""

    @property
    def path(self) -> Path:
        """The path of the record."""
        return Path(self.results, self.file)

    @property
    def link(self) -> Part:
        """How the records of jobs that read its outputs refer to it."""
        return {"file": self.file, "sha256": self.digest}

    @property
    def rule(self) -> str:
        """The name of its rule."""
        return self.content["rule"]

    @property
    def inputs(self) -> list[Part]:
        """The files that it read."""
        return self.content["inputs"]

    @property
    def outputs(self) -> list[Part]:
        """The files that it made, without the record."""
        return self.content["outputs"]

    @property
    def origins(self) -> list[Part]:
        """The hub repositories that it fetched, as `raw.json` and `manifest.json` describe them."""
        paths = [self.at(part) for part in self.outputs if part["file"].endswith(ORIGINS)]
        found = [read_json(path) | {"file": path.name} for path in paths if path.is_file()]
        return [origin for origin in found if origin.get("repository")]

    def at(self, part: Part) -> Path:
        """Return the path of one of its files."""
        return Path(located(part, self.results))

    def maker(self, part: Part) -> "Job | None":
        """Return the job that made one of its inputs, or None for a source."""
        return maker(self.at(part))


ORIGINS = ("/raw.json", "/manifest.json")
"""Files that say where a dataset or a model came from."""


def entry(file: str, results: str) -> Part:
    """Return a file's name, SHA-256 and size in bytes. Raises OSError if it cannot be read."""
    return named(file, results) | {"sha256": sha256(file), "bytes": os.path.getsize(file)}


def named(file: str, results: str) -> Part:
    """Return the name of a file in a record, marked `outside` if it is not one of the results."""
    inside = below(file, results)
    if inside is not None:
        return {"file": inside}
    return {"file": below(file, ROOT) or os.path.abspath(file), "outside": True}


def located(part: Part, results: str) -> str:
    """Return the path of a file that a record names."""
    return os.path.join(ROOT if part.get("outside") else results, part["file"])


def below(file: str | Path, folder: str | Path) -> str | None:
    """Return a file's path relative to a folder, or None if it does not lie in it."""
    path, start = os.path.abspath(file), os.path.join(os.path.abspath(folder), "")
    return path[len(start) :].replace(os.sep, "/") if path.startswith(start) else None


def maker(file: str | Path) -> Job | None:
    """Return the job that made a file, or None if no record names it.

    The record lies in the file's folder or in the one above.
    """
    path = os.path.abspath(file)
    folder = os.path.dirname(path)
    return _made_in(folder, path) or _made_in(os.path.dirname(folder), path)


def _made_in(folder: str, path: str) -> Job | None:
    name = f'/{os.path.basename(path)}"'.encode()
    for place, content in _records_in(folder):
        # Parsing the records that do not even contain the name would take most of the time.
        if name in content:
            job = _parsed(place, content)
            if any(path == f"{job.results}/{part['file']}" for part in job.outputs):
                return job
    return None


@lru_cache(maxsize=FOLDERS)
def _records_in(folder: str) -> list[tuple[str, bytes]]:
    """Return the path and content of each record in a folder."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names if name.endswith(SUFFIX)]
    return [(path, Path(path).read_bytes()) for path in paths]


@lru_cache(maxsize=FOLDERS)
def _parsed(path: str, record: bytes) -> Job:
    """Return the job of a record. Raises BadInput as `read_job` does."""
    try:
        content = json.loads(record)
    except ValueError as error:
        raise damaged(path, f"not JSON: {error}") from None
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise BadInput(f"{path}: found schema {found}, allowed is {SCHEMA}")
    if not path.endswith(f"/{content.get('file')}"):
        raise BadInput(f"{path}: it says that it lies at {content.get('file')} in the results")
    for key, kind in PARTS.items():
        if not isinstance(content.get(key), kind):
            raise damaged(path, f"{key}: missing, or of another type")
    for part in [*content["inputs"], *content["outputs"]]:
        if not isinstance(part, dict) or not {"file", "sha256"} <= part.keys():
            raise damaged(path, "a file without its name or digest")
    results = path.removesuffix("/" + content["file"])
    return Job(results, content["file"], content, hashlib.sha256(record).hexdigest())


def read_job(path: Path) -> Job:
    """Return the job of a record.

    Raises
    ------
    BadInput
        If the file is no record, has another schema version, or lies elsewhere than it says.
    """
    return _parsed(os.path.abspath(path), path.read_bytes())


def records_in(results: Path) -> Iterator[Path]:
    """Yield the records below a folder, sorted by name within each folder."""
    for folder, names, files in os.walk(results):
        names[:] = searched(results, folder, names)
        for name in sorted(files):
            if name.endswith(SUFFIX):
                yield Path(folder, name)


def searched(root: Path, folder: str, names: list[str]) -> list[str]:
    """Return, sorted, which subfolders of a folder below `root` may hold records."""
    inside = os.path.relpath(folder, root).replace(os.sep, "/")
    return sorted(name for name in names if not WITHOUT_RECORDS.search(f"{inside}/{name}"))


@cache
def digest_now(path: str) -> str | None:
    """Return the SHA-256 of a file as it is now, or None if it is missing."""
    return sha256(path) if os.path.isfile(path) else None


def forget() -> None:
    """Empty the caches, so that records and files are read again."""
    _records_in.cache_clear()
    digest_now.cache_clear()


def shown_path(path: Path | str) -> str:
    """Return a path relative to the working directory if it lies below it."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
