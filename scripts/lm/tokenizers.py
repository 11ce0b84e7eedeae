"""Snapshots of models and their tokenizers: code that runs in an env without torch."""

from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.lm.checks import brief, check_adapters, check_code, configs_in

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SPECIAL = ("bos_token", "eos_token", "pad_token")
"""What may be written beside a text's own tokens."""


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
    tokenizer = read_tokenizer(snapshot_folder(manifest))
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def read_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """Return the tokenizer in a snapshot's folder, as it was saved.

    Raises
    ------
    BadInput
        If transformers does not read it.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        path = folder / "tokenizer.json"
        try:
            Tokenizer.from_file(str(path))
        except Exception as broken:
            raise BadInput(f"{path}: not a tokenizer: {brief(broken)}") from None
        raise BadInput(
            f"{folder}: transformers does not take its tokenizer: {brief(error)}"
        ) from None


def check_tokens(folder: Path, tokenizer: "PreTrainedTokenizerBase", size: int) -> None:
    """Raise BadInput if a tokenizer writes ids that are not among the `size` that a model embeds.

    Embeddings are often padded, and tokens that were added need not occur: rows that have one
    beyond the embedding are told when they are encoded.
    """
    allowed = f"allowed are ids below the vocab_size of config.json, {size}"
    added = tokenizer.added_tokens_decoder
    for token, number in tokenizer.get_vocab().items():
        if number >= size and number not in added:
            path = folder / "tokenizer.json"
            raise BadInput(f"{path}: the token {token!r} has the id {number}; {allowed}")
    for key in SPECIAL:
        number = getattr(tokenizer, f"{key}_id")
        if number is not None and number >= size:
            path = folder / "tokenizer_config.json"
            raise BadInput(
                f"{path if path.exists() else folder / 'tokenizer.json'}: {key}: "
                f"{getattr(tokenizer, key)!r} has the id {number}; {allowed}"
            )
