"""A table's notes on its data, against counts by hand."""

from pathlib import Path
from typing import Any

from scripts.common.files import write_json, write_rows
from scripts.common.rows import DROPPED
from scripts.report.tables import sft
from scripts.report.tables.data_notes import data_notes
from tests.report.conftest import Results


def dropped(root: Path, dataset: str, *reasons: str) -> Path:
    path = root / "data" / dataset / "dropped.parquet"
    row = {"split": "train", "index": 0}
    kept = [row | {"id": str(number), "reason": reason} for number, reason in enumerate(reasons)]
    write_rows(path, [{name: it[name] for name in DROPPED.names} for it in kept], DROPPED)
    return path


def tokens(root: Path, name: str, **splits: dict[str, Any]) -> Path:
    path = root / "tokens" / name / "report.json"
    whole = {"rows": 0, "dropped": [], "truncated": 0, "prompt_truncated": 0, "repeated": 0}
    write_json(path, {split: whole | found for split, found in splits.items()})
    return path


def test_a_dataset_says_what_was_dropped_truncated_and_repeated(tmp_path: Path) -> None:
    paths = [
        dropped(tmp_path, "pairs", "empty prompt", "identical completions", "empty prompt"),
        tokens(
            tmp_path, "pairs.tiny.chat.64",
            train={"rows": 1000, "truncated": 3, "prompt_truncated": 2, "repeated": 7},
            test={"rows": 99, "truncated": 1, "repeated": 1,
                  "dropped": [{"id": "a", "reason": "the prompt fills max_length"}]},
        ),
    ]  # fmt: skip
    assert data_notes(paths) == [
        "Data pairs: 3 rows dropped before the split (2 × empty prompt, 1 × identical "
        "completions); of 1,100 rows, 4 with a truncated completion, 2 with a truncated prompt, 8 "
        "that repeat an earlier one of their split, 1 row dropped when tokenized (1 × the "
        "prompt fills max_length)."
    ]


def test_nothing_lost_is_said_too(tmp_path: Path) -> None:
    paths = [dropped(tmp_path, "a"), tokens(tmp_path, "a.tiny.chat.64", train={"rows": 5})]
    assert data_notes(paths) == [
        "Data a: 0 rows dropped before the split; of 5 rows, 0 with a truncated completion, 0 with "
        "a truncated prompt, 0 that repeat an earlier one of their split."
    ]


def test_one_note_a_dataset_and_one_text_for_tokens_that_agree(tmp_path: Path) -> None:
    cut = {"rows": 5, "truncated": 1}
    paths = [
        tokens(tmp_path, "b.tiny.chat.32", train=cut),
        dropped(tmp_path, "b"),
        tokens(tmp_path, "b.tiny.chat.64", train={"rows": 5}),
        tokens(tmp_path, "b.tiny.plain.64", train={"rows": 5}),
        dropped(tmp_path, "a"),
    ]
    first, second = data_notes(paths)
    assert first == "Data a: 0 rows dropped before the split."
    assert second.count("1 with a truncated completion") == 1
    assert "(b.tiny.chat.32); of 5 rows, 0 with" in second
    assert second.endswith("(b.tiny.chat.64, b.tiny.plain.64).")
    assert data_notes([]) == []


def test_the_notes_stand_below_a_table(results: Results, tmp_path: Path) -> None:
    path = dropped(tmp_path, "problems", "empty prompt")
    outputs = [tmp_path / f"sft.{form}" for form in ("csv", "md", "tex")]
    assert sft.main([*results.arguments(*outputs), "--data", str(path)]) == 0
    note = "Data problems: 1 row dropped before the split (1 × empty prompt)."
    assert f"- {note}" in outputs[1].read_text(encoding="utf-8").splitlines()
    assert "Data problems: 1 row dropped" in outputs[2].read_text(encoding="utf-8")


def test_of_very_many_reasons_the_most_frequent_are_told(tmp_path: Path) -> None:
    reasons = [f"unknown role 'r{number:03d}'" for number in range(300)]
    (note,) = data_notes([dropped(tmp_path, "pairs", "empty prompt", *reasons, "empty prompt")])
    assert note.startswith("Data pairs: 302 rows dropped before the split (2 × empty prompt, 1 × ")
    assert note.endswith("1 × unknown role 'r018', 281 × something else).")
