"""Slices in the notation of `datasets`."""

import pytest

from scripts.common.splits import parse_slices


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train", [("train", None, None)]),
        ("train[:5000]", [("train", None, 5000)]),
        ("train[5000:]", [("train", 5000, None)]),
        ("test_0[2:4]", [("test_0", 2, 4)]),
        ("train+valid[:9]", [("train", None, None), ("valid", None, 9)]),
    ],
)
def test_slices(text: str, parts: list[tuple[str, int | None, int | None]]) -> None:
    assert parse_slices(text) == parts


@pytest.mark.parametrize("text", ["", "train[", "train[5]", "train[-5:]", "train[:10%]", "train+"])
def test_what_is_no_slice(text: str) -> None:
    with pytest.raises(ValueError, match="neither a split nor a slice"):
        parse_slices(text)
