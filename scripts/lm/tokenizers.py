"""Snapshots of models and their tokenizers: what needs no torch, in an env that has none."""

from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.common.files import read_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def snapshot_folder(manifest: str | Path) -> Path:
    """Returns the folder of a snapshot; in a manifest it stands relative to the manifest.

    Raises
    ------
    BadInput
        When a file is not there, or not as long, as the manifest says.
    """
    content = read_json(manifest)
    folder = Path(manifest).parent / content["folder"]
    for file in content["files"]:
        path = folder / file["name"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise BadInput(f"{path}: not the file that {manifest} lists; delete that to fetch anew")
    return folder


def load_tokenizer(manifest: str | Path) -> "PreTrainedTokenizerBase":
    """Returns the snapshot's tokenizer; where it has no pad token, EOS stands in."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(snapshot_folder(manifest), local_files_only=True)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
