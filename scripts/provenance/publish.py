"""Copies what tables and figures read from a finished run into a folder that is kept in the repo.

With it goes the provenance of every job behind it, so that tables made again can be traced.

    python -m scripts.provenance.publish --files results/reported.json --root results \\
        --out paper/metrics
"""

import argparse
import shutil
from pathlib import Path

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json, sha256, write_json, written_whole
from scripts.provenance.record import maker

MANIFEST = "manifest.json"
OPTIONAL = ("comparisons/*.json",)
"""What is published too, where a run has it."""
ORIGINS = ("/raw.json", "/manifest.json")
"""The files that say where a dataset or a model came from."""


def missing(root: Path, files: list[str]) -> list[str]:
    """Returns the paths of the files that a folder lacks."""
    return [str(root / file) for file in files if not (root / file).is_file()]


def present(root: Path, files: list[str]) -> list[str]:
    """Returns the files to publish: those given and the optional ones that are there.

    Raises
    ------
    BadInput
        When one of those given is missing; it names each in a line of its own.
    """
    absent = missing(root, files)
    if absent:
        lines = [f"{root}: the run is not finished; {len(absent)} files are missing", *absent]
        raise BadInput("\n".join(lines))
    more = [path for pattern in OPTIONAL for path in root.glob(pattern)]
    return sorted({*files, *(str(path.relative_to(root)) for path in more)})


def provenance(root: Path, files: list[str]) -> list[str]:
    """Returns the provenance of files and of all that is behind them, as far as a run has it.

    With it what says from which repository and commit something was fetched.
    """
    found: dict[str, None] = {}
    waiting = list(files)
    while waiting:
        made = maker(str(root / waiting.pop()))
        if made is not None and made.link["file"] not in found:
            found[made.link["file"]] = None
            found |= dict.fromkeys(
                part["file"]
                for part in made.content["outputs"]
                if part["file"].endswith(ORIGINS) and (root / part["file"]).is_file()
            )
            waiting += [it["file"] for it in made.content["inputs"] if not it.get("outside")]
    return list(found)


def copy(root: Path, out: Path, files: list[str]) -> None:
    """Copies files under the same paths and takes away those that the folder had before.

    Only what its manifest names is taken away. The manifest is written last: a copy that was
    interrupted does not pass for whole.
    """
    manifest = out / MANIFEST
    before = read_json(manifest) if manifest.is_file() else {}
    manifest.unlink(missing_ok=True)
    for file in set(before) - set(files):
        (out / file).unlink(missing_ok=True)
    for file in files:
        with written_whole(out / file) as temporary:
            shutil.copyfile(root / file, temporary)
    write_json(manifest, {file: sha256(out / file) for file in files})


def main(argv: list[str] | None = None) -> int:
    """Publishes and prints each file with its bytes; returns 0. Raises BadInput for `present`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.provenance.publish",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--files", type=Path, required=True, help="JSON list of paths in the run")
    parser.add_argument("--root", type=Path, required=True, help="the run's results")
    parser.add_argument("--out", type=Path, required=True, help="the folder to fill")
    arguments = parser.parse_args(argv)
    files = present(arguments.root, read_json(arguments.files))
    files = sorted({*files, *provenance(arguments.root, files)})
    copy(arguments.root, arguments.out, files)
    sizes = {file: (arguments.out / file).stat().st_size for file in files}
    for file, size in sizes.items():
        print(f"{size:>12,}  {file}")
    print(f"{sum(sizes.values()):>12,}  bytes in {len(files)} files, now in {arguments.out}")
    return 0


if __name__ == "__main__":
    run(main)
