"""The manifest of a model snapshot: the one file through which other stages find the model."""

import argparse
import fnmatch
import json
import os
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import sha256, write_json
from scripts.lm.checks import (
    check_adapters,
    check_code,
    check_generation,
    check_ids,
    read_config,
    refuse_stand_in,
    vocabulary,
)
from scripts.lm.tokenizers import check_tokens, read_tokenizer
from scripts.lm.weights import read_weights

NEEDED = ("config.json", "tokenizer.json")


def snapshot_files(folder: Path) -> list[str]:
    """Return the names of a snapshot's files, without hidden ones."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    )


def write_manifest(
    manifest: Path,
    folder: Path,
    origin: dict[str, Any],
    names: list[str] | None = None,
    weights: bool = True,
) -> None:
    """Write where a snapshot came from, and the size and digest of each of its files.

    Parameters
    ----------
    names
        The files that the manifest lists; default: all.
    weights
        Whether weights must be among them.

    Raises
    ------
    BadInput
        If a file is missing or broken, or they do not belong together; see `check_files`.
    """
    names = snapshot_files(folder) if names is None else names
    check_files(folder, names, weights, origin.get("repository", folder))
    files = [
        {"name": name, "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in names
    ]
    relative = os.path.relpath(folder.resolve(), manifest.parent.resolve())
    write_json(manifest, {**origin, "folder": Path(relative).as_posix(), "files": files})


def check_files(folder: Path, names: list[str], weights: bool, where: str | Path) -> None:
    """Raise BadInput unless files are a base model's: whole, without code, adapters, or ids of
    tokens that the model does not embed. Whether the weights fit the config, torch has to tell:
    `scripts.lm.snapshots.check_weights` does.
    """
    check_adapters(folder)
    for path in sorted(folder.iterdir()):
        if not path.exists():
            raise BadInput(f"{path}: a link to {os.readlink(path)}, which is not there")
    for name in NEEDED:
        if name not in names:
            present = ", ".join(names) or "nothing"
            raise BadInput(f"{where}: a model needs {name}; found {present}")
    for name in names:
        if Path(name).suffix in (".json", ".jinja") and "/" not in name:
            refuse_stand_in(folder / name)
    objects = ("*config.json", "special_tokens_map.json", "added_tokens.json")
    check_code(folder / name for one in objects for name in fnmatch.filter(names, one))
    if weights:
        read_weights(folder, names)
    size = vocabulary(read_config(folder))
    check_ids(folder, size)
    check_generation(folder)
    check_tokens(folder, read_tokenizer(folder), size)


def main(argv: list[str] | None = None) -> int:
    """Write the manifest of a folder."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models.manifest", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="folder of the snapshot")
    parser.add_argument("--origin", type=json.loads, required=True, help="where it came from")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    write_manifest(arguments.manifest, arguments.folder, arguments.origin)
    return 0


if __name__ == "__main__":
    run(main, without=["torch"])
