"""Fetch a base model from a hub repository at a commit, or from a local folder.

Makes manifest.json, which names the snapshot's folder and every file in it with its digest. Weights
are downloaded as safetensors only, and code never. With --tokenizer, no weights are downloaded: the
manifest lists the config and tokenizer files, and says how many bytes the whole snapshot has.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.common.cli import run
from scripts.common.hub import Repository
from scripts.models.manifest import snapshot_files, write_manifest

SMALL = ["*.json", "*.jinja"]
INDEX = ["*.index.json"]
PATTERNS = ["*.safetensors", *SMALL]


def fetch_snapshot(source: dict[str, str], manifest: Path) -> None:
    """Write the manifest of a whole snapshot; a hub's snapshot goes beside it."""
    if "folder" in source:
        write_manifest(manifest, Path(source["folder"]), {"source": "folder"})
        return
    folder, origin, names = _downloaded(_repository(source, PATTERNS), manifest)
    write_manifest(manifest, folder, origin, names)


def fetch_tokenizer(source: dict[str, str], manifest: Path) -> None:
    """Write the manifest of a snapshot's config and tokenizer files; a hub's go beside it."""
    origin: dict[str, Any] = {"source": "folder"}
    if "folder" in source:
        folder = Path(source["folder"])
        names = snapshot_files(folder)
        size = sum((folder / name).stat().st_size for name in names)
    else:
        size = _repository(source, PATTERNS).bytes
        folder, origin, names = _downloaded(_repository(source, SMALL, INDEX), manifest)
    origin |= {"snapshot_bytes": size}
    write_manifest(manifest, folder, origin, _small(names), weights=False)


def _repository(
    source: dict[str, str], patterns: list[str], without: list[str] | None = None
) -> Repository:
    return Repository(source["hub"], source["revision"], "model", patterns, without)


def _downloaded(repository: Repository, manifest: Path) -> tuple[Path, dict[str, Any], list[str]]:
    """Return the folder of what was downloaded, the origin that a manifest records, and the names
    of the files: of those that the hub lists, whatever else lies in the folder.
    """
    folder = repository.download(manifest.parent / "snapshot")
    return folder, repository.origin, sorted(file.rfilename for file in repository.files)


def _small(names: list[str]) -> list[str]:
    from huggingface_hub.utils import filter_repo_objects

    return list(filter_repo_objects(names, allow_patterns=SMALL, ignore_patterns=INDEX))


def main(argv: list[str] | None = None) -> int:
    """Write the manifest; what is downloaded from a hub goes beside it."""
    parser = argparse.ArgumentParser(prog="python -m scripts.models.fetch", description=__doc__)
    parser.add_argument("--source", type=json.loads, required=True, help="the model's source")
    parser.add_argument("--tokenizer", action="store_true", help="leave out the weights")
    parser.add_argument("--manifest", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    fetch = fetch_tokenizer if arguments.tokenizer else fetch_snapshot
    fetch(arguments.source, arguments.manifest)
    return 0


if __name__ == "__main__":
    run(main, without=["torch"])
