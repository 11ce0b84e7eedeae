"""Publishing a finished run: what tables and figures read, copied into a folder kept in the repo.

The records of every job behind these files are copied too, so that tables made from the copy can
still be traced to their sources.
"""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

from scripts.common.cli import BadInput
from scripts.common.files import damaged, read_object, sha256, write_json, written_whole
from scripts.provenance.record import ORIGINS, below, maker

MANIFEST = "manifest.json"
OPTIONAL = ("comparisons/*.json",)
"""Files that are published if the run has them."""


def publish(files: Iterable[str], results: Path, out: Path) -> dict[str, int]:
    """Copy a finished run's files into a folder and return the size of each in bytes.

    Parameters
    ----------
    files
        What tables and figures read, relative to the results.
    out
        The folder to fill. Files of an earlier copy that are no longer wanted are deleted; files
        that its manifest does not name are left alone.

    Raises
    ------
    BadInput
        If the run lacks any of the files; each is named on a line of its own.
    """
    files = list(files)
    if absent := _missing(results, files):
        lines = [f"{results}: the run is not finished; {len(absent)} files are missing", *absent]
        raise BadInput("\n".join(lines))
    optional = [path for pattern in OPTIONAL for path in results.glob(pattern)]
    reported = {*files, *(path.relative_to(results).as_posix() for path in optional)}
    wanted = sorted(reported | _records_behind(results, reported))
    _copy(results, out, wanted)
    return {file: (out / file).stat().st_size for file in wanted}


def check_published(files: Iterable[str], folder: Path) -> None:
    """Check that a folder holds these files, and that all its files are as they were published.

    Raises
    ------
    BadInput
        If a file is missing, is not in the manifest, or has another SHA-256 than the manifest says;
        each is named on a line of its own.
    """
    if absent := _missing(folder, [*files, MANIFEST]):
        head = f"{folder}: {len(absent)} files are missing (publish a finished run to fill it)"
        raise BadInput("\n".join([head, *absent]))
    published = read_object(folder / MANIFEST)
    changed = [
        str(folder / file)
        for file in sorted({*files, *published})
        if not (folder / file).is_file() or published.get(file) != sha256(folder / file)
    ]
    if changed:
        head = f"{folder}: {len(changed)} files are not those of {MANIFEST}"
        raise BadInput("\n".join([head, *changed]))


def _missing(folder: Path, files: Iterable[str]) -> list[str]:
    return [str(folder / file) for file in files if not (folder / file).is_file()]


def _records_behind(results: Path, files: Iterable[str]) -> set[str]:
    """Return the records of all jobs behind some files, and the files that name their origins."""
    found: set[str] = set()
    waiting = list(files)
    while waiting:
        job = maker(results / waiting.pop())
        if job is not None and job.file not in found:
            origins = [part["file"] for part in job.outputs if part["file"].endswith(ORIGINS)]
            found |= {job.file, *(file for file in origins if (results / file).is_file())}
            waiting += [part["file"] for part in job.inputs if not part.get("outside")]
    return found


def _copy(results: Path, out: Path, files: list[str]) -> None:
    """Copy files, delete those of an earlier copy, and write the manifest.

    The manifest is deleted first and written last, so that an interrupted copy is not taken for a
    whole one.
    """
    manifest = out / MANIFEST
    before = read_object(manifest) if manifest.is_file() else {}
    for file in before:
        if below(out / file, out) is None:
            raise damaged(manifest, f"names {json.dumps(file)}, which lies outside its folder")
    manifest.unlink(missing_ok=True)
    for file in set(before) - set(files):
        (out / file).unlink(missing_ok=True)
    for file in files:
        with written_whole(out / file) as temporary:
            shutil.copyfile(results / file, temporary)
    write_json(manifest, {file: sha256(out / file) for file in files})
