"""What is read of an answer: the number at its end, and the functions that it calls."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from scripts.common.texts import composed

_DIGITS = r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)|\d+)(?:\.\d+)?"
"""Digits, with commas between thousands or, as in India, hundreds; then perhaps a fraction."""
_NUMBER = re.compile(
    # A hyphen behind a word, a number or a bracket joins or subtracts: 10-3, COVID-19.
    r"(?:(?<![^\W_])(?<![-)\]}%])-)?\$?"
    # What follows digits or their decimal point is the rest of a number, such as a version's.
    rf"(?:(?<!\d)(?<!\d\.){_DIGITS}|(?<![\w.])\.\d+)"
)
_MARK = re.compile(
    rf"(?<!#)####(?!#)[^\S\n]*[*_]*(?P<number>(?>{_NUMBER.pattern}))"
    # `#### 2. Money` is a heading.
    r"(?!(?:[.):]+[*_]*[^\S\n]+)[^\W\d])"
)
_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_MINUS = str.maketrans("\u2212", "-")


def final_number(text: str) -> float | Decimal | None:
    """Return the last number in a text, or None where there is none.

    It is exact: a Decimal where a float would be another number, as of 20 digits, or infinite.

    A number directly behind GSM8K's own mark, as in `#### 12`, takes precedence over all others;
    of several such the last one. What stands around digits (a currency, a unit, emphasis) is no
    part of a number.
    """
    text = text.translate(_MINUS)
    numbers = [found["number"] for found in _MARK.finditer(text)] or _NUMBER.findall(text)
    if not numbers:
        return None
    number = Decimal(numbers[-1].replace(",", "").replace("$", ""))
    return near if Decimal(repr(near := float(number))) == number else number


def marked_number(text: str) -> str | None:
    """Return the first number behind `#### `, without commas and a final full stop, or None.

    It is the text that lm-evaluation-harness's GSM8K task compares under strict-match:
    https://github.com/EleutherAI/lm-evaluation-harness, lm_eval/tasks/gsm8k/gsm8k.yaml.
    """
    found = _STRICT.search(text)
    return found[1].replace(",", "").removesuffix(".") if found else None


Call = tuple[str, str]
"""A function's name, and its arguments as JSON text with sorted keys."""


def calls(text: str) -> list[Call]:
    """Return the calls in an answer: objects of JSON with a name and arguments (or parameters).

    Templates write calls between marks of their own, which do not matter here.
    """
    return [
        as_call(found["name"], arguments)
        for found in _objects(text)
        for arguments in (found.get("arguments", found.get("parameters")),)
        if isinstance(found.get("name"), str) and isinstance(arguments, dict)
    ]


def as_call(name: str, arguments: dict[str, Any]) -> Call:
    """Return a call in the form in which two are compared."""
    return name, composed(json.dumps(arguments, sort_keys=True, ensure_ascii=False))


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield the outermost JSON objects in a text."""
    decoder = json.JSONDecoder()
    place = text.find("{")
    while place >= 0:
        try:
            found, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield found
        place = text.find("{", end)
