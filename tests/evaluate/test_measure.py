"""Figures from rows, by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import read_json, read_rows, write_rows
from scripts.common.rows import COMPLETIONS, DEMONSTRATIONS, GENERATIONS, PAIRS, PREFERENCES
from scripts.evaluate import measure
from scripts.evaluate.measure import (
    answers_to,
    completion_figures,
    extracted,
    generation_figures,
    pair_figures,
)

GROUPS = {"a": "g", "b": "g", "c": "h"}
SETTINGS = {"do_sample": False, "temperature": None, "top_p": None, "own_settings": False,
            "max_new_tokens": 9, "answer_after": None, "answer_before": None,
            "overlap": None, "scored": True}  # fmt: skip


def pair(name: str, chosen: float, rejected: float, beta: float = 0.5) -> dict[str, Any]:
    """Returns a pair whose reference gives -10 to both completions."""
    return {"id": name, "chosen_logp": chosen, "rejected_logp": rejected,
            "reference_chosen_logp": -10.0, "reference_rejected_logp": -10.0,
            "margin": beta * (chosen - rejected)}  # fmt: skip


def values(figures: list[Any]) -> dict[str, float]:
    return {figure.name: figure.summary()["value"] for figure in figures}


def test_held_out_loss_is_per_token() -> None:
    rows = [{"id": "a", "logp": -6.0, "tokens": 3}, {"id": "c", "logp": -1.0, "tokens": 1}]
    (figure,) = completion_figures(rows, GROUPS)
    summary = figure.summary()
    assert summary["value"] == pytest.approx(7 / 4)
    assert (summary["n"], summary["groups"]) == (2, 2)


def test_pairs() -> None:
    rows = [pair("a", -8, -12), pair("b", -9, -9), pair("c", -11, -10)]
    found = values(pair_figures(rows, GROUPS, tuned=True))
    assert found["preference_accuracy"] == pytest.approx(0.5)
    assert found["policy_accuracy"] == pytest.approx(0.5)
    assert found["reference_accuracy"] == pytest.approx(0.5)
    assert found["margin"] == pytest.approx((2 + 0 - 0.5) / 3)
    losses = [math.log1p(math.exp(-margin)) for margin in (2, 0, -0.5)]
    assert found["preference_loss"] == pytest.approx(sum(losses) / 3)
    assert found["chosen_logp"] == pytest.approx(-28 / 3)


def test_a_base_has_no_implicit_reward() -> None:
    found = values(pair_figures([pair("a", -8, -12), pair("c", -1, -2)], GROUPS, tuned=False))
    assert set(found) == {"policy_accuracy", "chosen_logp", "rejected_logp"}


def test_a_huge_margin_does_not_overflow() -> None:
    found = values(pair_figures([pair("a", -5000, 0), pair("c", 0, -1)], GROUPS, tuned=True))
    assert found["preference_loss"] == pytest.approx((2500 + math.log1p(math.exp(-0.5))) / 2)


def generation(name: str, text: str, stop: str = "eos") -> dict[str, Any]:
    return {"set": "s", "id": name, "prompt": "p", "text": text, "tokens": len(text), "stop": stop}


def test_generations() -> None:
    rows = [generation("a", "1 + 1 = 2"), generation("b", "3 or 4"), generation("c", "x", "length")]
    answers = {"a": "#### 2", "b": "#### 3", "c": "#### 5"}
    found = values(generation_figures(rows, GROUPS, answers))
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["stop_rate"] == pytest.approx(2 / 3)
    assert found["generated_tokens"] == pytest.approx((9 + 6 + 1) / 3)


def test_exact_match_is_over_the_items_whose_answer_has_a_number() -> None:
    rows = [generation("a", "2"), generation("c", "2")]
    (figure,) = [
        figure
        for figure in generation_figures(rows, GROUPS, {"a": "#### 2", "c": "none"})
        if figure.name == "exact_match"
    ]
    assert (figure.summary()["value"], figure.summary()["n"]) == (1, 1)


def test_without_numbers_there_is_no_exact_match() -> None:
    found = values(generation_figures([generation("a", "x")], GROUPS, {"a": "a title"}))
    assert "exact_match" not in found


def test_the_answer_is_what_follows_the_last_mark() -> None:
    rows = [generation("a", "1 ### Response:\n 2 ### Response: 3 "), generation("b", " 4 ")]
    assert [row["text"] for row in extracted(rows, "### Response:", None)] == ["3", "4"]
    whole = [row["text"].strip() for row in rows]
    assert [row["text"] for row in extracted(rows, None, None)] == whole


def test_the_answer_ends_before_the_first_mark() -> None:
    rows = [generation("a", "4\n### Instruction: 5 ### Instruction: 6"), generation("b", "7")]
    assert [row["text"] for row in extracted(rows, None, "### Instruction:")] == ["4", "7"]


def test_an_answer_is_cut_at_its_end_before_its_beginning_is_sought() -> None:
    rows = [generation("a", "A: 4 Q: 5 A: 6"), generation("b", "Q: 5 A: 6")]
    assert [row["text"] for row in extracted(rows, "A:", "Q:")] == ["4", ""]


def test_items_that_overlap_are_counted_and_left_out() -> None:
    rows = [generation("a", "2"), generation("b", "2"), generation("c", "2")]
    prompts = [{"id": name, "group": GROUPS[name], "completion": [{"content": "#### 2"}]}
               for name in GROUPS]  # fmt: skip
    other = generation("a", "1") | {"set": "other"}
    answers = answers_to("s", SETTINGS, [other, *rows], prompts, {"b", "x"})
    assert [row["id"] for row in answers.rows] == ["a", "c"]
    summary = answers.summary()
    assert summary["left_out"] == 1
    assert summary["figures"]["exact_match"]["n"] == 2
    read = answers_to("s", SETTINGS | {"scored": False}, rows, prompts, set()).summary()
    assert (read["left_out"], read["figures"]) == (0, {})
    everything = answers_to("s", SETTINGS, rows, prompts, {"a", "b", "c"})
    assert everything.summary() == {"settings": SETTINGS, "left_out": 3, "figures": {}}


def test_command_line(tmp_path: Path) -> None:
    said = [{"role": "assistant", "content": "1 + 1 is 2 pens #### 2"}]
    asked = [{"role": "user", "content": "q"}]
    files = {
        "completions": ([{"id": "test-0", "logp": -2.0, "tokens": 2}], COMPLETIONS),
        "pairs": ([pair("test-0", -1, -2)], PAIRS),
        "generations": ([generation("test-0", "1 + 1 is 2 pens #### 2")], GENERATIONS),
        "problems": ([{"id": "test-0", "group": "g", "prompt": asked, "completion": said}],
                     DEMONSTRATIONS),
        "preferences": ([{"id": "test-0", "group": "h", "prompt": asked, "chosen": said,
                          "rejected": said}], PREFERENCES),
    }  # fmt: skip
    for name, (rows, schema) in files.items():
        write_rows(tmp_path / f"{name}.parquet", rows, schema)
    subject = {"name": "t", "experiment": "e", "method": "dpo", "seed": 0}
    command = ["--subject", json.dumps(subject), "--sets", json.dumps({"s": SETTINGS}),
               "--sets-rows", str(tmp_path / "problems.parquet"),
               "--generations", str(tmp_path / "generations.parquet")]  # fmt: skip
    for kind, source in {"completions": "problems", "pairs": "preferences"}.items():
        command += [f"--{kind}", str(tmp_path / f"{kind}.parquet"),
                    f"--{kind}-rows", str(tmp_path / f"{source}.parquet")]  # fmt: skip
    metrics, items = tmp_path / "metrics.json", tmp_path / "items.parquet"
    assert measure.main([*command, "--metrics", str(metrics), "--items", str(items)]) == 0
    found = read_json(metrics)
    assert found["name"] == "t"
    answers = found["sets"]["s"]
    assert answers["figures"]["bleu"]["value"] == pytest.approx(1)
    # How a set was answered stands in its settings, once, and in no definition.
    assert not any("greedy" in figure["definition"] for figure in answers["figures"].values())
    assert answers["settings"] == SETTINGS
    assert found["figures"]["preference_accuracy"]["intervals"].keys() == {"wilson"}
    # Every figure that is a mean can be had again from its items.
    rows = read_rows(items)
    means = [(None, name, figure) for name, figure in found["figures"].items()]
    means += [("s", name, figure) for name, figure in answers["figures"].items() if name != "bleu"]
    assert len(means) >= 8
    for place, name, figure in means:
        mine = [row for row in rows if (row["set"], row["figure"]) == (place, name)]
        mean = sum(row["score"] for row in mine) / sum(row["weight"] for row in mine)
        assert mean == pytest.approx(figure["value"])
