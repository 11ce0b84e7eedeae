"""Pairs as single rows: their order, and the completions that they are compared with."""

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import Row
from scripts.train.unpaired import unpaired


def pairs(prompts: list[int]) -> list[Row]:
    """Return pairs whose completions tell them apart."""
    return [
        {"id": f"p{i}", "prompt_ids": [prompt], "chosen_ids": [100 + i], "rejected_ids": [200 + i]}
        for i, prompt in enumerate(prompts)
    ]


def test_each_pair_is_two_rows_in_an_order_of_the_seed() -> None:
    rows = unpaired(pairs([1, 2, 3, 4]), 0, 2)
    assert sorted((row["id"], row["prompt_ids"], row["completion_ids"], row["label"])
                  for row in rows) == [
        (f"p{i}/{side}", [i + 1], [start + i], side == "chosen")
        for i in range(4) for side, start in (("chosen", 100), ("rejected", 200))
    ]  # fmt: skip
    assert rows == unpaired(pairs([1, 2, 3, 4]), 0, 2)
    order = [row["id"] for row in rows]
    assert order != [row["id"] for row in unpaired(pairs([1, 2, 3, 4]), 1, 2)]
    # Not all good ones first.
    assert [row["label"] for row in rows] != sorted((row["label"] for row in rows), reverse=True)


def test_partners_rotate_within_a_window() -> None:
    """As in TRL, each row has the completion of the row before it, and the first the last's."""
    rows = unpaired(pairs([*range(1, 10)]), 3, 6)
    for start in range(0, 18, 6):
        window = rows[start : start + 6]
        prompts = [row["prompt_ids"] for row in window]
        if len({*map(tuple, prompts)}) == 6:
            before = [window[-1], *window[:-1]]
            assert [row["partner_ids"] for row in window] == [it["completion_ids"] for it in before]
            break
    else:
        pytest.fail("no window has six prompts")


@pytest.mark.parametrize("window", [2, 3, 4, 5])
@pytest.mark.parametrize("prompts", [[1] * 6 + [2] * 6 + [3], [1, 2] * 6, [1, 1, 1, 2, 2, 3, 3, 3]])
@pytest.mark.parametrize("seed", range(5))
def test_a_partner_comes_from_another_prompt_of_the_window(
    prompts: list[int], window: int, seed: int
) -> None:
    rows = unpaired(pairs(prompts), seed, window)
    for place, row in enumerate(rows):
        start = place - place % window
        others = rows[start : start + window]
        if len(others) == 1:
            # The last row alone: an earlier one.
            others = rows
        allowed = [it["completion_ids"] for it in others if it["prompt_ids"] != row["prompt_ids"]]
        assert row["partner_ids"] in allowed


def test_unpaired_rows_are_learned_as_those_of_pairs_are() -> None:
    rows = unpaired(pairs([1, 2, 3, 1]), 5, 4)
    given = [
        {"id": f"{pair['id']}/{side}", "prompt_ids": pair["prompt_ids"],
         "completion_ids": pair[f"{side}_ids"], "label": side == "chosen"}
        for pair in pairs([1, 2, 3, 1]) for side in ("chosen", "rejected")
    ]  # fmt: skip
    assert unpaired(given, 5, 4) == rows


@pytest.mark.parametrize("prompts", [[1, 1, 1], [1] * 20 + [2]])
def test_too_few_prompts_are_refused(prompts: list[int]) -> None:
    found = f"found {2 * prompts.count(1)} of {2 * len(prompts)} rows with one prompt"
    with pytest.raises(BadInput, match=f"within a micro-batch of 4: {found}"):
        unpaired(pairs(prompts), 0, 4)
