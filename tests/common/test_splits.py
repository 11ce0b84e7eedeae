"""Slices in the notation of `datasets`."""

import pytest

from scripts.common.splits import parse_slice


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train", ("train", None, None)),
        ("train[:5000]", ("train", None, 5000)),
        ("train[5000:]", ("train", 5000, None)),
        ("test_0[2:4]", ("test_0", 2, 4)),
    ],
)
def test_slices(text: str, parts: tuple[str, int | None, int | None]) -> None:
    assert parse_slice(text) == parts


@pytest.mark.parametrize("text", ["", "train[", "train[5]", "train[-5:]", "train[:10%]"])
def test_what_is_no_slice(text: str) -> None:
    with pytest.raises(ValueError, match="neither a split nor a slice"):
        parse_slice(text)
