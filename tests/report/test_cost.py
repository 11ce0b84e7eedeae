"""The table of costs: one row per run, references once, totals by hand."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.report.tables import cost
from tests.report.conftest import SCORE, Results


def reference(results: Results, name: str, **more: object) -> str:
    path = results.root / "references" / name / "train.json"
    write_json(path, SCORE | {"seconds": 2.25} | more)
    return str(path)


def written(results: Results, *more: str) -> tuple[list[dict[str, str]], str]:
    """Make the table; return its rows and its Markdown."""
    outputs = [results.root / "tables" / f"cost.{form}" for form in ("csv", "md", "tex")]
    assert cost.main([*results.arguments(*outputs), *more]) == 0
    with open(outputs[0], encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines)), outputs[1].read_text(encoding="utf-8")


def test_a_row_a_run_and_a_reference_where_it_is_counted(results: Results) -> None:
    shared = reference(results, "base.d.tiny.chat.64")
    rows, _ = written(results, "--references", f"titles={shared}")
    assert [(row["experiment"], row["trial"], row["method"], row["seed"]) for row in rows] == [
        ("tutor", "tiny_llama", "base", ""),
        ("tutor", "sft_1", "sft", "0"),
        ("tutor", "sft_2", "sft", "0"),
        ("tutor", "dpo_1", "dpo", "0"),
        ("titles", "tiny_llama", "base", ""),
        ("titles", "titles-1", "dpo", "0"),
        ("titles", "titles-2", "dpo", "0"),
        ("titles", "base.d.tiny.chat.64/train", "reference", ""),
    ]


def test_what_a_trial_a_base_and_a_reference_took(results: Results) -> None:
    results.trial(
        "counted", "sft", {}, outcome={"energy_joules": 5400.0, "device": "H100"},
        score={"energy_joules": 1800.0, "device": "H100", "peak_memory_mb": 20_000.0},
    )  # fmt: skip
    rows, text = written(results, "--references", f"tutor={reference(results, 'base.d')}")
    found = {row["trial"]: row for row in rows if row["experiment"] == "tutor"}
    keys = ("device", "training_seconds", "evaluation_seconds", "steps", "tokens",
            "processed_tokens", "peak_memory_mb", "energy_watt_hours")  # fmt: skip
    assert {name: [row[key] for key in keys] for name, row in found.items() if name != "sft_2"} == {
        "tiny_llama": ["cuda:0", "", "3.5", "", "", "", "1234.5", ""],
        "sft_1": ["cuda:0", "12.34", "3.5", "150", "60000", "45678", "9876.5", ""],
        "dpo_1": ["cuda:0", "12.34", "3.5", "150", "60000", "45678", "9876.5", ""],
        "counted": ["H100", "12.34", "3.5", "150", "60000", "45678", "20000.0", "2.0"],
        "base.d/train": ["cuda:0", "2.25", "", "", "", "", "1234.5", ""],
    }
    assert float(found["sft_1"]["tokens_per_second"]) == pytest.approx(60_000 / 12.34)
    line = next(line for line in text.splitlines() if "counted" in line)
    assert [cell.strip() for cell in line.split("|")][2:-1] == [
        "counted", "0", "SFT", "H100", "12.3", "3.5", "150", "60,000", "45,678", "4,862",
        "20,000", "2.000",
    ]  # fmt: skip


def test_totals_by_hand(results: Results) -> None:
    references = [reference(results, name) for name in ("base.d", "sft_1.seed-0.d")]
    _, text = written(results, "--references", *(f"tutor={path}" for path in references))
    # Three trials and the base; then two trials and the base.
    assert (
        "- Total of Word problems & dialogues: 55.5 s (37.0 s of training, 14.0 s of evaluation, "
        "4.5 s of 2 references, each once); device: cuda:0." in text.splitlines()
    )
    assert "35.2 s (24.7 s of training, 10.5 s of evaluation, 0.0 s of 0 references" in text


def test_energy_is_summed_where_all_of_it_is_known(empty_results: Results) -> None:
    counted = {"energy_joules": 3600.0}
    empty_results.trial("a", "sft", {}, outcome=counted, score=counted)
    one = reference(empty_results, "r", energy_joules=900.0)
    other = reference(empty_results, "s", energy_joules=None)
    _, text = written(empty_results, "--references", f"tutor={one}")
    assert "2.250 Wh; device" in text
    _, text = written(empty_results, "--references", f"tutor={one}", f"tutor={other}")
    assert "Wh; device" not in text


def test_a_trial_that_failed_took_nothing_that_is_known(results: Results) -> None:
    shutil.rmtree(results.root / "trials/sft_2/seed-0")
    states = {"trials/sft_2/seed-0": ["running"]}
    rows, text = written(results, "--states", json.dumps(states))
    row = next(row for row in rows if row["trial"] == "sft_2")
    assert row["state"] == "running"
    assert {row[key] for key in ("device", "training_seconds", "evaluation_seconds")} == {""}
    assert "43.2 s (24.7 s of training" not in text
    assert "(24.7 s of training, 10.5 s of evaluation" in text


@pytest.mark.parametrize(
    ("word", "message"),
    [("a/b.json", "experiment=file is allowed"), ("tutor=nowhere.json", "nowhere.json")],
)
def test_a_reference_that_is_none(results: Results, word: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        written(results, "--references", word)


def test_two_runs_write_the_same_bytes(results: Results, tmp_path: Path) -> None:
    assert written(results) == written(results)
