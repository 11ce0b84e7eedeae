"""The number that an answer ends in."""

import random
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from scripts.evaluate.answers import calls, final_number, marked_number


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
        # A mark counts where a number follows it directly.
        ("12 pens #### none", 12),
        ("#### Step 1: Eggs\n16 - 3 - 4 = 9\n#### Step 2: Money\n9 * 2 = 18\nIt is **18**.", 18),
        ("#### Final answer\nShe makes 9 * 2 = $18 every day.", 18),
        ("#### 1. Eggs\n5 eggs\n#### 2. Money\n5 * 2 = $10", 10),
        ("The total is 18 ####", 18),
        ("####", None),
        ("####18\n\nQuestion: 3 pens", 18),
        ("#### **18**\n3 pens", 18),
        ("#### 18. That is all", 18),
        ("#### 3.50 dollars for 2", 3.5),
        ("#### 5\n#### 6 pens of 7", 6),
        ("##### 5\n6", 6),
        # What stands around digits.
        ("9 eggs. The answer is _18_.", 18),
        ("She sells 9 eggs and earns Rs18.", 18),
        ("9 eggs for USD18", 18),
        ("9 eggs for Rs.18", 18),
        ("9 eggs for £18", 18),
        ("\\boxed{18}", 18),
        ("75%", 75),
        ("the answer is...18", 18),
        # Fractions and commas.
        ("Half of it is .5", 0.5),
        ("It costs $.50", 0.5),
        ("see Fig.5", 5),
        ("1,234,567.89", 1234567.89),
        ("Rs 12,34,567", 1234567),
        ("1,2345", 2345),
        ("version 1.2.3", 1.2),
        # Signs.
        ("10-3", 3),
        ("(4)-3", 3),
        ("COVID-19", 19),
        ("x = -.5", -0.5),
        ("$-5", -5),
        ("_-5_", -5),
        ("\u22125", -5),
        ("١٨", 18),
        ("...", None),
        ("$,", None),
        # No float is this number: the next one is 10^16, or infinite.
        ("9007199254740993", 2**53 + 1),
        ("-9,007,199,254,740,993", -(2**53) - 1),
        ("0.30000000000000001", Decimal("0.30000000000000001")),
        ("9" * 400, 10**400 - 1),
        (f"#### {'9' * 400}.5", Decimal("9" * 400 + ".5")),
        ("0." + "0" * 400 + "1", Decimal("1e-401")),
    ],
)
def test_final_number(text: str, number: float | Decimal | None) -> None:
    assert final_number(text) == number


def test_numbers_that_differ_in_the_last_digit_are_different() -> None:
    for one, two in [("123456789012345678", "123456789012345679"), ("9" * 400, "9" * 401)]:
        assert final_number(one) != final_number(two)
    assert isinstance(final_number("$1,234.56"), float)


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


# lm-evaluation-harness, lm_eval/tasks/gsm8k/gsm8k.yaml: the patterns of strict-match, whose first
# match counts, and of flexible-extract, whose last one does; exact_match then ignores ",", "\\$",
# "(?s).*#### " and "\\.$".
STRICT = r"#### (\-?[0-9\.\,]+)"
FLEXIBLE = r"(-?[$0-9.,]{2,})|(-?[0-9]+)"


def strict(text: str) -> str | None:
    found = re.findall(STRICT, text)
    return ignoring(found[0]) if found else None


def flexible(text: str) -> str | None:
    found = re.findall(FLEXIBLE, text)
    return ignoring(next(filter(None, found[-1]))) if found else None


def ignoring(found: str) -> str:
    return re.sub(r"\.$", "", found.replace(",", "").replace("$", ""))


def assert_as_the_harness(text: str) -> None:
    """A hyphen behind a word, number or bracket would differ, and a mark without digits."""
    found = flexible(text)
    assert final_number(text) == (None if found is None else float(found)), text
    assert marked_number(text) == strict(text), text


def test_real_answers_are_read_as_the_harness_does(hub: Path) -> None:
    import pyarrow.parquet as pq

    path = hub / "datasets" / "openai" / "gsm8k" / "main" / "test-00000-of-00001.parquet"
    answers = pq.read_table(path)["answer"].to_pylist()
    assert len(answers) == 1319
    for answer in answers:
        assert_as_the_harness(answer)
        assert final_number(answer) == float(strict(answer) or "nan")
        # Each line as an answer without a mark; inside << >> GSM8K repeats the calculation.
        for line in re.sub("<<.*?>>", "", answer).partition("####")[0].splitlines():
            if not re.search(r"[\w)]-\d", line):
                assert_as_the_harness(line)


FORMS = ["{}", "{:,}", "-{}", "${}", "-${}", "${:,}.50", "{}.25", "Rs{}", "_{}_", "**{}**",
         "USD{:,}", "{}%", "({})", r"\boxed{{{}}}", "{}th"]  # fmt: skip


def generated(count: int) -> Iterator[str]:
    """Yield answers of words and numbers as models write them."""
    dice = random.Random(0)

    def number() -> str:
        n = dice.choice([dice.randrange(10), dice.randrange(100), dice.randrange(10**7)])
        return dice.choice(FORMS).format(n)

    words = ["She sells", "eggs", "is", "=", "and so", "the answer:", "+", "\n", "so that", "costs"]
    for _ in range(count):
        said = [dice.choice([dice.choice(words), number()]) for _ in range(dice.randrange(1, 12))]
        end = dice.choice(["", ".", ", it is", " pens", f"\n#### {dice.randrange(10**4):,}"])
        yield " ".join(said) + end


def test_generated_answers_are_read_as_the_harness_does() -> None:
    for text in generated(1000):
        assert_as_the_harness(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I call nothing: {x}, {1: 2}, [1], {}", []),
        ('{"name": "f", "arguments": {"b": 1, "a": {"name": "g", "arguments": {}}}}',
         [("f", '{"a": {"arguments": {}, "name": "g"}, "b": 1}')]),
        ('[TOOL_CALLS][{"name": "f", "arguments": {}}, {"name": "g", "parameters": {"x": "ä"}}]',
         [("f", "{}"), ("g", '{"x": "ä"}')]),
        ('{"name": "f", "arguments": "{}"} {"name": 3, "arguments": {}} {"name": "f"', []),
    ],
)  # fmt: skip
def test_calls(text: str, found: list[tuple[str, str]]) -> None:
    assert calls(text) == found
