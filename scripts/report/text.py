"""How numbers and text are written for people: in tables, captions and on the page."""

import base64
import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Any

DASH = "–"
"""Stands where there is no value."""
FELL = "↓"
"""Marks chosen completions that became less likely."""
SELECTED = "†"
"""Marks a trial whose adapter was selected on the split that is reported."""

ENDS = {"eos": "itself", "length": "cut off"}
"""By what an answer ended."""

Show = Callable[[Any], str]


def missing(value: Any) -> bool:
    """Return True for None, NaN and pandas' NA, without an import of pandas."""
    return value is None or type(value).__name__ == "NAType" or value != value


def shown(value: Any, show: Show = str) -> str:
    """Return a value as text, or a dash where there is none."""
    return DASH if missing(value) else show(value)


def shown_interval(low: Any, high: Any, show: Show) -> str:
    """Return an interval in brackets, or a dash where there is none."""
    return DASH if missing(low) or missing(high) else f"[{show(low)}, {show(high)}]"


def decimals(places: int) -> Show:
    """Return what writes a number with so many decimals."""
    return lambda value: f"{value:z,.{places}f}".replace("-", "−")


def change(places: int) -> Show:
    """Return what writes a difference, with its sign."""
    return lambda value: f"{value:+z,.{places}f}".replace("-", "−")


def count(value: int) -> str:
    """Return a whole number with commas between thousands."""
    return f"{value:,}"


def short(value: float) -> str:
    """Return a setting as people write it: 0.05, 3, 1.5."""
    return f"{value:g}"


def power(value: float) -> str:
    """Return a learning rate as people write it: 2e-4."""
    mantissa, exponent = f"{value:.3e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def printable(text: str) -> str:
    """Return text with its control characters, which nobody sees, as code points."""
    return "".join(
        code_point(it) if unicodedata.category(it) in ("Cc", "Cf") and not it.isspace() else it
        for it in text
    )


def code_point(character: str) -> str:
    """Return a character as its code point: [U+200B]."""
    return f"[U+{ord(character):04X}]"


def markdown(text: str, whole: bool = False) -> str:
    """Return a line of text in which Markdown sees no markup, link, image, entity or formula.

    Brackets, as those of intervals, and other marks stay as they are where they stand for
    themselves; in a `whole` text, which is longer and anybody's, none does.
    """
    marks = WHOLE if whole else MARKUP
    return marks.sub(r"\\\g<0>", " ".join(printable(text).split()))


WHOLE = re.compile(r"[\\`*_<>|~$&!#\[\]]")
MARKUP = re.compile(r"[\\`*_<>|~$]|!(?=\[)|\](?=[(\[:])|&(?=#|\w+;)|^(?:[-+](?=\s)|#)")


def allowed(source: str) -> str:
    """Return how the policy of a page names the one script or style sheet that it allows.

    https://www.w3.org/TR/CSP3/#grammardef-hash-source
    """
    return "sha256-" + base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
