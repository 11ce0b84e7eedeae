"""The manifest of a model snapshot, the one file by which other stages know the model."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.common.files import sha256, write_json


def write_manifest(manifest: Path, folder: Path, origin: dict[str, Any]) -> None:
    """Writes where a snapshot came from, and each of its files with size and digest.

    Raises
    ------
    BadInput
        When the folder lacks a config, a tokenizer or safetensors weights.
    """
    names = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".")
    )
    for needed, found in {
        "config.json": "config.json" in names,
        "tokenizer.json": "tokenizer.json" in names,
        "*.safetensors": any(name.endswith(".safetensors") for name in names),
    }.items():
        if not found:
            present = ", ".join(names) or "nothing"
            raise BadInput(f"{folder}: a model needs {needed}; found {present}")
    files = [
        {"name": name, "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
        for name in names
    ]
    relative = os.path.relpath(folder.resolve(), manifest.parent.resolve())
    write_json(manifest, {**origin, "folder": Path(relative).as_posix(), "files": files})


def main(argv: list[str] | None = None) -> int:
    """Writes the manifest of a folder."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models.manifest", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="the snapshot")
    parser.add_argument("--origin", type=json.loads, required=True, help="where it came from")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    write_manifest(arguments.manifest, arguments.folder, arguments.origin)
    return 0


if __name__ == "__main__":
    run(main)
