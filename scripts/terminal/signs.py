"""The page of all signs that a trial goes wrong: `python -m scripts.terminal.signs`."""

from collections.abc import Iterable
from typing import get_args

from scripts.common.signs import Sign
from scripts.train.signs import SIGNS, Stopper

INTRODUCTION = """\
# Signs that a trial goes wrong

Every sign, with its threshold and the reason for it, as the code declares it; `make docs` writes
this page. A sign is a warning, or a note: something to know that need not be wrong.
"""
TRAINING = """\
## While training

Declared in `scripts/train/signs.py`. A sign is printed in the trial's log when it appears and when
it passes. What holds is in `progress.json`, and at the end in `train.json` and in the model card of
the adapter; `prefmake status` shows both. They are judged by what the trainer logs anyway, so they
cost nothing: with `eval_strategy`, the validation split is evaluated before the first step too.

`stop_when: [chosen_free_fall, loss_exploded]`, a key of a trial, stops it when one of these appears
(■ below: may be named), with the step, the ids of its rows and a non-zero exit. A checkpoint is
written first: when the sign is taken out of `stop_when`, the trial resumes from there, and ends as
if it had never stopped. A change of `stop_when` retrains nothing.
"""


def rows(signs: Iterable[Sign]) -> list[str]:
    """Return a table of signs, in Markdown."""
    lines = ["| sign | holds when | why |", "|---|---|---|"]
    for sign in signs:
        marks = " (note)" * sign.note + " ■" * (sign.name in get_args(Stopper))
        lines.append(f"| `{sign.name}`{marks} | {sign.holds.format(**sign.limits)} | {sign.why} |")
    return lines


def page() -> str:
    """Return docs/signs.md."""
    return "\n".join([INTRODUCTION, TRAINING, *rows(SIGNS.values()), ""])


if __name__ == "__main__":
    print(page(), end="")
