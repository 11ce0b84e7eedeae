"""What a snapshot's files have to be like, told without torch and without loading a weight.

Models come from strangers. A file that asks for code of its own is refused by its name, before
transformers sees it: that would ask on the terminal whether to run the code.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

CODE = "auto_map"
"""The key by which a config names classes in Python files of the snapshot."""

ADAPTERS = ("adapter_config.json", "adapter_model.*")
"""Names of an adapter's files: transformers loads an adapter that lies beside a base's weights."""
STAND_IN = b"version https://git-lfs.github.com/"
"""How a file begins that stands in a git repository for one that git-lfs keeps elsewhere."""
OTHER_FILE = "transformers_weights"
"""The key by which a config names another file of weights."""
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "repetition_penalty")
LONGEST = 250
"""Characters of a library's message that are shown."""
ID = re.compile(r"(bos|eos|pad|unk|sep|cls|mask|decoder_start|forced_bos|forced_eos)_token_id")


def configs_in(folder: Path) -> list[Path]:
    """Return the files of a snapshot's folder that can ask for code."""
    return sorted(folder.glob("*config.json"))


def refuse_stand_in(path: Path) -> None:
    """Raise BadInput for a file that git-lfs would replace."""
    with path.open("rb") as file:
        if file.read(len(STAND_IN)) == STAND_IN:
            raise BadInput(
                f"{path}: found the stand-in of a file that git-lfs keeps; run `git lfs pull` in "
                "its repository"
            )


def check_adapters(folder: Path) -> None:
    """Raise BadInput if an adapter lies in the folder of a base model."""
    for path in sorted(folder.iterdir()):
        if any(path.match(pattern) for pattern in ADAPTERS):
            raise BadInput(
                f"{path}: an adapter in the folder of a base model, into which transformers would "
                "load it; move it elsewhere, or merge it into the weights"
            )


def check_code(files: Iterable[Path]) -> None:
    """Raise BadInput if one of a snapshot's configs asks for code of its own, or is no JSON."""
    for path in files:
        read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a snapshot.

    Raises
    ------
    BadInput
        If the file holds no such object, if that has the key `auto_map` at any depth, if a key has
        two values, or a value is no number.
    """
    refuse_stand_in(path)

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if CODE in found:
            raise BadInput(
                f"{path}: found {CODE}, which asks for code of the model's own; code of a model "
                "never runs here, and allowed are models that transformers itself has a class for"
            )
        for key, value in pairs if len(found) < len(pairs) else ():
            if repr(value) != repr(found[key]):
                raise BadInput(f"{path}: found {key} twice, with different values")
        return found

    def constant(name: str) -> float:
        if name == "NaN":
            raise BadInput(f"{path}: found NaN; allowed are numbers")
        return float(name)

    try:
        content = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=checked, parse_constant=constant
        )
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: found {type(content).__name__}, allowed is a JSON object")
    return content


def read_config(folder: Path) -> "PreTrainedConfig":
    """Return the config of a snapshot.

    Raises
    ------
    BadInput
        If transformers has no causal language model for it, or does not take its values.
    """
    from transformers import AutoConfig
    from transformers import __version__ as version
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    path = folder / "config.json"
    content = read_object(path)
    if OTHER_FILE in content:
        raise BadInput(
            f"{path}: found {OTHER_FILE}, which names other weights; allowed are "
            "model.safetensors and its shards"
        )
    kind = content.get("model_type")
    if not isinstance(kind, str) or kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise BadInput(
            f"{path}: model_type: found {kind!r}; allowed are those of causal language models in "
            f"transformers {version}, such as llama or qwen2"
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise BadInput(f"{path}: transformers does not take it: {brief(error)}") from None
    size = getattr(config.get_text_config(), "vocab_size", None)
    if not isinstance(size, int) or size < 1:
        raise BadInput(f"{path}: vocab_size: found {size!r}; allowed are positive whole numbers")
    return config


def vocabulary(config: "PreTrainedConfig") -> int:
    """Return the number of tokens that a model embeds."""
    return config.get_text_config().vocab_size


def check_ids(folder: Path, size: int) -> None:
    """Raise BadInput if a special token of a snapshot's configs is not among `size` tokens."""
    for name in ("config.json", "generation_config.json"):
        path = folder / name
        content = read_object(path) if path.exists() else {}
        for part in (content, content.get("text_config")):
            for key, value in part.items() if isinstance(part, dict) else ():
                for token in value if isinstance(value, list) else [value]:
                    if ID.fullmatch(key) and not _is_id(token, key, size):
                        raise BadInput(
                            f"{path}: {key}: found {token!r}; allowed are ids below the "
                            f"vocab_size of config.json, {size}"
                        )


def check_generation(folder: Path) -> None:
    """Raise BadInput if transformers cannot sample as a snapshot's generation_config.json says."""
    from transformers import GenerationConfig

    path = folder / "generation_config.json"
    if not path.exists():
        return
    content = read_object(path)
    for key in SAMPLING:
        if not isinstance(content.get(key), int | float | None):
            raise BadInput(f"{path}: {key}: found {content[key]!r}; allowed are numbers")
    if not isinstance(content.get("do_sample"), bool | None):
        found = content["do_sample"]
        raise BadInput(f"{path}: do_sample: found {found!r}; allowed are true and false")
    try:
        GenerationConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:
        raise BadInput(f"{path}: transformers does not take it: {brief(error)}") from None


def _is_id(value: Any, key: str, size: int) -> bool:
    if value is None or (value == -1 and key == "pad_token_id"):
        # Old Llamas say -1 for no pad token.
        return True
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < size


def brief(error: Exception) -> str:
    """Return what a library says, on one line that is not too long, without names of classes."""
    text = str(error.__cause__ or error) or type(error).__name__
    said = re.sub(r"<class '([\w.]+)'>", r"\1", " ".join(text.split()))
    return (f"no {said}" if isinstance(error, KeyError) else said)[:LONGEST]
