"""The number that a worked answer ends in."""

import re

_NUMBER = re.compile(r"(?<![\w.])-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\d])")
_MARKED = re.compile(r"#### (-?[0-9.,]+)")


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


def marked_number(text: str) -> str | None:
    """Returns the first number behind `#### `, less commas and a full stop, or None.

    What lm-evaluation-harness's GSM8K task compares under strict-match, as text:
    https://github.com/EleutherAI/lm-evaluation-harness, lm_eval/tasks/gsm8k/gsm8k.yaml.
    """
    found = _MARKED.search(text)
    return found[1].replace(",", "").removesuffix(".") if found else None
