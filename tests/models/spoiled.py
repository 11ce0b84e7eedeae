"""Ways to spoil a copy of a model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

STAND_IN = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 1044992\n"
INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]

Spoil = Callable[[Path], object]
"""Takes the folder of the copy."""


def write(name: str, content: str | bytes) -> Spoil:
    """Return a function that writes a file."""
    return lambda folder: (folder / name).write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def remove(name: str) -> Spoil:
    """Return a function that removes a file."""
    return lambda folder: (folder / name).unlink()


def cut(name: str, size: int) -> Spoil:
    """Return a function that keeps so many bytes of a file."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def edit(name: str, **values: Any) -> Spoil:
    """Return a function that sets keys of a JSON file; an ellipsis removes one."""

    def spoil(folder: Path) -> None:
        path = folder / name
        content = json.loads(path.read_text()) if path.exists() else {}
        content |= values
        kept = {key: value for key, value in content.items() if value is not ...}
        path.write_text(json.dumps(kept))

    return spoil


def tokenizer(change: Callable[[dict[str, Any]], object]) -> Spoil:
    """Return a function that changes the content of tokenizer.json in place."""

    def spoil(folder: Path) -> None:
        content = json.loads((folder / "tokenizer.json").read_text())
        change(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return spoil


def added(token: str, number: int) -> dict[str, Any]:
    """Return a special token as tokenizer.json lists it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": token, "special": True, **flags}


def weights(change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> Spoil:
    """Return a function that saves the tensors that `change` returns, or has changed in place."""

    def spoil(folder: Path) -> None:
        from safetensors.torch import load, save_file

        tensors = load((folder / WEIGHTS).read_bytes())
        changed = change(tensors)
        save_file(tensors if changed is None else changed, folder / WEIGHTS, {"format": "pt"})

    return spoil


def renamed(change: Callable[[str], str | None]) -> Spoil:
    """Return a function that renames tensors, or leaves out those whose new name is None."""
    return weights(
        lambda tensors: {new: it for old, it in tensors.items() if (new := change(old)) is not None}
    )


def sharded(
    index: Callable[[dict[str, Any]], object] = lambda index: None, then: Spoil | None = None
) -> Spoil:
    """Return a function that divides the weights into two files, in turn.

    Parameters
    ----------
    index
        Changes the index in place.
    then
        Spoils the result.
    """

    def spoil(folder: Path) -> None:
        from safetensors.torch import load, save_file

        tensors = load((folder / WEIGHTS).read_bytes())
        (folder / WEIGHTS).unlink()
        places = {}
        for number, shard in enumerate(SHARDS):
            names = sorted(tensors)[number::2]
            save_file({name: tensors[name] for name in names}, folder / shard, {"format": "pt"})
            places |= dict.fromkeys(names, shard)
        content: dict[str, Any] = {"metadata": {}, "weight_map": places}
        index(content)
        (folder / INDEX).write_text(json.dumps(content))
        if then:
            then(folder)

    return spoil
