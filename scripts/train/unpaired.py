"""Unpaired rows, each judged good or bad, as KTO learns them; pairs are two of them each.

KTO (Ethayarajh et al. 2024, https://arxiv.org/abs/2402.01306) estimates how far the policy is from
its reference on completions that do not belong to their prompts: within a micro-batch, each prompt
is given the completion of another row, its partner. Partners depend on the order of the rows and on
the size of a micro-batch, so the reference's log-probs of them do, too.
"""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from scripts.common.cli import BadInput
from scripts.common.files import Row

SIDES = {"chosen": True, "rejected": False}


def unpaired(rows: list[Row], seed: int, window: int) -> list[Row]:
    """Return unpaired rows, or the two rows of each pair, in the order in which they are learned.

    Each has id (of a pair's with its side), prompt_ids, completion_ids, label, and partner_ids: the
    completion of another row of its window with another prompt, the nearest before it in turn.

    Parameters
    ----------
    seed
        Of the order. The trainer itself does not shuffle.
    window
        Rows of a micro-batch.

    Raises
    ------
    BadInput
        When there are not enough prompts for each window to have two.
    """
    rows = [single for row in rows for single in ([row] if "label" in row else _sides(row))]
    random.Random(seed).shuffle(rows)
    for start in range(0, len(rows), window):
        if _is_of_one(rows, start, window):
            _exchange(rows, start, window)
    return [row | {"partner_ids": _partner(rows, place, window)} for place, row in enumerate(rows)]


def _sides(pair: Row) -> list[Row]:
    return [
        {"id": f"{pair['id']}/{side}", "prompt_ids": pair["prompt_ids"],
         "completion_ids": pair[f"{side}_ids"], "label": label}
        for side, label in SIDES.items()
    ]  # fmt: skip


def _is_of_one(rows: list[Row], start: int, window: int) -> bool:
    """Return True if the rows of a window, more than one, have one prompt."""
    prompts = [row["prompt_ids"] for row in rows[start : start + window]]
    return len(prompts) > 1 and all(prompt == prompts[0] for prompt in prompts)


def _exchange(rows: list[Row], start: int, window: int) -> None:
    """Exchange a window's first row for the next one that leaves both windows two prompts."""
    for place in chain(range(start + window, len(rows)), range(start)):
        rows[start], rows[place] = rows[place], rows[start]
        if not any(_is_of_one(rows, it, window) for it in (start, place - place % window)):
            return
        rows[start], rows[place] = rows[place], rows[start]
    most = max(Counter(tuple(row["prompt_ids"]) for row in rows).values())
    raise BadInput(
        f"KTO compares rows of different prompts within a micro-batch of {window}: found {most} of "
        f"{len(rows)} rows with one prompt"
    )


def _partner(rows: list[Row], place: int, window: int) -> list[int]:
    own = rows[place]["prompt_ids"]
    others = (rows[it]["completion_ids"] for it in _before(place, window, len(rows))
              if rows[it]["prompt_ids"] != own)  # fmt: skip
    found: list[int] = next(others)
    return found


def _before(place: int, window: int, count: int) -> Iterator[int]:
    """Yield the places of a window before one, in turn, and then all before the window."""
    start = place - place % window
    size = min(window, count - start)
    yield from (start + (place - start - back) % size for back in range(1, size))
    yield from range(start - 1, -1, -1)
