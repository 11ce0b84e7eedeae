"""Test items in training rows: word for word, in part, and not at all."""

import random
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, write_rows
from scripts.common.rows import DEMONSTRATIONS, PREFERENCES
from scripts.common.texts import SharedNgrams, ngrams, normalized
from scripts.data import overlap
from scripts.data.fetch import Columns, fetch_files
from scripts.data.overlap import compare
from scripts.data.prepare import canonical_rows

QUESTION = "Ada has three pens, and finds four more on a bench. How many pens does she have?"
ANSWER = "She has the three that she had and the four that she found, seven in all."
# 20 words make 8 n-grams of 13 words.
LONG = " ".join(f"word{i}" for i in range(20))


def row(name: str, prompt: str, completion: str = "seven") -> dict[str, Any]:
    return {
        "id": name,
        "group": name,
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": completion}],
    }


def found(prompt: str, *texts: str, share: float = 0.5) -> list[dict[str, Any]]:
    rows = [row(f"r{place}", text) for place, text in enumerate(texts)]
    return compare([row("item", prompt)], rows, 13, share)[0]


def test_normalized() -> None:
    assert normalized("  The “Ａ”-team’s\n\t2.50 $… ") == "the a team s 2 50"
    assert normalized("ﬁne_print?!") == "fine print"
    assert normalized("?!") == ""


def test_ngrams() -> None:
    assert ngrams("a b c d", 3) == {"a b c", "b c d"}
    assert ngrams("a b", 3) == {"a b"}
    assert ngrams("", 3) == set()


def test_shared_ngrams_are_those_of_comparing_all_with_all() -> None:
    dice = random.Random(0)
    texts = [" ".join(dice.choices("abc", k=dice.randint(1, 12))) for _ in range(60)]
    others = [" ".join(dice.choices("abc", k=dice.randint(1, 12))) for _ in range(60)]
    hits = 0
    for share in (0.05, 0.5, 0.55, 0.8, 1.0):
        shared = SharedNgrams(texts, 2, share)
        for other in others:
            wanted = []
            for place, text in enumerate(texts):
                count = len(ngrams(text, 2) & ngrams(other, 2))
                if count and count / len(ngrams(text, 2)) >= share - 1e-12:
                    wanted.append((place, count))
            assert list(shared.sharing(ngrams(other, 2))) == wanted
            hits += len(wanted)
    assert hits > 1000


def test_a_question_inside_a_longer_text_is_contained() -> None:
    quoted = f"Solve this!\n\n{QUESTION.upper().replace(' ', '  ')}\nThink."
    assert found(QUESTION, "Another text", quoted) == [
        {"id": "item", "kind": "contained", "share": 1.0, "row": "r1"}
    ]


def test_a_question_in_a_completion_is_contained() -> None:
    rows = [row("r", "Repeat it.", f"You asked: {QUESTION}")]
    assert compare([row("item", QUESTION)], rows, 13, 0.5)[0][0]["kind"] == "contained"


def test_words_are_not_cut() -> None:
    question = "one two three four five six seven eight"
    assert found(question, f"{question}een") == []
    assert found(question, f"{question} teen")[0]["kind"] == "contained"
    assert found(LONG, f"{LONG}0") == [
        {"id": "item", "kind": "ngrams", "share": 7 / 8, "row": "r0"}
    ]


def test_a_short_question_has_to_be_the_prompt() -> None:
    assert found("How are you?", "She said: how are you? And left.") == []
    assert found("How are you?", "how are you")[0]["kind"] == "contained"


def test_a_share_of_the_ngrams_in_one_row() -> None:
    words = LONG.split()
    half, less = " ".join(words[:16]) + " x", " ".join(words[:15]) + " x"
    assert found(LONG, half) == [{"id": "item", "kind": "ngrams", "share": 0.5, "row": "r0"}]
    assert found(LONG, less) == []
    assert found(LONG, less, share=0.3)[0]["share"] == 3 / 8
    # Two rows that hold a part each do not add up.
    assert found(LONG, less, " ".join(words[5:])) == []


def test_the_best_row_is_named() -> None:
    words = LONG.split()
    assert found(LONG, " ".join(words[:17]), LONG, " ".join(words[:18]))[0]["row"] == "r1"


def test_report() -> None:
    words = LONG.split()
    items = [
        row("whole", QUESTION, ANSWER),
        row("part", LONG),
        row("touched", " ".join([*words[:13], *(f"other{i}" for i in range(20))])),
        row("clean", "Nothing of this stands anywhere else, not even a small part of it here"),
    ]
    rows = [row("a", QUESTION), row("b", " ".join(words[:18])), row("c", QUESTION, ANSWER)]
    _, report = compare(items, rows, 13, 0.6)
    assert report == {
        "items": 4,
        "rows": 3,
        "contained": 1,
        "ngrams": 1,
        "overlapping": 2,
        "any_ngram": 3,
        "contaminating_rows": 3,
        "answers": {"items": 1, "contained": 1, "ngrams": 0, "overlapping": 1},
        "settings": {"ngram": 13, "share": 0.6, "fewest_words": 8},
        "examples": ["whole", "part"],
    }


def test_command_line_on_preference_rows(tmp_path: Path) -> None:
    pair = {**row("p", "Which one?"), "rejected": [{"role": "assistant", "content": QUESTION}]}
    pair["chosen"] = pair.pop("completion")
    write_rows(tmp_path / "train.parquet", [pair], PREFERENCES)
    items = [row("a", LONG), row("b", QUESTION)]
    write_rows(tmp_path / "test.parquet", items, DEMONSTRATIONS)
    out, report = tmp_path / "overlap.parquet", tmp_path / "overlap.json"
    command = ["--rows", str(tmp_path / "train.parquet")]
    command += ["--against", str(tmp_path / "test.parquet")]
    command += ["--out", str(out), "--report", str(report)]
    assert overlap.main(command) == 0
    assert read_rows(out) == [{"id": "b", "kind": "contained", "share": 1.0, "row": "p"}]
    assert read_json(report)["overlapping"] == 1
    with pytest.raises(BadInput, match="--share: found 0, allowed is above 0"):
        overlap.main([*command, "--share", "0"])
    with pytest.raises(BadInput, match="--ngram: found 3, allowed is 8 or more"):
        overlap.main([*command, "--ngram", "3"])


def canonical(files: dict[str, Path], prompt: str, completion: str) -> list[dict[str, Any]]:
    columns: Columns = {prompt: "text", completion: "text"}
    table, _ = fetch_files({split: str(path) for split, path in files.items()}, columns)
    settings = {"format": "instruction", "columns": {"prompt": prompt, "completion": completion},
                "group": None, "min_characters": 1}  # fmt: skip
    rows, dropped = canonical_rows(table.to_pylist(), settings)
    assert not dropped
    return rows


def test_the_real_instructions_and_the_test_of_gsm8k(hub: Path) -> None:
    """8792 instructions are GSM8K's train, then its test.

    One test item of 1319 is more than half in the training rows: the same problem with a train for
    a plane and other numbers; two more share a phrase of 13 words with them.
    """
    data = hub / "datasets"
    instructions = next((data / "qwedsacf/grade-school-math-instructions/data").glob("train-*"))
    rows = canonical({"train": instructions}, "INSTRUCTION", "RESPONSE")
    test = next((data / "openai/gsm8k/main").glob("test-*"))
    items = canonical({"test": test}, "question", "answer")
    assert (len(rows), len(items)) == (8792, 1319)

    best, report = compare(items, rows[:5000], 13, 0.5)
    counts = [report[name] for name in ("contained", "ngrams", "overlapping", "any_ngram")]
    assert counts == [0, 1, 1, 3]
    assert [(match["id"], match["row"]) for match in best] == [("test-602", "train-1314")]

    best, report = compare(items, rows, 13, 0.5)
    assert report["contained"] == report["overlapping"] == len(best) == 1319
    # An item's best row is the item itself.
    assert {match["row"] for match in best} == {f"train-{7473 + i}" for i in range(1319)}
