"""What a snapshot's files have to be like, told without torch and without loading a weight.

Models come from strangers. A file that asks for code of its own is refused by its name, before
transformers sees it: that would ask on the terminal whether to run the code.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput

CODE = "auto_map"
"""The key by which a config names classes in Python files of the snapshot."""


def configs_in(folder: Path) -> list[Path]:
    """Return the files of a snapshot's folder that can ask for code."""
    return sorted(folder.glob("*config.json"))


def check_code(files: Iterable[Path]) -> None:
    """Raise BadInput if one of a snapshot's configs asks for code of its own, or is no JSON."""
    for path in files:
        read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file of a snapshot.

    Raises
    ------
    BadInput
        If the file holds no such object, or if that has the key `auto_map` at any depth.
    """

    def checked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if CODE in found:
            raise BadInput(
                f"{path}: found {CODE}, which asks for code of the model's own; code of a model "
                "never runs here, and allowed are models that transformers itself has a class for"
            )
        return found

    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=checked)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict):
        raise BadInput(f"{path}: found {type(content).__name__}, allowed is a JSON object")
    return content
