"""Fetches a base model: a hub repository at a commit, or a local folder.

Makes manifest.json, which names the snapshot's folder and every file in it with its digest. Only
safetensors weights are taken, and no code.
"""

import argparse
import json
from pathlib import Path

from scripts.common.cli import run
from scripts.common.hub import download
from scripts.models.manifest import write_manifest

PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja"]


def main(argv: list[str] | None = None) -> int:
    """Writes the manifest, and a hub's snapshot beside it."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models.fetch", description=__doc__)
    parser.add_argument("--source", type=json.loads, required=True, help="the model's source")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    source = arguments.source
    if "folder" in source:
        write_manifest(arguments.manifest, Path(source["folder"]), {"source": "folder"})
        return 0
    # A folder for each commit, so that no file of another one stays behind.
    folder = arguments.manifest.parent / "snapshot" / source["revision"]
    _, commit = download(source["hub"], source["revision"], "model", folder, PATTERNS)
    origin = {"source": "hub", "repository": source["hub"], "commit": commit}
    write_manifest(arguments.manifest, folder, origin)
    return 0


if __name__ == "__main__":
    run(main)
