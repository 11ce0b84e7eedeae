"""Snapshots of models and their tokenizers: code that runs in an env without torch."""

from os.path import normpath
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.lm.checks import brief, check_adapters, check_code, configs_in, read_object

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""What a tokenizer is read from."""
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
    # An adapter's config names it, where a path up and down again would be hard to read; across a
    # link, that path may be the only right one.
    plain = Path(normpath(folder))
    if plain.exists() and plain.samefile(folder):
        folder = plain
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
        tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        tokenizer("a")
    except Exception as error:
        path = folder / "tokenizer.json"
        try:
            Tokenizer.from_file(str(path))
        except Exception as broken:
            raise BadInput(f"{path}: not a tokenizer: {brief(broken)}") from None
        files = ", ".join(name for name in FILES if (folder / name).exists())
        raise BadInput(
            f"{folder}: transformers does not take the tokenizer ({files}): {brief(error)}"
        ) from None
    return tokenizer


def check_tokens(folder: Path, tokenizer: "PreTrainedTokenizerBase", size: int) -> None:
    """Raise BadInput if a tokenizer writes ids that are not among the `size` that a model embeds.

    Embeddings are often padded, and tokens that were added need not occur: rows that have one
    beyond the embedding are told when they are encoded.
    """
    allowed = f"allowed are ids below the vocab_size of config.json, {size}"
    path = folder / "tokenizer.json"
    added = tokenizer.added_tokens_decoder
    own = {name: number for name, number in tokenizer.get_vocab().items() if number not in added}
    token = max(own, key=own.__getitem__, default="")
    if own and own[token] >= size:
        raise BadInput(f"{path}: the token {token!r} has the id {own[token]}; {allowed}")
    for key in SPECIAL:
        number = getattr(tokenizer, f"{key}_id")
        if number is not None and number >= size:
            said = (folder / name for name in FILES[1:3] if (folder / name).exists())
            path = next((file for file in said if key in read_object(file)), path)
            token = getattr(tokenizer, key)
            raise BadInput(f"{path}: {key}: {token!r} has the id {number}; {allowed}")
