"""What a sign is: something to see in a trial that says it went wrong.

The signs of training are declared in `scripts/train/signs.py`, those of evaluation in
`scripts/evaluate/signs.py`, each with its threshold and the reason for it. They are apart because
code digests follow imports: a threshold of evaluation must retrain nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from scripts.common.files import Row


@dataclass(frozen=True, kw_only=True)
class Sign:
    """A sign that a trial went wrong.

    Attributes
    ----------
    name
        In files, and in `stop_when`.
    holds
        When it holds, with its limits in braces.
    why
        What it means, and why the limits are where they are.
    note
        True for what a reader should know but what need not be wrong.
    """

    name: str
    holds: str
    why: str
    limits: Mapping[str, float] = field(default_factory=dict)
    note: bool = False

    def found(self, text: str, **place: int | str | None) -> Row:
        """Return what files have of a sign that holds.

        Parameters
        ----------
        text
            What was found, in one line.
        place
            Where: the step from which on it holds, or the set of prompts.
        """
        return {"sign": self.name, "note": self.note, "text": text, **place}


def said(found: Row) -> str:
    """Return a sign that files have, in one line."""
    kind = "note" if found["note"] else "warning"
    step, prompts = found.get("step"), found.get("set")
    where = f" (since step {step:g})" if step else f" (prompts {prompts})" if prompts else ""
    return f"{kind}: {found['sign']}: {found['text']}{where}"
