"""Fetches a base model: a hub repository at a commit, or a local folder.

Makes manifest.json, which names the snapshot's folder and every file in it with its digest. Only
safetensors weights are taken, and no code. With --tokenizer the weights stay where they are: the
manifest lists the config and tokenizer files alone, and says how many bytes the snapshot has.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.common.cli import run
from scripts.common.hub import download, repository_bytes
from scripts.models.manifest import SNAPSHOT, TOKENIZER, snapshot_files, write_manifest

SMALL = ["*.json", "*.jinja"]
INDEX = ["*.index.json"]
PATTERNS = ["*.safetensors", *SMALL]


def fetch_snapshot(source: dict[str, str], manifest: Path) -> None:
    """Writes the manifest of a whole snapshot, and a hub's snapshot beside it."""
    if "folder" in source:
        write_manifest(manifest, Path(source["folder"]), {"source": "folder"}, needed=SNAPSHOT)
        return
    folder, origin = _from_hub(source, manifest, PATTERNS)
    write_manifest(manifest, folder, origin, needed=SNAPSHOT)


def fetch_tokenizer(source: dict[str, str], manifest: Path) -> None:
    """Writes the manifest of a snapshot's config and tokenizer files, and a hub's beside it."""
    if "folder" in source:
        folder, origin = Path(source["folder"]), {"source": "folder"}
        names = snapshot_files(folder)
        size = sum((folder / name).stat().st_size for name in names)
    else:
        size = repository_bytes(source["hub"], source["revision"], "model", PATTERNS)
        folder, origin = _from_hub(source, manifest, SMALL, without=INDEX)
        names = snapshot_files(folder)
    origin |= {"snapshot_bytes": size}
    write_manifest(manifest, folder, origin, _small(names), needed=TOKENIZER)


def _from_hub(
    source: dict[str, str], manifest: Path, patterns: list[str], without: list[str] | None = None
) -> tuple[Path, dict[str, Any]]:
    """Returns the folder of what was downloaded, and the origin that a manifest records."""
    parent = manifest.parent / "snapshot"
    folder, commit = download(source["hub"], source["revision"], "model", parent, patterns, without)
    return folder, {"source": "hub", "repository": source["hub"], "commit": commit}


def _small(names: list[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return list(filter_repo_objects(names, allow_patterns=SMALL, ignore_patterns=INDEX))


def main(argv: list[str] | None = None) -> int:
    """Writes the manifest, and what is fetched from a hub beside it."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models.fetch", description=__doc__)
    parser.add_argument("--source", type=json.loads, required=True, help="the model's source")
    parser.add_argument("--tokenizer", action="store_true", help="without the weights")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    fetch = fetch_tokenizer if arguments.tokenizer else fetch_snapshot
    fetch(arguments.source, arguments.manifest)
    return 0


if __name__ == "__main__":
    run(main)
