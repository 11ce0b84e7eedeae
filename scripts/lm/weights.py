"""A snapshot's weights as its files' headers tell them: without torch, and without reading one."""

import fnmatch
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scripts.common.cli import BadInput
from scripts.lm.checks import read_object, refuse_stand_in

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
SHARD = "model-*-of-*.safetensors"
LONGEST_HEADER = 100_000_000
"""Bytes, as safetensors allows."""


class Tensor(NamedTuple):
    """A tensor of a safetensors file."""

    file: Path
    dtype: str
    shape: tuple[int, ...]


def read_weights(folder: Path, names: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors that transformers loads from a snapshot.

    Parameters
    ----------
    names
        The snapshot's files.

    Raises
    ------
    BadInput
        If a file of weights is missing, not whole or not the only one with a tensor, or if they
        are not what the index lists.
    """
    names = sorted(names)
    if INDEX not in names:
        if WEIGHTS not in names:
            present = ", ".join(names) or "nothing"
            raise BadInput(
                f"{folder}: a model needs {WEIGHTS}, or {INDEX} and what it lists; found {present}"
            )
        return read_tensors(folder / WEIGHTS)
    index = folder / INDEX
    places = _places(index)
    shards = sorted(set(places.values()))
    _check_shards(index, shards, names)
    found: dict[str, Tensor] = {}
    for shard in shards:
        for name, tensor in read_tensors(folder / shard).items():
            if name in found:
                raise BadInput(
                    f"{tensor.file}: found {name}, which is in {found[name].file.name} too; "
                    "a tensor is in one file"
                )
            found[name] = tensor
    for name, shard in places.items():
        if name not in found or found[name].file.name != Path(shard).name:
            where = f"it is in {found[name].file.name}" if name in found else "no file has it"
            raise BadInput(f"{index}: lists {name} in {shard}, but {where}")
    return found


def _places(index: Path) -> dict[str, str]:
    """Return the file of each tensor that an index lists."""
    content = read_object(index)
    places = content.get("weight_map")
    if (
        not isinstance(places, dict)
        or not places
        or not all(isinstance(shard, str) for shard in places.values())
    ):
        raise BadInput(f"{index}: needs weight_map, a file name for each tensor")
    if not isinstance(content.get("metadata"), dict):
        raise BadInput(f"{index}: needs metadata, which transformers reads; allowed is an object")
    return places


def _check_shards(index: Path, shards: list[str], names: list[str]) -> None:
    if missing := [shard for shard in shards if shard not in names]:
        present = ", ".join(fnmatch.filter(names, "*.safetensors")) or "none"
        raise BadInput(
            f"{index}: lists {', '.join(missing)}, which the snapshot lacks; found {present}"
        )
    others = [WEIGHTS, *fnmatch.filter(names, SHARD)]
    if unlisted := [name for name in others if name in names and name not in shards]:
        raise BadInput(
            f"{index.parent / unlisted[0]}: {INDEX} does not list it, so that it is unclear which "
            "weights are the model's; remove what does not belong to it"
        )


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors in the header of a safetensors file, which has to be whole."""
    from safetensors import SafetensorError, safe_open

    refuse_stand_in(path)
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: Tensor(path, part.get_dtype(), tuple(part.get_shape()))
                for name, part in slices.items()
            }
    except (SafetensorError, OSError) as error:
        raise BadInput(f"{path}: {_fault(path, error)}") from None


def _fault(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that safetensors does not read."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(8)
        length = int.from_bytes(begin, "little")
        header = file.read(length) if length <= LONGEST_HEADER else b""
    if 8 <= size < 8 + length <= LONGEST_HEADER:
        return (
            f"cut off, or not safetensors: found {size} bytes that begin with {begin!r}, which "
            f"tells a header of {length}"
        )
    told = " ".join(str(error).split()).removeprefix("Error while deserializing header: ")
    try:
        parts = json.loads(header)
        ends = [part["data_offsets"][1] for name, part in parts.items() if name != "__metadata__"]
        needed = 8 + length + max(ends)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return f"not safetensors ({told}); found {size} bytes that begin with {begin!r}"
    if size != needed and "not fully covered" in told:
        return f"found {size} bytes, allowed are the {needed} of its header; fetch it again"
    return f"not safetensors ({told})"
