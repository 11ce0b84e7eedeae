"""Publishing what is finished of a run: what its reports read goes into a folder kept in the repo.

An experiment is published when all of it is there, so that each can be published when it is done.
The records of every job behind these files are copied too, so that tables made from the copy can
still be traced to their sources. `paper/runs.yaml` says which runs may be published, and where.
"""

import json
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, RootModel, ValidationError

from scripts.common.cli import BadInput
from scripts.common.files import (
    ROOT,
    damaged,
    read_object,
    sha256,
    shortest,
    write_json,
    written_whole,
)
from scripts.config.base import Closed, Name, PlainPath, Positive
from scripts.config.files import ConfigError, read_config
from scripts.provenance.record import ORIGINS, below, maker

MANIFEST = "manifest.json"
RUNS = ROOT / "paper" / "runs.yaml"
"""The file that names the runs."""
SHOWN = 3
"""So many names are listed of what is missing or large."""
DOCS = {"tables": (".md",), "figures": (".png", ".md")}
"""What stands in docs/ of a run: forms of its tables and figures."""

Part = dict[str, Any]


# ------------------------------------------------------------------------------------ which runs


class Run(Closed):
    """A run that may be published."""

    config: list[PlainPath] = Field(min_length=1)
    """The files that make it, later ones over earlier ones."""
    megabytes: Positive
    """How large its folder may be."""
    docs: PlainPath | None = None
    """Where its tables and figures stand for people to read, if anywhere."""


class Runs(RootModel[dict[Name, Run]]):
    """A whole file."""


def read_runs(path: Path) -> dict[str, Run]:
    """Return the runs that a file names; its paths are relative to it.

    Raises
    ------
    BadInput
        With the first mistake in the file.
    """
    try:
        file = read_config(path)
        runs = Runs.model_validate_json(json.dumps(file.values, default=str)).root
    except ConfigError as error:
        raise BadInput(str(error.problems[0])) from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = tuple(it for it in first["loc"] if it != "[key]")
        raise BadInput(str(file.problem(place, first["msg"]))) from None

    def anchored(file: Path) -> Path:
        return Path(shortest(path.parent / file))

    return {
        name: run.model_copy(
            update={
                "config": list(map(anchored, run.config)),
                "docs": run.docs and anchored(run.docs),
            }
        )
        for name, run in runs.items()
    }


def named(config: Iterable[Path], runs: Mapping[str, Run]) -> str | None:
    """Return the name of the run that these files make, if it has one."""
    wanted = [file.resolve() for file in config]
    return next(
        (it for it, run in runs.items() if [*map(Path.resolve, run.config)] == wanted), None
    )


# --------------------------------------------------------------------------------------- publish


def lacking(
    experiments: Mapping[str, Iterable[str]], results: Path, undone: Mapping[str, str]
) -> dict[str, list[str]]:
    """Return what each experiment lacks, in words; an experiment that is finished is left out.

    Parameters
    ----------
    experiments
        By experiment what its reports read, relative to the results.
    undone
        By folder below the results the state of each model that is not done.
    """
    found: dict[str, list[str]] = {}
    for name, files in experiments.items():
        own = {file.rpartition("/")[0] for file in files}
        states = [f"{results / it}: {state}" for it, state in undone.items() if it in own]
        if lacks := [*states, *_missing(results, files)]:
            found[name] = lacks
    return found


def publish(
    experiments: Mapping[str, Collection[str]], results: Path, out: Path, most: float | None = None
) -> dict[str, int]:
    """Copy experiments of a run into a folder and return the size of all its files in bytes.

    Parameters
    ----------
    experiments
        By experiment what its reports read, relative to the results, where all of it is. Others
        that were published earlier stay as they are, but for what jobs made that ran again.
    out
        The folder to fill. Files of an earlier copy that are no longer wanted are deleted; files
        that its manifest does not name are left alone.
    most
        The size in megabytes that the folder may have.

    Raises
    ------
    BadInput
        If it would be larger; nothing is copied.
    """
    before = _read_manifest(out) if (out / MANIFEST).is_file() else {"experiments": {}, "files": {}}
    now = {
        name: sorted({*files, *_records_behind(results, files)})
        for name, files in experiments.items()
    }
    wanted = {file for files in now.values() for file in files}
    kept = {name: it for name, it in before["experiments"].items() if name not in now}
    others = {file for files in kept.values() for file in files} - wanted
    # Experiments share jobs, such as a trial that another starts from. A job that ran again has one
    # record, so all that it made is published with that.
    again = {file for file in others if (job := maker(results / file)) and job.file in wanted}
    wanted, others = wanted | again, others - again
    places = {file: results / file for file in wanted} | {file: out / file for file in others}
    sizes = {file: place.stat().st_size for file, place in sorted(places.items())}
    _require_room(out, sizes, most)
    _copy(results, out, wanted, before["files"].keys() - wanted - others)
    digests = {file: sha256(out / file) for file in sizes}
    write_json(
        out / MANIFEST, {"experiments": dict(sorted((kept | now).items())), "files": digests}
    )
    return sizes


def _require_room(out: Path, sizes: Mapping[str, int], most: float | None) -> None:
    if most is None or sum(sizes.values()) <= most * 1e6:
        return
    kinds: Counter[str] = Counter()
    for file, size in sizes.items():
        kinds[Path(file).name] += size
    largest = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in kinds.most_common(SHOWN))
    raise BadInput(
        f"{out}: found {sum(sizes.values()) / 1e6:.1f} MB to publish; allowed are {most:g} "
        f"(megabytes in {shortest(RUNS)}); the largest are {largest}"
    )


def _missing(folder: Path, files: Iterable[str]) -> list[str]:
    return [f"{folder / file}: missing" for file in files if not (folder / file).is_file()]


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


def _copy(results: Path, out: Path, files: Iterable[str], gone: Iterable[str]) -> None:
    """Copy files, and delete those of an earlier copy that are gone.

    The manifest is deleted first and written last, so that an interrupted copy is not taken for a
    whole one.
    """
    (out / MANIFEST).unlink(missing_ok=True)
    for file in gone:
        (out / file).unlink(missing_ok=True)
    for file in sorted(files):
        with written_whole(out / file) as temporary:
            shutil.copyfile(results / file, temporary)


# ------------------------------------------------------------------------------------ read again


def published_in(folder: Path) -> list[str] | None:
    """Return the experiments that are published in a folder; None where nothing is."""
    if not (folder / MANIFEST).is_file():
        return None
    return list(_read_manifest(folder)["experiments"])


def check_published(experiments: Mapping[str, Iterable[str]], folder: Path) -> None:
    """Check that a folder holds all of its experiments, each file as it was published.

    Parameters
    ----------
    experiments
        By experiment what its reports read. Those that are not published are not asked for.

    Raises
    ------
    BadInput
        If a file is missing, is not in the manifest, or has another SHA-256 than the manifest says;
        each is named on a line of its own. Also if nothing is published, or an experiment that the
        configuration does not have.
    """
    names = published_in(folder)
    if names is None:
        raise BadInput(f"{folder}: no run is published here; prefmake publish fills it")
    if unknown := sorted(set(names) - set(experiments)):
        raise BadInput(
            f"{folder / MANIFEST}: found experiment {unknown[0]}; the configuration has "
            f"{', '.join(experiments)}: publish the run again"
        )
    files = {file for name in names for file in experiments[name]}
    if absent := _missing(folder, sorted(files)):
        head = f"{folder}: {len(absent)} files are missing (publish the run again)"
        raise BadInput("\n".join([head, *absent]))
    published = _read_manifest(folder)["files"]
    changed = [
        str(folder / file)
        for file in sorted({*files, *published})
        if not (folder / file).is_file() or published.get(file) != sha256(folder / file)
    ]
    if changed:
        head = f"{folder}: {len(changed)} files are not those of {MANIFEST}"
        raise BadInput("\n".join([head, *changed]))


def _read_manifest(folder: Path) -> Part:
    """Return what a folder's manifest says. Raise BadInput where it is not one."""
    path = folder / MANIFEST
    content = read_object(path)
    experiments, files = content.get("experiments"), content.get("files")
    if not isinstance(experiments, dict) or not isinstance(files, dict):
        raise damaged(path, "names no experiments and files")
    for file in [*files, *(file for those in experiments.values() for file in those)]:
        if below(folder / file, folder) is None:
            raise damaged(path, f"names {json.dumps(file)}, which lies outside its folder")
    return content


def show(report: Path, docs: Path) -> None:
    """Copy tables and figures into a folder of docs/, and delete there what is made no longer."""
    for kind, suffixes in DOCS.items():
        made = [path for path in sorted((report / kind).glob("*.*")) if path.suffix in suffixes]
        for path in (docs / kind).glob("*.*"):
            if path.suffix in suffixes and path.name not in {it.name for it in made}:
                path.unlink()
        for path in made:
            with written_whole(docs / kind / path.name) as temporary:
                shutil.copyfile(path, temporary)
