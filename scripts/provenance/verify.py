"""Hashes everything of a run again, and names what is no longer as its provenance says.

    python -m scripts.provenance.verify results/demo

Changed: a file has another SHA-256 than the job that made it wrote down; so of the files of a base
model, which its manifest lists. Missing: it is gone. No provenance: no job says that it made it.
Broken link: a job read something else than the maker's provenance says was made, or that
provenance was written anew since.
"""

import argparse
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json
from scripts.provenance.chain import Job, digest_now, jobs_in, looked_into, read_job, shown_path
from scripts.provenance.record import FAILED, SUFFIX, Part, located

CHANGED, MISSING, BARE, BROKEN = "changed", "missing", "no provenance", "broken link"
BY_HAND = ("rating/", "tables/ratings.", "README.md")
"""How the names of what people make with other commands begin, for which there is no job."""
CRATE = ".crate.zip"

CHUNK = 64
"""Files that a thread hashes at a time."""

Digests = dict[str, str | None]
"""By file its SHA-256 now; None of one that is not there."""
Finding = tuple[str, str]
"""What is wrong, and with what, in words."""


def findings(results: Path) -> tuple[list[Finding], dict[str, int]]:
    """Returns what is wrong in the results, and how much was looked at.

    Raises
    ------
    BadInput
        Where there is no provenance, or one that cannot be read.
    """
    root = Path(os.path.abspath(results))
    paths = list(jobs_in(root))
    # A run may lie in another's folder, as the demo's does.
    own = {job.file: job for job in map(read_job, paths) if job.results == root}
    others = {Path(os.path.abspath(path)) for path in paths} - {job.path for job in own.values()}
    if not own:
        raise BadInput(f"{results}: no provenance; a run leaves one beside each result")
    jobs = list(own.values())
    made = {part["file"]: job for job in jobs for part in job.outputs}
    listed = list(_listed(jobs))
    # Of a thousand trials tens of thousands of files: paths are strings, which cost a tenth.
    now = _digests(
        [_at(job, part) for job in jobs for part in [*job.outputs, *job.inputs]]
        + [str(job.path) for job in jobs]
        + [path for path, _, _ in listed]
    )
    found = [
        *_of_outputs(jobs, now),
        *_of_listed(listed, now),
        *_of_inputs(jobs, made, own, now),
        *((BARE, shown_path(root / file)) for file in _bare(root, made, others)),
    ]
    counts = {
        "jobs": len(jobs),
        "files": len({path for path, digest in now.items() if digest}),
        "edited": sum(bool(job.content["code"]["edited"]) for job in jobs),
        "dirty": sum(bool((job.content["git"] or {}).get("dirty")) for job in jobs),
        "drifted": sum(bool(job.content["env"]["drift"]) for job in jobs),
    }
    return found, counts


def _at(job: Job, part: Part) -> str:
    return located(part, str(job.results))


def _digests(paths: Iterable[str]) -> Digests:
    """Returns the SHA-256 of each file, by several threads: a digest lets go of the interpreter."""
    unique = list(dict.fromkeys(paths))
    chunks = [unique[start : start + CHUNK] for start in range(0, len(unique), CHUNK)]
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda chunk: list(map(digest_now, chunk)), chunks)
        return dict(zip(unique, (digest for chunk in found for digest in chunk), strict=True))


def _listed(jobs: list[Job]) -> Iterator[tuple[str, str, str]]:
    """Yields each file that a model's manifest lists: its path, its SHA-256, the manifest."""
    for job in jobs:
        for part in job.outputs:
            path = job.at(part) if part["file"].endswith("/manifest.json") else None
            if path is not None and path.is_file():
                manifest = read_json(path)
                folder = os.path.normpath(path.parent / manifest["folder"])
                for file in manifest["files"]:
                    yield os.path.join(folder, file["name"]), file["sha256"], str(path)


def _of_outputs(jobs: list[Job], now: Digests) -> Iterator[Finding]:
    for job in jobs:
        for part in job.outputs:
            yield from _compared(_at(job, part), part["sha256"], now, str(job.path))


def _of_listed(listed: list[tuple[str, str, str]], now: Digests) -> Iterator[Finding]:
    for path, wanted, manifest in listed:
        yield from _compared(path, wanted, now, manifest)


def _compared(path: str, wanted: str, now: Digests, says: str) -> Iterator[Finding]:
    found = now[path]
    if found is None:
        yield MISSING, f"{shown_path(path)}, which {shown_path(says)} names"
    elif found != wanted:
        what = f"has {found[:12]}, {shown_path(says)} says {wanted[:12]}"
        yield CHANGED, f"{shown_path(path)}: {what}"


def _of_inputs(
    jobs: list[Job], made: dict[str, Job], own: dict[str, Job], now: Digests
) -> Iterator[Finding]:
    """Yields the inputs that are not what their makers made, and sources that changed."""
    digests = {part["file"]: part["sha256"] for job in jobs for part in job.outputs}
    anew = {file: now[str(job.path)] for file, job in own.items()}
    for job in jobs:
        for part in job.inputs:
            if part.get("outside"):
                yield from _compared(_at(job, part), part["sha256"], now, str(job.path))
            else:
                what = _wrong_with(part, made, digests, anew)
                if what:
                    yield BROKEN, f"{shown_path(job.path)} read {part['file']}{what}"


def _wrong_with(
    part: Part, made: dict[str, Job], digests: dict[str, str], anew: Digests
) -> str | None:
    """Returns in what an input is not what its maker made, in words; None where it is.

    Parameters
    ----------
    made, digests
        By file the job that made it, and the SHA-256 that it wrote down.
    anew
        By provenance file its SHA-256 now.
    """
    file, link = part["file"], part.get("made_by")
    if file not in made:
        return ", which no job made"
    if part["sha256"] != digests[file]:
        maker = shown_path(made[file].path)
        return f" as {part['sha256'][:12]}, {maker} made {digests[file][:12]}"
    if link is None:
        return " when it had no provenance"
    if link["file"] not in anew:
        return f", made by {link['file']}, which is gone"
    if anew[link["file"]] != link["sha256"]:
        return f", made by {link['file']}, which was written anew since"
    return None


def _bare(root: Path, made: dict[str, Job], others: set[Path]) -> Iterator[str]:
    """Yields the files that no job says it made, those of other runs in the folder left out."""
    runs = {read_job(path).results for path in others}
    for folder, names, files in os.walk(root):
        kept = looked_into(root, folder, names)
        names[:] = [name for name in kept if Path(folder, name) not in runs]
        for name in sorted(files):
            file = os.path.relpath(folder, root).replace(os.sep, "/") + f"/{name}"
            file = file.removeprefix("./")
            ours = file.endswith((SUFFIX, FAILED, CRATE)) or name.startswith(".")
            if file not in made and not ours and not file.startswith(BY_HAND):
                yield file


def report(found: list[Finding], counts: dict[str, int]) -> str:
    """Returns the findings, a line each, below what they are, and a last line of how many."""
    by_kind: dict[str, list[str]] = defaultdict(list)
    for kind, what in found:
        by_kind[kind].append(what)
    lines = [line for kind, every in by_kind.items() for line in (f"{kind}:", *_indented(every))]
    marks = [
        f"{counts[mark]} {words}"
        for mark, words in (
            ("dirty", "from a project with uncommitted changes"),
            ("edited", "with code that was edited while they ran"),
            ("drifted", "with packages other than their env's"),
        )
        if counts[mark]
    ]
    looked = f"{counts['jobs']} jobs, {counts['files']} files"
    end = f"{len(found)} findings" if found else "all as it was made"
    return "\n".join([*lines, "; ".join([f"{looked}: {end}", *marks])])


def _indented(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in dict.fromkeys(lines)]


def main(argv: list[str] | None = None) -> int:
    """Prints what is wrong; returns 1 if anything is. Raises BadInput as `findings` does."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.provenance.verify",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, help="the results folder of a run")
    found, counts = findings(parser.parse_args(argv).results)
    print(report(found, counts))
    return 1 if found else 0


if __name__ == "__main__":
    run(main)
