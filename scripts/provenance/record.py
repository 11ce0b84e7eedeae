"""What a job left about itself: `{step}.provenance.json` beside what it made.

Each names what the job read and made, with digests, and of each file that it read the provenance of
the job that made that file, with its digest too: a chain from a table back to the sources.

Files of the results are named relative to them, so that a copied or moved folder stays whole. Files
outside are sources and templates: relative to the project where they lie in it, else absolute.
"""

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from scripts.common.files import sha256
from scripts.provenance.digests import ROOT

Part = dict[str, Any]

SCHEMA = 1
SUFFIX = ".provenance.json"
FAILED = ".provenance.failed.json"
"""Of a job that failed: no rule declares it, so that Snakemake leaves it, and none reads it."""
FOLDERS = 256
"""How many folders' provenance is remembered, of thousands that a table reads."""


def entry(file: str, results: str) -> Part:
    """Returns what provenance says of a file: its name, SHA-256 and bytes.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    return named(file, results) | {"sha256": sha256(file), "bytes": os.path.getsize(file)}


def named(file: str, results: str) -> Part:
    """Returns the name under which a file stands in provenance; one outside the results says so."""
    inside = below(file, results)
    if inside is not None:
        return {"file": inside}
    return {"file": below(file, ROOT) or os.path.abspath(file), "outside": True}


def located(part: Part, results: str) -> str:
    """Returns where a file lies that stands in the provenance of a job of these results."""
    return os.path.join(ROOT if part.get("outside") else results, part["file"])


def below(file: str | Path, folder: str | Path) -> str | None:
    """Returns a file's path relative to a folder, or None where it does not lie in it."""
    path, start = os.path.abspath(file), os.path.join(os.path.abspath(folder), "")
    return path[len(start) :].replace(os.sep, "/") if path.startswith(start) else None


class Maker(NamedTuple):
    """The job that made a file, by its provenance."""

    results: str
    """The folder that its files are named relative to."""
    link: Part
    """What provenance says of it where the file is read: its own file, and its SHA-256."""
    content: Part
    """What it says itself."""


def maker(file: str) -> Maker | None:
    """Returns the job that made a file; its provenance lies in the same folder or the one above.

    None where there is none, as of a source.
    """
    path = os.path.abspath(file)
    folder = os.path.dirname(path)
    return _made_in(folder, path) or _made_in(os.path.dirname(folder), path)


def _made_in(folder: str, path: str) -> Maker | None:
    """Returns the job that made a file, if its provenance lies in a folder."""
    name = f'/{os.path.basename(path)}"'.encode()
    for place, content in _provenance_in(folder):
        # To parse what does not even name it would take most of the time.
        if name in content:
            found = _parsed(content)
            results = place.removesuffix("/" + found["file"])
            if any(path == f"{results}/{part['file']}" for part in found["outputs"]):
                digest = hashlib.sha256(content).hexdigest()
                return Maker(results, {"file": found["file"], "sha256": digest}, found)
    return None


@lru_cache(maxsize=FOLDERS)
def _provenance_in(folder: str) -> list[tuple[str, bytes]]:
    """Returns the provenance files of a folder, each with what it holds."""
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    paths = [os.path.join(folder, name) for name in names if name.endswith(SUFFIX)]
    return [(path, Path(path).read_bytes()) for path in paths]


@lru_cache(maxsize=FOLDERS)
def _parsed(content: bytes) -> Part:
    return json.loads(content)


def forget() -> None:
    """Lets provenance be read anew."""
    _provenance_in.cache_clear()
