"""Rules that a title can be held against without a model.

What a video's title should be: 30 to 75 characters, a title and nothing else; and how it is framed:
as a question, as a how-to, as an explanation. The patterns are English.
"""

import re
from functools import partial

from scripts.common.files import Row
from scripts.evaluate.scores import MeanMetric, item_metric

SHORTEST, LONGEST = 30, 75

_WORDS = r"(?:video |youtube |suggested |possible |proposed )*(?:titles?|headlines?)"
NOT_ONLY = {
    "label": re.compile(rf"^[*_#\s]*{_WORDS}(?: \d+)?[*_\s]*[:：]", re.IGNORECASE),
    "quotation marks": re.compile(
        r"^[*_]*(?:[\"“”„«][^\"“”„«»]*[\"“”»]|['‘`].*['’`]|「.*」)[*_.]*$", re.DOTALL
    ),
    "emphasis": re.compile(r"^(\*{1,3}|_{1,3})\S.*\1$", re.DOTALL),
    "list mark": re.compile(r"^(?:[-*+•–]\s|#+\s|\(?\d{1,2}[.)]\s)"),
    "introduction": re.compile(
        r"^(?:(?:sure|certainly|of course|absolutely|ok(?:ay)?|great)\s*[,.!:]"
        rf"|here(?:['’]s| is| are)\b[^.?!]*?\b(?:{_WORDS}|options?|suggestions?)\b"
        rf"|(?:an?|the|my|one) (?:good |great |better )?{_WORDS}"
        r" (?:is\s*[:\"“]|(?:could|would|might) be\b)"
        r"|i(?:['’]d| would|) (?:suggest|recommend|propose)\b)",
        re.IGNORECASE,
    ),
    "count": re.compile(r"\(\s*\d+ (?:characters?|chars?|words?)\s*\)\.?$", re.IGNORECASE),
}
"""What stands in an answer that is more than a title."""

HOW_TO = re.compile(r"\bhow[ -]to\b", re.IGNORECASE)
EXPLANATORY = re.compile(
    r"\b(?:why|what|reasons?|explain(?:s|ed|ing|er)?|explanations?|understand(?:s|ing)?"
    r"|(?:science|truth|story|secrets?|meaning|logic) (?:of|behind)|how (?!to\b)(?!-to\b)\w+"
    r"(?: \w+){0,4} works?)\b",
    re.IGNORECASE,
)


def is_long_enough(text: str) -> bool:
    """Returns whether a title has 30 to 75 characters, white space around it left out."""
    return SHORTEST <= len(text.strip()) <= LONGEST


def is_title_only(text: str) -> bool:
    """Returns whether an answer is one line that is a title and nothing else."""
    text = text.strip()
    return len(text.splitlines()) == 1 and not any(mark.search(text) for mark in NOT_ONLY.values())


def is_question(text: str) -> bool:
    """Returns whether a title asks: it has a question mark."""
    return "?" in text or "？" in text


def is_how_to(text: str) -> bool:
    """Returns whether a title promises a how-to."""
    return bool(HOW_TO.search(text))


def is_explanatory(text: str) -> bool:
    """Returns whether a title promises an explanation."""
    return bool(EXPLANATORY.search(text))


RULES = {
    "title_length": is_long_enough,
    "title_only": is_title_only,
    "question": is_question,
    "how_to": is_how_to,
    "explanatory": is_explanatory,
}
"""Each rule by the name of its metric."""


def title_metrics(rows: list[Row], groups: dict[str, str]) -> list[MeanMetric]:
    """Return the share of answers that keep each rule."""
    return [
        item_metric(rows, groups, name, partial(lambda keeps, row: keeps(row["text"]), keeps), True)
        for name, keeps in RULES.items()
    ]
