"""Headers of safetensors files: what they tell, and which are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.lm.weights import Tensor, read_tensors


def header(content: Any, data: int = 0, length: int | None = None) -> bytes:
    """Return a file's bytes; the header is JSON, or is given as bytes."""
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    length = len(text) if length is None else length
    return length.to_bytes(8, "little") + text + bytes(data)


def part(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_tensors_are_told_without_their_values(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    told = {
        "__metadata__": {"format": "pt"},
        "b": part([2, 3], 4, 16, "BF16"),
        "a": part([], 0, 4),
        "none": part([0, 7], 16, 16),
    }
    path.write_bytes(header(told, 16))
    assert read_tensors(path) == {
        "a": Tensor(path, "F32", ()),
        "b": Tensor(path, "BF16", (2, 3)),
        "none": Tensor(path, "F32", (0, 7)),
    }
    path.write_bytes(header({}))
    assert read_tensors(path) == {}


WHOLE = header({"a": part([4], 0, 16)}, 16)
TWICE = (
    b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "a": ' + b'{"dtype": "F32", '
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not safetensors (header too small); found 0 bytes that begin with b''"),
        (WHOLE[:5], "not safetensors (header too small); found 5 bytes"),
        (WHOLE[:30], "cut off, or not safetensors: found 30 bytes that begin with b'>"),
        (WHOLE[:-1], f"found {len(WHOLE) - 1} bytes, allowed are the {len(WHOLE)} of its header"),
        (WHOLE + b"1", f"found {len(WHOLE) + 1} bytes, allowed are the {len(WHOLE)} of its he"),
        (b"Entry not found", "not safetensors (header too large); found 15 bytes that begin with"),
        (
            b"GGUF" + bytes(99),
            "not safetensors (header too large); found 103 bytes that begin with b'GGUF",
        ),
        (bytes(100), "not safetensors (invalid JSON in header: "),
        (header({}, length=2**63), "not safetensors (header too large)"),
        (header({}, length=100_000_001), "not safetensors (header too large)"),
        (header([]), "not safetensors (invalid JSON in header: "),
        (header(b'{"\xff": 1}'), "not safetensors (invalid UTF-8 in header: "),
        (header(b"[" * 99_999), "not safetensors (invalid JSON in header: "),
        (
            header({"a": part([1], 0, 4), "b": part([1], 8, 12)}, 12),
            "invalid offset for tensor `b`",
        ),
        (header({"a": part([2], 0, 8), "b": part([1], 4, 8)}, 8), "invalid offset for tensor `b`"),
        (header({"a": part([4], 16, 0)}, 16), "invalid offset for tensor `a`"),
        (header({"a": part([5], 0, 16)}, 16), "invalid shape, data type, or offset for tensor"),
        (header({"a": part([-4], 0, 16)}, 16), "invalid value: integer `-4`"),
        (header({"a": part([2**40, 2**40], 0, 16)}, 16), "overflow computing buffer size"),
        (header({"a": part([4], 0, 16, "Q4")}, 16), "unknown variant `Q4`"),
        (header({"a": {"dtype": "F32", "shape": [4]}}, 16), "missing field `data_offsets`"),
        (header({"__metadata__": {"x": 1}, "a": part([4], 0, 16)}, 16), "expected a string"),
        (
            header(TWICE + b'"shape": [4], "data_offsets": [16, 32]}}', 32),
            "invalid offset for tensor `a`",
        ),
    ],
)
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(BadInput) as refused:
        read_tensors(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
