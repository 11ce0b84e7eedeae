"""Tables and figures before all trials are done: each missing trial says why it is missing."""

import csv
import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.report.results import Results as Read
from scripts.report.results import parse_states
from scripts.report.tables import dpo
from tests.report.conftest import Results
from tests.report.test_comparison import ACCURACY, BLEU, HEAD

REASON = "ValueError: Out of range float values are not JSON compliant"
STATES = {
    "trials/sft_2/seed-0": ["failed"],
    "trials/dpo_1/seed-0": ["failed", "trials/sft_1/seed-0"],
    "trials/titles-2/seed-0": ["not run"],
    "baselines/titles.train.test": ["not run"],
}
TABLES = ("sft", "dpo", "summary")


@pytest.fixture
def unfinished(results: Results) -> Results:
    """Return results in which an unfinished trial has only the file that says why."""
    for folder in STATES:
        shutil.rmtree(results.root / folder)
    failed = {"reason": f"{REASON}\nand more", "traceback": "Traceback"}
    write_json(results.root / "trials/sft_2/seed-0/work/failed.json", failed)
    return results


def made(results: Results, name: str, states: dict[str, Any] | None, *more: str) -> Path:
    """Make a table; return its path without the suffix."""
    folder = results.root / "tables"
    outputs = [folder / f"{name}.{form}" for form in ("csv", "md", "tex")]
    said = [] if states is None else ["--states", json.dumps(states), "--logs", "logs/demo"]
    module = import_module(f"scripts.report.tables.{name}")
    assert module.main([*results.arguments(*outputs), *said, *more]) == 0
    return folder / name


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path.with_suffix(".csv"), encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


SFT = {
    ("tiny_llama", "done", "", ""),
    ("sft_1", "done", "", ""),
    ("sft_2", "failed", REASON, "logs/demo/trials/sft_2/seed-0/train.log"),
}
DPO = {
    ("dpo_1", "failed", "its start sft_1, seed 0, failed",
     "logs/demo/trials/sft_1/seed-0/train.log"),
    ("titles-1", "done", "", ""),
    ("titles-2", "not run", "", ""),
    ("lookup", "not run", "", ""),
}  # fmt: skip


@pytest.mark.parametrize(("name", "wanted"), [("sft", SFT), ("dpo", DPO), ("summary", SFT | DPO)])
def test_what_is_not_done_is_a_row_that_says_so_and_the_others_stand(
    unfinished: Results, name: str, wanted: set[tuple[str, ...]]
) -> None:
    rows = rows_of(made(unfinished, name, STATES))
    assert {(row["trial"], row["state"], row["reason"], row["log"]) for row in rows} == wanted
    known = ("experiment", "title", "trial", "method", "seeds", "state", "reason", "log")
    # In long form, a row names the metric that is missing.
    known += ("figure", "unit")
    for row in rows:
        values = {value for key, value in row.items() if key not in known}
        assert row["state"] == "done" or values == {""}


def test_people_read_the_word_in_the_row_and_the_reason_below(unfinished: Results) -> None:
    text = made(unfinished, "sft", STATES).with_suffix(".md").read_text(encoding="utf-8")
    header, *lines = [line.split("|") for line in text.splitlines() if line.startswith("|")]
    cells = {line[2].strip(): [cell.strip() for cell in line] for line in lines}
    place = [cell.strip() for cell in header].index("State")
    failed = cells[r"sft\_2"]
    assert failed[place] == "failed"
    assert set(failed[place + 1 : -1]) == {"–"}
    assert cells[r"sft\_1"][place] == "done"
    note = f"- sft\\_2, seed 0, failed: {REASON}. Log: logs/demo/trials/sft\\_2/seed-0/train.log"
    assert note in text.splitlines()


def test_what_has_not_run_is_named_once_below(unfinished: Results) -> None:
    text = made(unfinished, "dpo", STATES).with_suffix(".md").read_text(encoding="utf-8")
    assert "- Not run: titles-2, seed 0; lookup of titles." in text.splitlines()
    assert "1.85" in text


def test_the_settings_of_a_start_are_not_made_up(unfinished: Results) -> None:
    row = next(row for row in rows_of(made(unfinished, "dpo", STATES)) if row["trial"] == "dpo_1")
    assert (row["start"], row["start_as"], row["loss_type"]) == ("", "", "")


def test_a_finished_sweep_says_done_and_a_plain_table_nothing(results: Results) -> None:
    assert {row["state"] for row in rows_of(made(results, "summary", {}))} == {"done"}
    plain = rows_of(made(results, "summary", None))
    assert "state" not in plain[0]


def test_in_a_plain_table_a_missing_file_is_an_error(unfinished: Results) -> None:
    with pytest.raises(BadInput, match=r"sft_2/seed-0/trial\.json: no such file"):
        made(unfinished, "sft", None)


@pytest.mark.parametrize(
    ("state", "log"), [("not scored", "score.log"), ("stale", "train.log"), ("running", "")]
)
def test_the_log_of_what_is_trained_or_fell_silent(
    unfinished: Results, state: str, log: str
) -> None:
    states = STATES | {"trials/sft_2/seed-0": [state]}
    row = next(row for row in rows_of(made(unfinished, "sft", states)) if row["trial"] == "sft_2")
    where = f"logs/demo/trials/sft_2/seed-0/{log}" if log else ""
    assert (row["state"], row["reason"], row["log"]) == (state, "", where)


def test_a_sweep_of_which_nothing_is_done(results: Results) -> None:
    folders = ["bases/tutor", "bases/titles", "baselines/titles.train.test"]
    runs = [run for part in results.plan for it in part["trials"].values() for run in it]
    nothing = {folder: ["not run"] for folder in [*folders, *(f"trials/{run}" for run in runs)]}
    shutil.rmtree(results.root)
    for name in (*TABLES, "examples"):
        rows = rows_of(made(results, name, nothing))
        assert {row["state"] for row in rows} == {"not run"}
    for name in ("accuracy", "before_after", "curves"):
        drawn(results, name, nothing)


def drawn(results: Results, name: str, states: dict[str, Any]) -> str:
    """Draw a figure and return all text in it."""
    from matplotlib.text import Text

    module = import_module(f"scripts.report.figures.{name}")
    read = Read(results.root, results.plan, parse_states(json.dumps(states)))
    figure = module.draw(module.frame(read))
    figure.canvas.draw()
    return "\n".join(text.get_text() for text in figure.findobj(Text))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("accuracy", ("failed", "not run")),
        ("before_after", ("failed",)),
        ("curves", ("sft_2 (failed)", "dpo_1 (failed)", "titles-2 (not run)")),
    ],
)
def test_figures_say_the_word(unfinished: Results, name: str, words: tuple[str, ...]) -> None:
    written = drawn(unfinished, name, STATES).splitlines()
    for word in words:
        assert word in written
    assert not [line for line in written if "sft_1 (" in line]


def test_a_trial_of_several_seeds_says_which(empty_results: Results) -> None:
    results = empty_results
    for seed in (0, 7):
        results.trial("sft_1", "sft", {}, seed=seed)
    written = drawn(results, "curves", {"trials/sft_1/seed-7": ["running"]})
    assert "sft_1 (seed 7 running)" in written.splitlines()


def test_examples_keep_the_row_of_who_has_not_answered(unfinished: Results) -> None:
    unfinished.show("tutor", "problems", "sft_1/seed-0", "sft_2/seed-0")
    rows = rows_of(made(unfinished, "examples", STATES))
    found = [(row["id"], row["trial"], row["state"], row["text"]) for row in rows]
    assert found[:3] == [
        ("q0", "tiny_llama", "done", "5"),
        ("q0", "sft_1", "done", "It is 5.\n#### 5"),
        ("q0", "sft_2", "failed", ""),
    ]


def test_a_claim_about_a_failed_trial(unfinished: Results, tmp_path: Path) -> None:
    claims = tmp_path / "claims.yaml"
    text = HEAD + ACCURACY + BLEU.replace("trial: sft_1", "trial: sft_2")
    claims.write_text(text, encoding="utf-8")
    rows = rows_of(made(unfinished, "comparison", STATES, "--claims", str(claims)))
    found = {row["our_trial"]: (row["state"], row["ours"], row["seeds"]) for row in rows}
    assert found == {
        "titles-1": ("done", "0.75", "1"),
        "lookup": ("not run", "", ""),
        "titles-1-by-idea": ("", "", ""),
        "sft_2": ("failed", "", "1"),
        "base": ("done", "0.0721", ""),
    }


@pytest.mark.parametrize("text", ["[", "[]", '{"a": 1}', '{"a": []}', "1"])
def test_states_that_are_none_are_refused(
    results: Results, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        dpo.main([*results.arguments(Path("a.csv")), "--states", text])
    assert "not a JSON object of states" in capsys.readouterr().err
