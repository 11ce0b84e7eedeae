"""The number at the end of a worked answer."""

import re

_NUMBER = re.compile(r"(?<![\w.])-?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\d])")
_MARKED = re.compile(r"#### (-?[0-9.,]+)")


def final_number(text: str) -> float | None:
    """Return the last number in a text, or None where there is none.

    A number behind GSM8K's own mark, as in `#### 12`, takes precedence over all others. Commas
    between thousands and a dollar sign before the digits are allowed.
    """
    _, mark, marked = text.rpartition("####")
    numbers = _NUMBER.findall(marked if mark else text)
    if not numbers:
        return None
    number = numbers[0] if mark else numbers[-1]
    return float(number.replace(",", "").replace("$", ""))


def marked_number(text: str) -> str | None:
    """Return the first number behind `#### `, without commas and a final full stop, or None.

    It is the text that lm-evaluation-harness's GSM8K task compares under strict-match:
    https://github.com/EleutherAI/lm-evaluation-harness, lm_eval/tasks/gsm8k/gsm8k.yaml.
    """
    found = _MARKED.search(text)
    return found[1].replace(",", "").removesuffix(".") if found else None
