"""The final number of a worked answer."""

import re

_NUMBER = re.compile(r"(?<![\w.])-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\d])")


def final_number(text: str) -> float | None:
    """Returns the last number in a text, or None where there is none.

    GSM8K's own mark, `#### 12`, goes before all other numbers. Thousands may be set apart by
    commas, and a dollar sign may stand before the digits.
    """
    _, mark, marked = text.rpartition("####")
    numbers = _NUMBER.findall(marked if mark else text)
    if not numbers:
        return None
    number = numbers[0] if mark else numbers[-1]
    return float(number.replace(",", "").replace("$", ""))
