"""Fetches a base model: a hub repository at a commit, or a local folder.

Makes manifest.json, which names the snapshot's folder and every file in it with its digest. Only
safetensors weights are taken, and no code.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput, run
from scripts.models.manifest import write_manifest

PATTERNS = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model"]


def fetch_hub(repository: str, revision: str, folder: Path) -> dict[str, Any]:
    """Downloads a snapshot into `folder` and returns what the manifest says of its origin.

    An interrupted download goes on where it stopped.

    Raises
    ------
    BadInput
        When the repository or the revision does not exist.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        commit = HfApi().model_info(repository, revision=revision).sha
        snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=PATTERNS)
    except HfHubHTTPError as error:
        raise BadInput(f"{repository}@{revision}: {str(error).splitlines()[0]}") from None
    return {"source": "hub", "repository": repository, "commit": commit}


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
    folder = arguments.manifest.parent / "snapshot"
    origin = fetch_hub(source["hub"], source["revision"], folder)
    write_manifest(arguments.manifest, folder, origin)
    return 0


if __name__ == "__main__":
    run(main)
