"""Checks that a folder has all that tables and figures read, as it was published.

python -m scripts.provenance.check_published --files reported.json --root paper/metrics
"""

import argparse
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json, sha256
from scripts.provenance.publish import MANIFEST, missing


def check(root: Path, files: list[str]) -> None:
    """Raises BadInput, which names each file in a line of its own, where files are not as they
    were published: missing, not in the manifest, or with another SHA-256 than it says.
    """
    absent = missing(root, [*files, MANIFEST])
    if absent:
        what = (
            f"{root}: {len(absent)} files are missing (make publish fills it from a finished run)"
        )
        raise BadInput("\n".join([what, *absent]))
    published = read_json(root / MANIFEST)
    changed = [
        str(root / file)
        for file in sorted({*files, *published})
        if not (root / file).is_file() or published.get(file) != sha256(root / file)
    ]
    if changed:
        what = f"{root}: {len(changed)} files are not those of {MANIFEST}"
        raise BadInput("\n".join([what, *changed]))


def main(argv: list[str] | None = None) -> int:
    """Checks; returns 0. Raises BadInput for what `check` finds."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.provenance.check_published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=Path, required=True, help="JSON list of paths in a run")
    parser.add_argument("--root", type=Path, required=True, help="the folder that was filled")
    arguments = parser.parse_args(argv)
    check(arguments.root, read_json(arguments.files))
    return 0


if __name__ == "__main__":
    run(main)
