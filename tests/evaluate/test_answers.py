"""The number that an answer ends in."""

import pytest

from scripts.evaluate.answers import final_number, marked_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7\n#### 7", 7),
        ("#### 7\nand 8 more words", 7),
        ("It costs $1,234.50.", 1234.5),
        ("between 3 and -2", -2),
        ("#### -$5", -5),
        ("2 pens, 3 caps", 3),
        ("3,4,5", 5),
        ("from 2019-2020", 2020),
        ("12.", 12),
        ("no number", None),
        ("", None),
        ("12 pens #### none", None),
    ],
)
def test_final_number(text: str, number: float | None) -> None:
    assert final_number(text) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### 1,234.50", "1234.50"),
        ("It is #### 7. And #### 8", "7"),
        ("#### -5", "-5"),
        ("####7", None),
        ("#### $7", None),
        ("7", None),
        ("", None),
    ],
)
def test_marked_number(text: str, number: str | None) -> None:
    assert marked_number(text) == number
