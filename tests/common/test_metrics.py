"""The registry of metrics: all that is measured is declared, and the better model leads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import read_json, write_rows
from scripts.common.metrics import METRICS, page
from scripts.common.rows import ITEMS
from scripts.evaluate import compare, intervals, titles, win_rate
from scripts.evaluate.lookup import lookup_metrics
from scripts.evaluate.measure import answers_to, completion_metrics, pair_metrics
from scripts.evaluate.scores import AnyMetric

Row = dict[str, Any]

NUMBERS = range(24)
GROUPS = {f"i{number}": f"g{number // 2}" for number in NUMBERS}
TITLES = (
    "A night with the fishermen of Lake Baikal, part",
    "Seven bridges that engineers gave up in year",
    "We cooked every soup of the old navy, and it was",
)
CALL = '{"name": "f", "arguments": {}}'
MEASURED = {name: one for name, one in METRICS.items() if one.home != "training"}
DESCRIBING = {
    "chosen_logp", "rejected_logp", "length_difference", "chosen_change", "rejected_change",
    "reference_accuracy", "reference_chosen_logp", "reference_rejected_logp", "known_pairs",
    "generated_tokens", "answer_words", "odd_characters", "question", "how_to", "explanatory", "kl",
    "kl_per_token",
}  # fmt: skip


def answer(number: int) -> str:
    # Some answers call, or titles would be too long.
    return f"{TITLES[number % 3]} #### {number}" + (CALL if number < 2 else "")


def measured(good: bool) -> dict[str, tuple[str, AnyMetric | None, Row]]:
    """Return by name the home, metric and summary of all that is measured of a model.

    A good model finds held-out rows likely, prefers the chosen completion, and gives varied answers
    that are right, end, and please the judge; a bad one the opposite. Both have one reference.
    """
    completions = [{"id": it, "logp": -4.0 if good else -9.0, "tokens": 3} for it in GROUPS]
    pair = {"reference_chosen_logp": -6.0, "reference_rejected_logp": -10.0,
            "chosen_tokens": 4, "rejected_tokens": 5}  # fmt: skip
    own = {"chosen_logp": -5.0, "rejected_logp": -20.0, "margin": 2.0}
    other = {"chosen_logp": -9.0, "rejected_logp": -8.0, "margin": -2.0}
    pairs = [pair | (own if good else other) | {"id": it} for it in GROUPS]
    single = [
        {"id": it, "label": number % 2 == 0, "reference_logp": -6.0, "tokens": 4,
         "logp": -4.0 - (number % 2 if good else 1 - number % 2)}
        for number, it in enumerate(GROUPS)
    ]  # fmt: skip
    ranked = [it for it in pair_metrics(single, GROUPS, tuned=True) if it.name == "auc"]
    said = {it: answer(number) for number, it in enumerate(GROUPS)}
    called = json.dumps({"tool_calls": [{"function": json.loads(CALL)}]})
    asked = [
        {"id": it, "group": group,
         "completion": [{"role": "assistant", "content": said[it], "extra": called}]}
        for it, group in GROUPS.items()
    ]  # fmt: skip
    rows = [
        {
            "set": "s", "id": it, "text": said[it] if good else "Title: one two", "tokens": 9,
            "stop": "eos" if good else "length", "logp": -8.0, "reference_logp": -9.0,
            # One in four judgements goes the other way, whichever answer is longer.
            "verdict": float(good == (number % 4 != 0)), "margin_as_a": 1.0,
            "margin_as_b": 1.0 if good else -1.0, "tuned_tokens": 9 + number % 3, "base_tokens": 10,
        }
        for number, it in enumerate(GROUPS)
    ]  # fmt: skip
    settings = {"scored": True, "answer_after": None, "answer_before": None, "rules": "titles"}
    answers = answers_to("s", settings, rows, asked, set())
    judged = [
        {"id": it, "group": group} | {side: [{"role": "assistant", "content": side}]
                                      for side in ("chosen", "rejected")}
        for it, group in GROUPS.items()
    ]  # fmt: skip
    known = [metric for metric in lookup_metrics(judged, judged) if metric.name == "known_pairs"]
    homes = {
        "demonstrations": completion_metrics(completions, GROUPS),
        "pairs": [*pair_metrics(pairs, GROUPS, tuned=True), *ranked, *known],
        "answers": answers.metrics,
    }
    found = {
        metric.name: (home, metric, metric.summary())
        for home, metrics in homes.items()
        for metric in metrics
    }
    for name, summary in answers.summary()["metrics"].items():
        found.setdefault(name, ("answers", None, summary))
    return found


@pytest.fixture(scope="module", autouse=True)
def _few_resamples() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        for module in (intervals, win_rate):
            patched.setattr(module, "RESAMPLES", 50)
        yield


@pytest.fixture(scope="module")
def better() -> dict[str, Any]:
    return measured(good=True)


@pytest.fixture(scope="module")
def worse() -> dict[str, Any]:
    return measured(good=False)


@pytest.fixture(scope="module")
def comparison(better, worse, tmp_path_factory: pytest.TempPathFactory) -> Row:
    """The comparison of both models, which start from the same base with the same objective."""
    root = tmp_path_factory.mktemp("results")
    models = {"bases/e": better, "trials/better/seed-0": better, "trials/worse/seed-0": worse}
    for folder, model in models.items():
        items = [
            {"set": "s" if home == "answers" else None, "metric": name, "weight": 1.0, **item}
            for name, (home, metric, _) in model.items()
            for item in (metric.items if metric else [])
        ]
        write_rows(root / folder / "items.parquet", items, ITEMS)
        (root / folder / "trial.json").write_text(json.dumps({"start": None, "trainer": {}}))
    keys = ("higher_is_better", "comparable")
    plan = {
        "experiment": "e", "base": "b", "trials": {"dpo": ["worse/seed-0", "better/seed-0"]},
        "phases": {"dpo": "preference"},
        "metrics": {name: {key: getattr(one, key) for key in keys} for name, one in METRICS.items()}
    }  # fmt: skip
    out = root / "e.json"
    assert compare.main(["--root", str(root), "--plan", json.dumps(plan), "--out", str(out)]) == 0
    return read_json(out)


def test_all_that_is_measured_is_declared_and_nothing_else(better) -> None:
    assert better.keys() == MEASURED.keys()


@pytest.mark.parametrize("name", MEASURED)
def test_a_metric_is_declared_as_it_is_measured(name: str, better) -> None:
    home, metric, summary = better[name]
    declared = METRICS[name]
    assert home == declared.home
    assert declared.mean == bool(metric and metric.items)
    both = {"wilson", "group bootstrap"}
    assert set(summary["intervals"]) == (
        both if declared.interval == "wilson" else {declared.interval}
    )
    assert declared.mean or declared.comparable == "never"


@pytest.mark.parametrize("name", METRICS)
def test_the_better_model_leads_in_every_metric(name: str, better, worse, comparison) -> None:
    declared = METRICS[name]
    leading = [one["leading"] for one in comparison["leading"] if one["metric"] == name]
    assert (declared.higher_is_better is None) == (name in DESCRIBING)
    if declared.home == "training":
        assert (declared.higher_is_better, leading) == (False, [])
    elif declared.higher_is_better is None:
        assert leading == []
    else:
        good, bad = (model[name][2]["value"] for model in (better, worse))
        assert (good > bad) if declared.higher_is_better else (good < bad)
        assert leading == (["better"] if declared.comparable != "never" else [])


def test_a_definition_is_completed_by_what_was_measured(better) -> None:
    bleu = METRICS["bleu"].defined(better["bleu"][2])
    assert bleu.startswith(METRICS["bleu"].definition + "; sacrebleu nrefs:1|")
    accuracy = METRICS["preference_accuracy"]
    assert accuracy.defined({}, "dpo") == accuracy.definition
    assert "no model" in accuracy.defined({}, "lookup")
    assert f"{titles.SHORTEST} to {titles.LONGEST} char" in METRICS["title_length"].definition


def test_the_page_of_metrics_is_the_registrys() -> None:
    """`python -m scripts.common.metrics > docs/metrics.md` writes it."""
    path = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert path.read_text(encoding="utf-8") == page()
