"""Metrics from rows, by hand."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import read_json, read_rows, write_json, write_rows
from scripts.common.rows import COMPLETIONS, DEMONSTRATIONS, GENERATIONS, PAIRS, PREFERENCES
from scripts.evaluate import measure
from scripts.evaluate.measure import (
    answers_to,
    completion_metrics,
    extracted,
    generation_metrics,
    pair_metrics,
)

GROUPS = {"a": "g", "b": "g", "c": "h"}
SETTINGS = {"do_sample": False, "temperature": None, "top_p": None, "own_settings": False,
            "max_new_tokens": 9, "answer_after": None, "answer_before": None,
            "overlap": None, "scored": True, "rules": None}  # fmt: skip


def pair(name: str, chosen: float, rejected: float, beta: float = 0.5) -> dict[str, Any]:
    """Return a pair whose reference gives -10 to both completions."""
    return {"id": name, "chosen_logp": chosen, "rejected_logp": rejected,
            "reference_chosen_logp": -10.0, "reference_rejected_logp": -10.0,
            "margin": beta * (chosen - rejected),
            "chosen_tokens": 4, "rejected_tokens": 5}  # fmt: skip


def values(metrics: list[Any]) -> dict[str, float]:
    return {metric.name: metric.summary()["value"] for metric in metrics}


def test_held_out_loss_is_per_token() -> None:
    rows = [{"id": "a", "logp": -6.0, "tokens": 3}, {"id": "c", "logp": -1.0, "tokens": 1}]
    loss, perplexity = (metric.summary() for metric in completion_metrics(rows, GROUPS))
    assert loss["value"] == pytest.approx(7 / 4)
    assert (loss["n"], loss["groups"]) == (2, 2)
    # Resamples: the first twice (6/3), the second twice (1/1), or both.
    assert perplexity["value"] == pytest.approx(math.exp(7 / 4))
    bounds = perplexity["intervals"]["group bootstrap"]
    assert bounds == pytest.approx((math.exp(1), math.exp(2)))


def test_perplexity_of_one_completion_has_no_interval() -> None:
    (_, perplexity) = completion_metrics([{"id": "a", "logp": -6.0, "tokens": 3}], GROUPS)
    summary = perplexity.summary()
    assert (summary["value"], summary["n"]) == (pytest.approx(math.exp(2)), 1)
    assert summary["intervals"] == {}
    assert perplexity.items == []


def test_pairs() -> None:
    rows = [pair("a", -8, -12), pair("b", -9, -9), pair("c", -11, -10)]
    found = values(pair_metrics(rows, GROUPS, tuned=True))
    assert found["preference_accuracy"] == pytest.approx(0.5)
    assert found["policy_accuracy"] == pytest.approx(0.5)
    assert found["reference_accuracy"] == pytest.approx(0.5)
    assert found["margin"] == pytest.approx((2 + 0 - 0.5) / 3)
    losses = [math.log1p(math.exp(-margin)) for margin in (2, 0, -0.5)]
    assert found["preference_loss"] == pytest.approx(sum(losses) / 3)
    assert found["chosen_logp"] == pytest.approx(-28 / 3)
    assert found["chosen_nll"] == pytest.approx((2 + 2.25 + 2.75) / 3)
    # Per token: -2 to -2.4, -2.25 to -1.8, -2.75 to -2.
    assert found["policy_token_accuracy"] == pytest.approx(1 / 3)
    assert found["length_difference"] == -1
    # The reference gives -10 to each.
    assert found["chosen_change"] == pytest.approx((2 + 1 - 1) / 3)
    assert found["rejected_change"] == pytest.approx((-2 + 1 + 0) / 3)
    assert found["chosen_fell"] == pytest.approx(1 / 3)
    sure = [1 / (1 + math.exp(-margin)) for margin in (2, 0.5)]
    assert found["calibration_error"] == pytest.approx((1 - sure[0] + sure[1]) / 3)


def test_unpaired_rows_have_no_pair_accuracy() -> None:
    rows = [
        {"id": "a", "label": True, "logp": -8.0, "reference_logp": -10.0, "tokens": 4},
        {"id": "b", "label": True, "logp": -9.0, "reference_logp": -9.0, "tokens": 4},
        {"id": "c", "label": False, "logp": -9.0, "reference_logp": -10.0, "tokens": 4},
    ]
    found = values(pair_metrics(rows, GROUPS, tuned=True))
    assert found == pytest.approx({"auc": 0.5, "chosen_change": 1.0, "rejected_change": 1.0})
    assert pair_metrics(rows, GROUPS, tuned=False) == []
    # Of one kind only, nothing is ranked.
    assert set(values(pair_metrics(rows[:2], GROUPS, tuned=True))) == {"chosen_change"}


def test_ties_count_half() -> None:
    row = pair("a", -10, -10) | {"rejected_tokens": 4}
    found = values(pair_metrics([row], GROUPS, tuned=True))
    shares = ("preference_accuracy", "policy_accuracy", "policy_token_accuracy",
              "reference_accuracy", "chosen_fell")  # fmt: skip
    assert {found[name] for name in shares} == {0.5}
    assert {found[name] for name in ("chosen_change", "rejected_change", "calibration_error")} == {
        0
    }


def test_a_base_has_no_implicit_reward() -> None:
    found = values(pair_metrics([pair("a", -8, -12), pair("c", -1, -2)], GROUPS, tuned=False))
    assert set(found) == {"policy_accuracy", "policy_token_accuracy", "chosen_nll", "chosen_logp",
                          "rejected_logp", "length_difference"}  # fmt: skip


def test_a_huge_margin_does_not_overflow() -> None:
    found = values(pair_metrics([pair("a", -5000, 0), pair("c", 0, -1)], GROUPS, tuned=True))
    assert found["preference_loss"] == pytest.approx((2500 + math.log1p(math.exp(-0.5))) / 2)


def generation(name: str, text: str, stop: str = "eos") -> dict[str, Any]:
    return {"set": "s", "id": name, "prompt": "p", "text": text, "tokens": len(text), "stop": stop}


def test_generations() -> None:
    rows = [generation("a", "1 + 1 = 2"), generation("b", "3 or 4"), generation("c", "x", "length")]
    answers = {"a": "#### 2", "b": "#### 3", "c": "#### 5"}
    found = values(generation_metrics(rows, GROUPS, answers))
    assert found["exact_match"] == pytest.approx(1 / 3)
    assert found["stop_rate"] == pytest.approx(2 / 3)
    assert found["generated_tokens"] == pytest.approx((9 + 6 + 1) / 3)


def test_exact_match_is_over_the_items_whose_answer_has_a_number() -> None:
    rows = [generation("a", "2"), generation("c", "2")]
    (metric,) = [
        metric
        for metric in generation_metrics(rows, GROUPS, {"a": "#### 2", "c": "none"})
        if metric.name == "exact_match"
    ]
    assert (metric.summary()["value"], metric.summary()["n"]) == (1, 1)


def test_without_numbers_there_is_no_exact_match() -> None:
    found = values(generation_metrics([generation("a", "x")], GROUPS, {"a": "a title"}))
    assert found.keys() == {"stop_rate", "generated_tokens"}


def test_strict_exact_match_wants_the_mark_in_the_answer() -> None:
    rows = [generation("a", "is 1,200 #### 1,200."), generation("b", "is 3"), generation("c", "5")]
    answers = {"a": "#### 1200", "b": "#### 3", "c": "5"}
    found = {metric.name: metric.summary() for metric in generation_metrics(rows, GROUPS, answers)}
    assert (found["exact_match"]["value"], found["exact_match"]["n"]) == (1, 3)
    assert (found["exact_match_strict"]["value"], found["exact_match_strict"]["n"]) == (0.5, 2)


def test_a_set_has_the_metrics_that_it_can_have() -> None:
    rows = [generation("a", "2 and 2 #### 4"), generation("c", "")]
    asked = [{"id": name, "group": GROUPS[name]} for name in ("a", "c")]
    known = [row | {"completion": [{"role": "assistant", "content": "#### 4"}]} for row in asked]
    always = {"stop_rate", "generated_tokens", "distinct_1", "distinct_2", "answer_words",
              "self_bleu", "odd_characters"}  # fmt: skip
    alike = {"exact_match", "exact_match_strict", "bleu", "sacrebleu", "chrf", "rouge_l"}
    rules = {"title_length", "title_only", "question", "how_to", "explanatory"}

    def metrics(prompts: list[dict[str, Any]], settings: dict[str, Any]) -> set[str]:
        return set(answers_to("s", SETTINGS | settings, rows, prompts, set()).summary()["metrics"])

    assert metrics(asked, {}) == always
    assert metrics(known, {}) == always | alike
    assert metrics(asked, {"rules": "titles"}) == always | rules


def test_calls_are_compared_by_name_and_arguments() -> None:
    """Known: two calls, of which one answer makes one; and one call that another makes twice."""
    called = [{"name": "f", "arguments": {"x": 1, "y": "a"}}, {"name": "g", "arguments": {}}]
    extra = [json.dumps({"tool_calls": [{"function": call} for call in part]})
             for part in (called, called[:1])]  # fmt: skip
    prompts = [
        {"id": name, "group": GROUPS[name],
         "completion": [{"role": "assistant", "content": "", "extra": text}]}
        for name, text in zip("ac", extra, strict=True)
    ]  # fmt: skip
    same = '<tool_call>{"arguments": {"y": "a", "x": 1}, "name": "f"}</tool_call>'
    rows = [generation("a", f'{same} {{"name": "g"}} {{x'), generation("c", same + same)]
    metrics = answers_to("s", SETTINGS, rows, prompts, set()).summary()["metrics"]
    assert metrics["equal_calls"]["value"] == pytest.approx(2 / 3)
    assert metrics["equal_calls"]["n"] == 2
    # There is no text that an answer could be like.
    assert "bleu" not in metrics


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
    answer = {"role": "assistant", "content": "#### 2"}
    prompts = [{"id": name, "group": GROUPS[name], "completion": [answer]} for name in GROUPS]
    other = generation("a", "1") | {"set": "other"}
    answers = answers_to("s", SETTINGS, [other, *rows], prompts, {"b", "x"})
    assert [row["id"] for row in answers.rows] == ["a", "c"]
    summary = answers.summary()
    assert summary["left_out"] == 1
    assert summary["metrics"]["exact_match"]["n"] == 2
    read = answers_to("s", SETTINGS | {"scored": False}, rows, prompts, set()).summary()
    assert (read["left_out"], read["metrics"]) == (0, {})
    everything = answers_to("s", SETTINGS, rows, prompts, {"a", "b", "c"})
    assert everything.summary() == {"settings": SETTINGS, "left_out": 3, "metrics": {}}


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
               "--root", str(tmp_path),
               "--generations", str(tmp_path / "generations.parquet")]  # fmt: skip
    for kind, source in {"completions": "problems", "pairs": "preferences"}.items():
        command += [f"--{kind}", str(tmp_path / f"{kind}.parquet"),
                    f"--{kind}-rows", str(tmp_path / f"{source}.parquet")]  # fmt: skip
    metrics, items = tmp_path / "metrics.json", tmp_path / "items.parquet"
    assert measure.main([*command, "--metrics", str(metrics), "--items", str(items)]) == 0
    found = read_json(metrics)
    assert found["name"] == "t"
    assert found["read"] == {
        "completions": "problems.parquet", "pairs": "preferences.parquet",
        "sets": {"s": "problems.parquet"}, "overlaps": {}}  # fmt: skip
    answers = found["sets"]["s"]
    assert answers["metrics"]["bleu"]["value"] == pytest.approx(1)
    assert answers["settings"] == SETTINGS
    assert found["metrics"]["preference_accuracy"]["intervals"].keys() == {"wilson"}
    # Every metric that is a mean can be had again from its items.
    rows = read_rows(items)
    whole = {"perplexity", "calibration_error", "distinct_1", "distinct_2", "bleu", "sacrebleu",
             "chrf"}  # fmt: skip
    every = [(None, name, metric) for name, metric in found["metrics"].items()]
    every += [("s", name, metric) for name, metric in answers["metrics"].items()]
    assert whole <= {name for _, name, _ in every}
    means = [(place, name, metric) for place, name, metric in every if name not in whole]
    assert len(means) >= 19
    assert whole.isdisjoint(row["metric"] for row in rows)
    for place, name, metric in means:
        mine = [row for row in rows if (row["set"], row["metric"]) == (place, name)]
        mean = sum(row["score"] for row in mine) / sum(row["weight"] for row in mine)
        assert mean == pytest.approx(metric["value"])
    # Beside a base, it has signs.
    assert found["signs"] == []
    base, start = tmp_path / "base.json", tmp_path / "start.json"
    place = {"experiment": found["experiment"], "sets": {}}
    write_json(base, place | {"metrics": {"held_out_loss": {"value": 0.5}}})
    command += ["--base-metrics", str(base), "--metrics", str(metrics), "--items", str(items)]
    assert measure.main(command) == 0
    (sign,) = read_json(metrics)["signs"]
    assert (sign["sign"], sign["note"]) == ("held_out_loss_rose", False)
    assert sign["text"] == "held-out loss is 1, at its start 0.5"
    # It starts from a trial that is no better.
    write_json(start, place | {"metrics": {"held_out_loss": {"value": 1.0}}})
    assert measure.main([*command, "--start-metrics", str(start)]) == 0
    assert read_json(metrics)["signs"] == []
