"""Hash every file of a run again and report what differs from its records.

Changed: a file's SHA-256 is not the one that its job recorded, or the one in the manifest of a base
model. Missing: the file is gone. No provenance: no job recorded that it made the file.
Broken link: a job read something else than the maker's record says was made, or that record was
written again since.
"""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.common.cli import BadInput, printable
from scripts.common.files import read_json
from scripts.provenance.record import (
    FAILED,
    SUFFIX,
    Job,
    Part,
    digest_now,
    located,
    read_job,
    records_in,
    searched,
    shown_path,
)

CHANGED, MISSING, BARE, BROKEN = "changed", "missing", "no provenance", "broken link"
NOT_FROM_JOBS = ("rating/", "tables/ratings.", "README.md")
"""How the names of files begin that commands and people write, for which there is no job."""
CRATE = ".crate.zip"
MARKS = {
    "dirty": "from a project with uncommitted changes",
    "edited": "with code that was edited while they ran",
    "drifted": "with packages other than their env's",
}
"""What is counted of jobs and is no finding."""
CHUNK = 64
"""Number of files that a thread hashes at a time."""

Digests = dict[str, str | None]
"""The SHA-256 of each file as it is now; None if the file is missing."""
Finding = tuple[str, str]
"""What is wrong, and with which file, in words."""


def verify(results: Path) -> bool:
    """Print what is wrong in the results; return True if nothing is. Raises as `findings` does."""
    found, counts = findings(results)
    print(printable(report(found, counts)))
    return not found


def findings(results: Path) -> tuple[list[Finding], dict[str, int]]:
    """Return what is wrong in the results, and counts of what was checked.

    Raises
    ------
    BadInput
        If there are no records, or one that cannot be read.
    """
    root = os.path.abspath(results)
    found = [read_job(path) for path in records_in(Path(root))]
    # A run may lie in the folder of another one, as the demo's does.
    jobs = {job.file: job for job in found if job.results == root}
    nested = {job.results for job in found if job.results != root}
    if not jobs:
        raise BadInput(f"{results}: no provenance; a run leaves it beside each result")
    makers = {part["file"]: job for job in jobs.values() for part in job.outputs}
    listed = list(_listed_in_manifests(jobs.values()))
    # For a thousand trials there are tens of thousands of files. Path objects would be 10x slower.
    now = _digests(
        [_at(job, part) for job in jobs.values() for part in [*job.outputs, *job.inputs]]
        + [str(job.path) for job in jobs.values()]
        + [path for path, _, _ in listed]
    )
    return [
        *_wrong_files(_recorded(jobs.values()), now),
        *_wrong_files(listed, now),
        *_wrong_links(jobs, makers, now),
        *((BARE, shown_path(os.path.join(root, file))) for file in _bare(root, makers, nested)),
    ], {
        "jobs": len(jobs),
        "files": sum(digest is not None for digest in now.values()),
        "dirty": sum(bool((job.content["git"] or {}).get("dirty")) for job in jobs.values()),
        "edited": sum(bool(job.content["code"]["edited"]) for job in jobs.values()),
        "drifted": sum(bool(job.content["env"]["drift"]) for job in jobs.values()),
    }


def report(found: list[Finding], counts: dict[str, int]) -> str:
    """Return the findings, one per line and grouped by kind, and a last line with the counts."""
    by_kind: dict[str, dict[str, None]] = defaultdict(dict)
    for kind, what in found:
        by_kind[kind][what] = None
    lines = [
        line for kind, each in by_kind.items() for line in (f"{kind}:", *(f"  {it}" for it in each))
    ]
    marks = [f"{counts[mark]} {words}" for mark, words in MARKS.items() if counts[mark]]
    end = f"{len(found)} findings" if found else "all as it was made"
    return "\n".join(
        [*lines, "; ".join([f"{counts['jobs']} jobs, {counts['files']} files: {end}", *marks])]
    )


def _at(job: Job, part: Part) -> str:
    return located(part, job.results)


def _digests(paths: Iterable[str]) -> Digests:
    """Return the SHA-256 of each file. Threads help: hashing releases the interpreter's lock."""
    unique = list(dict.fromkeys(paths))
    chunks = [unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK)]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda chunk: list(map(digest_now, chunk)), chunks)
        return dict(zip(unique, (digest for chunk in found for digest in chunk), strict=True))


def _listed_in_manifests(jobs: Iterable[Job]) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the SHA-256 and the manifest of each file that a model's manifest lists."""
    for job in jobs:
        for part in job.outputs:
            path = job.at(part) if part["file"].endswith("/manifest.json") else None
            if path is not None and path.is_file():
                manifest = read_json(path)
                folder = os.path.normpath(path.parent / manifest["folder"])
                for file in manifest["files"]:
                    yield os.path.join(folder, file["name"]), file["sha256"], str(path)


def _recorded(jobs: Iterable[Job]) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the SHA-256 and the record of each output, and of each source."""
    for job in jobs:
        for part in [*job.outputs, *(it for it in job.inputs if it.get("outside"))]:
            yield _at(job, part), part["sha256"], str(job.path)


def _wrong_files(wanted: Iterable[tuple[str, str, str]], now: Digests) -> Iterator[Finding]:
    for path, digest, says in wanted:
        found = now[path]
        if found is None:
            yield MISSING, f"{shown_path(path)}, which {shown_path(says)} names"
        elif found != digest:
            what = f"has {found[:12]}, {shown_path(says)} says {digest[:12]}"
            yield CHANGED, f"{shown_path(path)}: {what}"


def _wrong_links(jobs: dict[str, Job], makers: dict[str, Job], now: Digests) -> Iterator[Finding]:
    """Yield the inputs that are not what their makers made."""
    made = {part["file"]: part["sha256"] for job in jobs.values() for part in job.outputs}
    records = {file: now[str(job.path)] for file, job in jobs.items()}
    for job in jobs.values():
        for part in job.inputs:
            if not part.get("outside"):
                what = _wrong_with(part, makers, made, records)
                if what:
                    yield BROKEN, f"{shown_path(job.path)} read {part['file']}{what}"


def _wrong_with(
    part: Part, makers: dict[str, Job], made: dict[str, str], records: Digests
) -> str | None:
    """Return how an input differs from what its maker made, in words, or None if it does not.

    Parameters
    ----------
    makers, made
        The job that made each file, and the SHA-256 that it recorded.
    records
        The SHA-256 of each record now.
    """
    file, link = part["file"], part.get("made_by")
    if file not in makers:
        return ", which no job made"
    if part["sha256"] != made[file]:
        maker = shown_path(makers[file].path)
        return f" as {part['sha256'][:12]}, {maker} made {made[file][:12]}"
    if link is None:
        return " when it had no provenance"
    if link["file"] not in records:
        return f", made by {link['file']}, which is gone"
    if records[link["file"]] != link["sha256"]:
        return f", made by {link['file']}, which was written again since"
    return None


def _bare(root: str, makers: dict[str, Job], nested: set[str]) -> Iterator[str]:
    """Yield the files that no job recorded as made, except those of nested runs."""
    for folder, names, files in os.walk(root):
        kept = searched(Path(root), folder, names)
        names[:] = [name for name in kept if os.path.join(folder, name) not in nested]
        for name in sorted(files):
            file = os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
            known = file.endswith((SUFFIX, FAILED, CRATE)) or name.startswith(".")
            if file not in makers and not known and not file.startswith(NOT_FROM_JOBS):
                yield file
