"""Snapshots of models and their tokenizers: code that runs in an env without torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.lm.checks import check_adapters, check_code, configs_in

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def snapshot_folder(manifest: str | Path) -> Path:
    """Return the folder of a snapshot, which a manifest names relative to itself.

    Raises
    ------
    BadInput
        When a file is missing or has another size than the manifest says or asks for code, or an
        adapter lies beside them.
    """
    content = read_json(manifest)
    folder = Path(manifest).parent / content["folder"]
    for file in content["files"]:
        path = folder / file["name"]
        if not path.is_file() or path.stat().st_size != file["bytes"]:
            raise BadInput(
                f"{path}: not the file that {manifest} lists; delete that to fetch it again"
            )
    check_code(configs_in(folder))
    check_adapters(folder)
    return folder


def load_tokenizer(manifest: str | Path) -> "PreTrainedTokenizerBase":
    """Return the snapshot's tokenizer; without a pad token, it pads with EOS."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        snapshot_folder(manifest), local_files_only=True, trust_remote_code=False
    )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
