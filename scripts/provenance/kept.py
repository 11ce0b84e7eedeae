"""What takes long to make is kept, so that going back to earlier settings makes nothing again.

    {results}/.kept/trials/{trial}/seed-{seed}/train/
        {made from}/    what a job made, in the order of its outputs: 0, 1, …, and record.json
        last            what its last run was made from, or should have been

`made from` is a digest of all that the outputs depend on. The files are hard links where the disk
has them: what is in use takes no second room.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts.common.files import read_json, write_json, write_text
from scripts.common.folders import discard, is_whole, put, whole_folder
from scripts.provenance.record import KEPT, SUFFIX, Part

RECORD, LAST = "record.json", "last"
VERSIONS = 2
"""Versions of a job's outputs that are kept: those in use, and their predecessor."""


class Kept:
    """What a job makes from certain settings, inputs and code, among what it made before."""

    def __init__(self, results: str, record: str, made_from: Any, outputs: Sequence[str]):
        """`record` is the job's, relative to `results`; `made_from` is JSON."""
        digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:16]
        self.versions = Path(results, KEPT, record.removesuffix(SUFFIX))
        self.folder = self.versions / digest
        self.outputs = outputs

    def put_back(self, inputs: Sequence[str]) -> Part | None:
        """Put what was made in its place and return its record; None where it is to be made.

        It is put back if something else was made or tried since, or if an input has a newer time
        (an input that was itself put back). Otherwise someone wants it made again.
        """
        last = self.versions / LAST
        is_last = last.is_file() and last.read_text(encoding="utf-8") == self.folder.name
        write_text(last, self.folder.name)
        if not is_whole(self.folder):
            return None
        kept = self.folder.stat().st_mtime_ns
        if is_last and all(os.stat(file).st_mtime_ns <= kept for file in inputs):
            return None
        for number, file in enumerate(self.outputs):
            put(self.folder / str(number), Path(file))
        return read_json(self.folder / RECORD)

    def keep(self, record: Part) -> None:
        """Keep what was made instead of what was kept of the same, and one version before it."""
        with whole_folder(self.folder) as version:
            for number, file in enumerate(self.outputs):
                put(Path(file), version / str(number))
            write_json(version / RECORD, record)
        versions = [it for it in self.versions.iterdir() if (it / RECORD).is_file()]
        for old in sorted(versions, key=lambda it: it.stat().st_mtime_ns)[:-VERSIONS]:
            discard(old)
