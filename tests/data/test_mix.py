"""Mixtures: which rows, under which names, and that tokens and log-probs are taken as they are."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, write_json, write_rows
from scripts.common.rows import (
    COMPLETION_TOKENS,
    CONVERSATION_TOKENS,
    DEMONSTRATIONS,
    REFERENCE,
)
from scripts.common.splits import SPLITS
from scripts.data import mix
from scripts.data.mix import mixed, taken
from scripts.data.tokenize import COUNTS, report_of

Row = dict[str, Any]


def said(name: str, prompt: str, answer: str = "a") -> Row:
    return {
        "id": name, "group": f"g {prompt}", "tools": None,
        "prompt": [{"role": "user", "content": prompt, "extra": None}],
        "completion": [{"role": "assistant", "content": answer, "extra": None}],
    }  # fmt: skip


def part(letter: str, rows: int, test: int = 2) -> dict[str, list[Row]]:
    return {
        "train": [said(f"train-{number}", f"{letter}{number}") for number in range(rows)],
        "valid": [],
        "test": [said(f"test-{number}", f"{letter} test {number}") for number in range(test)],
    }


def settings(seed: int = 0, **shares: float | int) -> Row:
    return {
        "of": {
            name: {"rows": share if isinstance(share, int) else None,
                   "weight": share if isinstance(share, float) else None}
            for name, share in shares.items()
        },
        "seed": seed,
    }  # fmt: skip


def ids(rows: list[Row]) -> list[str]:
    return [row["id"] for row in rows]


def test_rows_are_drawn_under_the_names_of_their_parts() -> None:
    parts = {"a": part("x", 10), "b": part("y", 10)}
    splits, dropped = mixed(parts, settings(a=3, b=5))
    names = ids(splits["train"])
    assert not dropped
    assert [name.split("/")[0] for name in names] == ["a"] * 3 + ["b"] * 5
    assert splits["train"][0]["group"] == f"a/g x{names[0].removeprefix('a/train-')}"
    assert len(set(names)) == 8
    # Held-out rows are all there, and another seed draws others.
    assert ids(splits["test"]) == ["a/test-0", "a/test-1", "b/test-0", "b/test-1"]
    assert splits["valid"] == []
    assert ids(mixed(parts, settings(seed=1, a=3, b=5))[0]["train"]) != names
    # A larger mixture has the rows of a smaller one, whatever the other part has.
    larger = set(ids(mixed(parts, settings(a=6, b=1))[0]["train"]))
    assert {name for name in names if name.startswith("a/")} < larger


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ({"a": 1.0, "b": 1.0}, (8, 8)),
        ({"a": 1.0, "b": 3.0}, (6, 20)),
        ({"a": 3.0, "b": 1.0}, (8, 2)),
        ({"a": 0.55, "b": 1.0}, (8, 14)),
    ],
)
def test_weights_are_of_as_many_rows_as_the_scarcest_part_has(
    weights: dict[str, float], counts: tuple[int, int]
) -> None:
    splits, _ = mixed({"a": part("x", 8), "b": part("y", 20)}, settings(**weights))
    names = ids(splits["train"])
    assert (
        sum(it.startswith("a/") for it in names),
        sum(it.startswith("b/") for it in names),
    ) == counts


def test_no_row_stands_twice_and_none_is_held_out_elsewhere() -> None:
    one, two = part("x", 4), part("y", 4)
    two["train"][1] = said("train-1", "x2")
    two["train"][2] = said("train-2", "x3", "another answer")
    two["train"][3] = said("train-3", "x test 1", "another answer")
    splits, dropped = mixed({"a": one, "b": two}, settings(a=4, b=2))
    assert dropped == [
        {"id": "b/train-1", "split": "train", "reason": "a has it, too"},
        {"id": "b/train-3", "split": "train", "reason": "its prompt is held out in a"},
    ]
    assert [name for name in ids(splits["train"]) if name.startswith("b/")] == [
        "b/train-0", "b/train-2"
    ]  # fmt: skip


def test_too_few_rows() -> None:
    with pytest.raises(BadInput, match=r"^b: found 4 rows of train; the mixture asks for 5$"):
        mixed({"a": part("x", 4), "b": part("y", 4)}, settings(a=4, b=5))


def test_what_is_taken_of_parts() -> None:
    parts = {"a": [{"id": "1", "x": 1}, {"id": "2", "x": 2}], "b": [{"id": "1", "x": 3}]}
    assert taken(["b/1", "a/2", "a/3"], parts) == [{"id": "b/1", "x": 3}, {"id": "a/2", "x": 2}]


def test_command_lines(tmp_path: Path) -> None:
    """From canonical rows to tokens, of which one part marks earlier answers and has lost a row."""
    parts = {"a": part("x", 4), "b": part("y", 4)}
    files = [tmp_path / f"{name}-{split}.parquet" for name in parts for split in SPLITS]
    for path in files:
        name, split = path.stem.split("-")
        write_rows(path, parts[name][split], DEMONSTRATIONS)
    mix.main(["rows", "--mixture", json.dumps(settings(a=3, b=4)), "--files", *map(str, files),
              "--out", str(tmp_path / "data")])  # fmt: skip
    rows = read_rows(tmp_path / "data" / "train.parquet")
    assert len(rows) == 7

    for path in files:
        name, split = path.stem.split("-")
        scored = {"prompt_scored": [False, True]} if name == "b" else {}
        tokens = [
            {"id": row["id"], "prompt_ids": [1, 2], "completion_ids": [len(name)], **scored}
            for row in parts[name][split][split == "train" and name == "b" :]
        ]
        write_rows(path, tokens, CONVERSATION_TOKENS if scored else COMPLETION_TOKENS)
    reports = [tmp_path / "a.json", tmp_path / "b.json"]
    lost = [{"id": "train-0", "reason": "long"}]
    noted = {key: list[str]() for key in COUNTS} | {"truncated": ["train-1", "train-2"]}
    for path in reports:
        found = report_of([], lost if path.stem == "b" else [], noted)
        write_json(path, dict.fromkeys(SPLITS, found))
    mix.main(["tokens", "--rows", *(str(tmp_path / f"data/{split}.parquet") for split in SPLITS),
              "--parts", "a", "b", "--files", *map(str, files), "--reports", *map(str, reports),
              "--out", str(tmp_path / "tokens")])  # fmt: skip
    tokens = read_rows(tmp_path / "tokens" / "train.parquet")
    assert ids(tokens) == [row["id"] for row in rows if row["id"] != "b/train-0"]
    assert [row["prompt_scored"][1] for row in tokens] == [False] * 3 + [True] * 3
    report = read_json(tmp_path / "tokens" / "report.json")["train"]
    assert (report["rows"], report["dropped"]) == (6, [{"id": "b/train-0", "reason": "long"}])
    wanted = [f"{name}/train-{number}" for name in "ab" for number in (1, 2)]
    assert report["noted"]["truncated"] == [it for it in wanted if it in ids(rows)]
    assert report["truncated"] == len(report["noted"]["truncated"])


def test_command_line_of_a_reference(tmp_path: Path) -> None:
    values = dict.fromkeys(REFERENCE.names, 0.0)
    for name, number in (("a", 1.0), ("b", 2.0)):
        row = values | {"id": "train-0", "chosen_logp": number}
        write_rows(tmp_path / f"{name}.parquet", [row], REFERENCE)
        write_json(tmp_path / f"{name}.json", {"precision": "float32", "seconds": 9.0})
    named = [{"id": "b/train-0"}, {"id": "a/train-0"}]
    write_rows(
        tmp_path / "tokens.parquet", [row | {"prompt_ids": [1]} for row in named], COMPLETION_TOKENS
    )
    mix.main(["reference", "--rows", str(tmp_path / "tokens.parquet"), "--parts", "a", "b",
              "--files", str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet"),
              "--out", str(tmp_path / "out.parquet")])  # fmt: skip
    found = read_rows(tmp_path / "out.parquet")
    assert [(row["id"], row["chosen_logp"]) for row in found] == [
        ("b/train-0", 2.0),
        ("a/train-0", 1.0),
    ]
    # What it cost stands with the parts.
    assert read_json(tmp_path / "out.json") == {"precision": "float32"}
