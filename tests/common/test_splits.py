"""Slices in the notation of `datasets`."""

import pytest

from scripts.common.splits import parse_slices, require_disjoint


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train", [("train", None, None)]),
        ("train[:5000]", [("train", None, 5000)]),
        ("train[:1]", [("train", None, 1)]),
        ("train[5000:]", [("train", 5000, None)]),
        ("test_0[2:4]", [("test_0", 2, 4)]),
        ("train+valid[:9]", [("train", None, None), ("valid", None, 9)]),
    ],
)
def test_slices(text: str, parts: list[tuple[str, int | None, int | None]]) -> None:
    assert parse_slices(text) == parts


@pytest.mark.parametrize(
    "text",
    [
        "",
        "train[",
        "train[5]",
        "train[-5:]",
        "train[:10%]",
        "train+",
        "train\n",
        "train[٣:]",
        " train",
    ],
)
def test_what_is_no_slice(text: str) -> None:
    with pytest.raises(ValueError, match="neither a split nor a slice"):
        parse_slices(text)


@pytest.mark.parametrize("text", ["train[5:5]", "train[9:2]", "train[:0]", "train+valid[3:1]"])
def test_a_slice_without_a_row(text: str) -> None:
    with pytest.raises(ValueError, match="ends before it begins"):
        parse_slices(text)


def test_a_number_beyond_any_source() -> None:
    assert parse_slices(f"train[:{'9' * 18}]") == [("train", None, 10**18 - 1)]
    with pytest.raises(ValueError, match="at most 18 digits"):
        parse_slices(f"train[{'9' * 5000}:]")


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ("train+train", "train has rows of train;"),
        ("train[:20]+train[10:30]", r"train\[10:30\] has rows of train\[:20\];"),
        ("train[5:]+valid+train[7:8]", r"train\[7:8\] has rows of train\[5:\];"),
        ("train[0:3]+train[2:]", r"train\[2:\] has rows of train\[0:3\];"),
        ("train[2:]+train[0:3]", r"train\[0:3\] has rows of train\[2:\];"),
        ("train[:1]+train[:1]", r"train\[:1\] has rows of train\[:1\];"),
    ],
)
def test_a_row_is_drawn_once(text: str, twice: str) -> None:
    with pytest.raises(ValueError, match=f"^{twice} a row may be drawn once$"):
        parse_slices(text)


def test_slices_that_touch_do_not_overlap() -> None:
    assert len(parse_slices("train[:2]+train[2:5]+train[5:]+valid[:2]")) == 4
    assert len(parse_slices("train[5:]+train[2:5]+train[:2]")) == 3


def test_two_splits_share_no_row() -> None:
    slices = {"train": parse_slices("train[:9]"), "test": parse_slices("valid+train[8:]")}
    with pytest.raises(ValueError, match=r"train\[8:\] has rows of train\[:9\] \(train and test\)"):
        require_disjoint(slices)
