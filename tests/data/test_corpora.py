"""The demo's corpora: what is committed is what the generator writes, and labels leak nowhere."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORPORA = ROOT / "demo" / "corpora"
SETS = ROOT / "paper"
NAMES = ("problems", "titles", "dialogues", "pretraining")
SET_NAMES = ("summaries", "conversations")

Pair = tuple[str, str, str]


def load_generator() -> ModuleType:
    """Return the generator, which is a script and no package, as a module."""
    spec = importlib.util.spec_from_file_location(
        "demo_make_corpora", ROOT / "demo/make_corpora.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


generator = load_generator()


def read(name: str) -> list[dict]:
    """Return the rows of a committed corpus or set."""
    folder = SETS if name in SET_NAMES else CORPORA
    lines = (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def is_whole(pair: Pair) -> bool:
    """Tell a pair that a data stage keeps from an odd one."""
    _, chosen, rejected = pair
    return bool(chosen.strip()) and bool(rejected.strip()) and chosen != rejected


def title_pairs() -> list[Pair]:
    """Return (prompt, chosen, rejected) of every title pair that is not odd."""
    pairs = [
        (row["prompt"][0]["content"], row["chosen"][0]["content"], row["rejected"][0]["content"])
        for row in read("titles")
    ]
    return [pair for pair in pairs if is_whole(pair)]


def dialogue_pairs() -> list[Pair]:
    """Return (turns before the reply, chosen, rejected) of every dialogue that is not odd."""
    pairs = []
    for row in read("dialogues"):
        before, _, chosen = row["chosen"].rpartition("\n\nAssistant: ")
        _, _, rejected = row["rejected"].rpartition("\n\nAssistant: ")
        if before:
            pairs.append((before, chosen, rejected))
    return [pair for pair in pairs if is_whole(pair)]


PAIRS = {"titles": title_pairs, "dialogues": dialogue_pairs}


def half_width(values: list[float]) -> float:
    """Return half the width of the 95 % interval of the values' mean."""
    mean = sum(values) / len(values)
    return 1.96 * math.sqrt(sum((value - mean) ** 2 for value in values)) / len(values)


def longer_wins(pairs: list[Pair], length) -> list[float]:
    """Return for each pair how often 'the longer answer wins' is right."""
    longer = [(length(chosen), length(rejected)) for _, chosen, rejected in pairs]
    return [0.5 if mine == other else float(mine > other) for mine, other in longer]


def earlier_wins(pairs: list[Pair]) -> list[float]:
    """Return how often 'the answer that came up first' is right, where rows before tell which."""
    first: dict[tuple[str, str], int] = {}
    scores = []
    for index, (prompt, chosen, rejected) in enumerate(pairs):
        places = [first.setdefault((prompt, answer), index) for answer in (chosen, rejected)]
        if places[0] != places[1]:
            scores.append(float(places[0] < places[1]))
    return scores


def test_committed_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    generator.main(["--out", str(tmp_path), "--sets", str(tmp_path)])
    for folder, names in ((CORPORA, NAMES), (SETS, SET_NAMES)):
        for name in names:
            fresh = (tmp_path / f"{name}.jsonl").read_bytes()
            assert fresh == (folder / f"{name}.jsonl").read_bytes(), f"{name}.jsonl is out of date"


def test_another_seed_gives_other_corpora() -> None:
    corpora, _ = generator.build(seed=1)
    corpora |= generator.build_sets(seed=1)
    assert all(corpora[name] != read(name) for name in (*NAMES, *SET_NAMES))


def test_the_corpora_are_small_enough_to_commit() -> None:
    assert sum((CORPORA / f"{name}.jsonl").stat().st_size for name in NAMES) < 2_500_000


def test_problems_are_distinct_and_their_answers_right() -> None:
    rows = read("problems")
    whole = [row for row in rows if row["response"].strip()]
    assert (len(rows), len(whole)) == (1002, 1000)
    assert len({row["instruction"] for row in rows}) == len(rows)
    for row in whole:
        *steps, answer = row["response"].split("\n")
        for step in steps:
            left, sign, right, result = re.fullmatch(
                r"(\d+) ([+-]) (\d+) = (\d+) \w+", step
            ).groups()
            assert int(result) == int(left) + (1 if sign == "+" else -1) * int(right)
        assert answer == f"#### {result}"


def test_every_idea_has_ten_pairs_of_five_titles() -> None:
    pairs = title_pairs()
    assert len(read("titles")) == len(pairs) + 2
    titles, counts = defaultdict(set), Counter(prompt for prompt, _, _ in pairs)
    for prompt, chosen, rejected in pairs:
        titles[prompt] |= {chosen, rejected}
    assert len(counts) == 40
    assert set(counts.values()) == {10}
    assert {len(some) for some in titles.values()} == {5}
    assert len({(prompt, *sorted(answers)) for prompt, *answers in pairs}) == len(pairs)


def test_titles_keep_the_limit_that_their_prompt_states() -> None:
    assert max(len(answer) for _, *answers in title_pairs() for answer in answers) <= 75


def test_dialogues_share_all_turns_but_the_last() -> None:
    rows, pairs = read("dialogues"), dialogue_pairs()
    assert (len(rows), len(pairs)) == (503, 500)
    for row in rows:
        assert (
            row["chosen"].rpartition("Assistant:")[0] == row["rejected"].rpartition("Assistant:")[0]
        )
    turns = Counter(before.count("\n\nHuman: ") for before, _, _ in pairs)
    assert set(turns) == {1, 2}
    assert min(turns.values()) > 100
    assert len({before for before, _, _ in pairs}) == 168


def test_each_corpus_has_a_few_rows_to_drop() -> None:
    dialogues = read("dialogues")
    assert sum("Assistant:" not in row["chosen"] for row in dialogues) == 1
    assert sum(row["rejected"].endswith("Assistant: ") for row in dialogues) == 1
    assert sum("Assistant:" in row["chosen"] and row["chosen"] == row["rejected"]
               for row in dialogues) == 1  # fmt: skip
    titles = read("titles")
    assert sum(row["chosen"] == row["rejected"] for row in titles) == 1
    assert sum(not row["rejected"][0]["content"] for row in titles) == 1
    assert sum(not row["text"].strip() for row in read("pretraining")) == 2


def test_pretraining_holds_nothing_that_is_tested_on() -> None:
    text = "\n".join(row["text"] for row in read("pretraining"))
    for name in ("problems", *SET_NAMES):
        assert not [row for row in read(name) if row["instruction"] in text]
    assert not [prompt for prompt, _, _ in title_pairs() if prompt in text]
    for before, *replies in dialogue_pairs():
        assert not [reply for reply in replies if f"{before.strip()}\n\nAssistant: {reply}" in text]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("length", [len, lambda answer: len(answer.split())])
def test_length_does_not_give_the_label_away(name: str, length) -> None:
    scores = longer_wins(PAIRS[name](), length)
    assert abs(sum(scores) / len(scores) - 0.5) < half_width(scores)


def test_position_does_not_give_the_titles_labels_away() -> None:
    scores = earlier_wins(title_pairs())
    assert len(scores) > 100
    assert abs(sum(scores) / len(scores) - 0.5) < half_width(scores)


def test_no_dialogue_has_a_reply_that_came_up_before() -> None:
    assert earlier_wins(dialogue_pairs()) == []


@pytest.mark.parametrize("name", PAIRS)
def test_alphabetical_order_does_not_give_the_label_away(name: str) -> None:
    scores = [float(chosen < rejected) for _, chosen, rejected in PAIRS[name]()]
    assert abs(sum(scores) / len(scores) - 0.5) < half_width(scores)


@pytest.mark.parametrize("name", SET_NAMES)
def test_sets_have_sixty_distinct_rows(name: str) -> None:
    rows = read(name)
    assert len({row["instruction"] for row in rows}) == len(rows) == 60
    assert all(row["response"].strip() == row["response"] != "" for row in rows)


def test_summaries_say_what_happened_and_are_shorter() -> None:
    ends = Counter()
    for row in read("summaries"):
        _, story = row["instruction"].split("\n\n")
        name, task = re.search(
            r"(?:^|time )(\w+) (?:wanted|had wanted|told \w+: I want) to (.+?)\.", story
        ).groups()
        failed = "gave up" in story
        ends[failed] += 1
        verb = "tried" if failed else "managed"
        summary = re.fullmatch(rf"{name} {verb} to {task} by (.+?)(?:, .+)?\.", row["response"])
        # What it was done by stands in the story, and so does all that was done.
        tips = summary[1].split(" and ")
        known = next(tips for known, *tips in generator.TASKS if known == task)
        assert set(tips) == {tip for tip in known if tip in story}
        assert len(row["response"]) < 0.75 * len(story)
    assert min(ends.values()) >= 15


def test_replies_of_conversations_are_right() -> None:
    kinds = Counter()
    for row in read("conversations"):
        _, opening, answer, question = row["instruction"].split("\n\n")
        assert [turn.split(": ")[0] for turn in (opening, answer, question)] == [
            "Human", "Assistant", "Human"
        ]  # fmt: skip
        if counted := re.search(r"have (\d+) (\w+)\.$", opening):
            kind, things = "count", counted[2]
            m = int(re.search(r"\d+", question)[0])
            sign = -1 if re.search(r"lose|I give|sell", question) else 1
            assert row["response"] == f"You have {int(counted[1]) + sign * m} {things} now."
        elif planned := re.search(r"try (.+) today and (.+) tomorrow\.$", opening):
            kind, day = "plan", re.search(r"(\w+)\?$", question)[1]
            tip = planned[("today", "tomorrow").index(day) + 1]
            assert row["response"] == f"You wanted to try {tip} {day}."
        else:
            kind = "more"
            amounts = {name: int(n) for name, n in re.findall(r"([A-Z]\w+) has (\d+)", opening)}
            things = re.search(r"more (\w+)\?$", question)[1]
            assert row["response"] == f"{max(amounts, key=amounts.get)} has more {things}."
        kinds[kind] += 1
    assert set(kinds.values()) == {20}


def test_win_probability_matches_drawn_labels() -> None:
    dice = generator.Dice(7)
    for levels in ((1, 0), (2, 0), (1, 1)):
        wins = 0
        for _ in range(4000):
            one, other = (generator.make_candidate(dice, str(level), level) for level in levels)
            wins += generator.judged(one, other)[0] is one
        expected = generator.win_probability(generator.LEVEL * (levels[0] - levels[1]))
        assert wins / 4000 == pytest.approx(expected, abs=0.03)


def test_the_readme_states_the_ceilings() -> None:
    readme = (CORPORA / "README.md").read_text(encoding="utf-8")
    _, ceilings = generator.build()
    for name, ceiling in ceilings.items():
        assert 0.85 < ceiling < 0.97
        assert f"| `{name}.jsonl` | {ceiling:.3f} |" in readme
