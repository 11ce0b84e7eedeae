"""Jobs by their provenance, each linked to those that made what it read."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import read_json, sha256
from scripts.provenance.record import SCHEMA, SUFFIX, Part, located, maker

LEFT_OUT = re.compile(
    r"(^|/)(data/[^/]+/snapshot|models/[^/]+/(tokenizer/)?snapshot|trials/[^/]+/seed-[^/]+/work)$"
)
"""Folders in which no provenance lies: what was fetched, which records list, and work in progress.

Told by where they lie: a trial, a dataset or a model may be called `work` or `snapshot` itself."""


@dataclass(frozen=True)
class Job:
    """A job that made something, as its provenance tells."""

    results: Path
    """The folder that its files are named relative to."""
    file: str
    """Its provenance, relative to that."""
    content: Part = field(hash=False, compare=False, repr=False)

    @property
    def path(self) -> Path:
        """Where its provenance lies."""
        return self.results / self.file

    @property
    def rule(self) -> str:
        """The rule that it was a job of."""
        return self.content["rule"]

    @property
    def inputs(self) -> list[Part]:
        """What it read."""
        return self.content["inputs"]

    @property
    def outputs(self) -> list[Part]:
        """What it made."""
        return self.content["outputs"]

    def at(self, part: Part) -> Path:
        """Returns where one of its files lies."""
        return Path(located(part, str(self.results)))

    def given(self, option: str) -> list[str]:
        """Returns what its command has behind an option: none, one or several words."""
        command = self.content["command"]
        if option not in command:
            return []
        start = command.index(option) + 1
        ends = (at for at in range(start, len(command)) if command[at].startswith("--"))
        return command[start : next(ends, len(command))]

    def maker(self, part: Part) -> "Job | None":
        """Returns the job that made one of its inputs; None of a source."""
        return maker_of(self.at(part))


def read_job(path: Path) -> Job:
    """Returns the job of a provenance file.

    Raises
    ------
    BadInput
        When it is none, of another version, or lies where it does not say that it does.
    """
    try:
        content: Any = read_json(path)
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    found = content.get("schema") if isinstance(content, dict) else None
    if found != SCHEMA:
        raise BadInput(f"{path}: found schema {found}, allowed is {SCHEMA}")
    whole = os.path.abspath(path)
    if not whole.endswith("/" + content["file"]):
        raise BadInput(f"{path}: it says that it lies at {content['file']} in the results")
    return Job(Path(whole.removesuffix("/" + content["file"])), content["file"], content)


def maker_of(file: Path) -> Job | None:
    """Returns the job that made a file; None where no provenance names it."""
    found = maker(str(file))
    return found and Job(Path(found.results), found.content["file"], found.content)


def jobs_in(results: Path) -> Iterator[Path]:
    """Yields the provenance files below a folder, in the order of their names."""
    for folder, names, files in os.walk(results):
        names[:] = looked_into(results, folder, names)
        for name in sorted(files):
            if name.endswith(SUFFIX):
                yield Path(folder, name)


def looked_into(root: Path, folder: str, names: list[str]) -> list[str]:
    """Returns in order which folders in one of a root's folders may hold provenance."""
    inside = os.path.relpath(folder, root).replace(os.sep, "/")
    return sorted(name for name in names if not LEFT_OUT.search(f"{inside}/{name}"))


@cache
def digest_now(path: str) -> str | None:
    """Returns the SHA-256 that a file has now; None where it is not there."""
    return sha256(path) if os.path.isfile(path) else None


def shown_path(path: Path | str) -> str:
    """Returns a path as people would type it here."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
