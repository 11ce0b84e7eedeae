"""The tables: their numbers, their words, and the three forms in which they are written."""

import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from scripts.common.cli import BadInput
from scripts.common.metrics import METRICS
from scripts.report import comparison, differences, dpo, examples, seeds, sft, summary
from scripts.report import results as long_form
from scripts.report.render import (
    Column,
    Table,
    change,
    csv_text,
    decimals,
    latex,
    latex_text,
    markdown_text,
    power,
    shown,
)
from tests.report.conftest import OBJECTIVE, TRAINER, leader

TABLES = [dpo, long_form, seeds, sft, summary]
FORMS = ("csv", "md", "tex")


CLAIMS = Path(__file__).parents[2] / "paper" / "claims.yaml"


@pytest.fixture(
    params=[*TABLES, examples, comparison, differences],
    ids=lambda module: module.__name__.rsplit(".", 1)[1],
)
def table_module(request):
    """Each table's module, and what its command line needs beside root, plan and forms."""
    extra = ["--claims", str(CLAIMS)] if request.param is comparison else []
    return request.param, extra


def written(module: ModuleType, made, folder: Path) -> dict[str, str]:
    """Runs a table's command line and returns its three texts."""
    paths = [folder / f"table.{form}" for form in FORMS]
    assert module.main(made.arguments(*paths)) == 0
    return {path.suffix[1:]: path.read_text(encoding="utf-8") for path in paths}


def squeezed(text: str) -> str:
    """Returns a Markdown table with one blank where there are several."""
    return re.sub(" +", " ", text)


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# --------------------------------------------------------------------------------------- numbers


def test_sft_holds_the_base_and_then_its_trials(results, tmp_path):
    rows = records(written(sft, results, tmp_path)["csv"])
    assert [row["trial"] for row in rows] == ["tiny_llama", "sft_1", "sft_2"]
    base, first, second = rows
    assert (base["method"], first["method"]) == ("base", "sft")
    assert base["held_out_loss"] == "2.5"
    assert base["r"] == base["train_loss"] == base["seconds"] == base["seeds"] == ""
    assert first["target_modules"] == "q_proj v_proj"
    assert first["effective_batch"] == "8"
    assert first["learning_rate"] == "0.0002"
    assert first["train_loss"] == "0.71414"
    assert first["trainable_parameters"] == "1914880"
    assert first["held_out_loss_group_bootstrap_low"] == "1.15"
    assert first["held_out_loss_n"] == "120"
    assert first["exact_match_wilson_high"] == "0.62"
    assert first["exact_match_group_bootstrap_low"] == ""
    assert (second["num_train_epochs"], second["max_steps"]) == ("3", "-1")


def test_sft_shows_the_length_in_its_own_unit(results, tmp_path):
    text = written(sft, results, tmp_path)["md"]
    assert "150 steps" in text
    assert "3 epochs" in text


def test_dpo_holds_intervals_and_what_moved(results, tmp_path):
    texts = written(dpo, results, tmp_path)
    fell, rose, unmeasured, _ = records(texts["csv"])
    assert fell["start"] == "trials/sft_1/seed-0"
    assert rose["start"] == "base"
    assert fell["chosen_logp_change"] == "-1.5"
    assert fell["rejected_logp_change"] == "-10.25"
    assert (fell["chosen_fell"], rose["chosen_fell"]) == ("true", "false")
    assert unmeasured["chosen_fell"] == unmeasured["margin"] == ""
    assert fell["preference_accuracy_wilson_low"] == "0.75"
    assert fell["preference_accuracy_group_bootstrap_high"] == "0.9375"
    assert (fell["preference_accuracy_n"], fell["preference_accuracy_groups"]) == ("114", "38")
    assert " −1.50 ↓ |" in texts["md"]
    assert " +1.00 |" in texts["md"]
    assert "0.81 [0.75, 0.88] | [0.69, 0.94]" in texts["md"]


def test_dpo_names_a_smoothed_objective(empty_results, figures, tmp_path):
    trainer = {"learning_rate": 1e-4, "max_steps": 5, "beta": 0.3}
    robust = {"trainer": OBJECTIVE | trainer | {"loss_type": ["robust"], "label_smoothing": 0.1}}
    empty_results.trial("dpo-1", "dpo", figures["preferred"](), setting=robust)
    texts = written(dpo, empty_results, tmp_path)
    assert "robust, smoothed 0.1" in texts["md"]
    (row,) = records(texts["csv"])
    assert (row["loss_type"], row["label_smoothing"], row["beta"]) == ("robust", "0.1", "0.3")
    assert "loss_weights" not in row


@pytest.mark.parametrize(
    ("options", "text", "cells"),
    [
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}, "sigmoid + 0.5 sft",
         {"loss_type": "sigmoid sft", "loss_weights": "1.0 0.5"}),
        ({"loss_type": ["sigmoid", "bco_pair"]}, "sigmoid + bco_pair",
         {"loss_type": "sigmoid bco_pair", "label_smoothing": "0.0"}),
        ({"use_weighting": True, "ld_alpha": 0.25}, "sigmoid, WPO, LD-DPO α 0.25",
         {"use_weighting": "true", "ld_alpha": "0.25"}),
        ({"ld_alpha": 0.0}, "sigmoid, LD-DPO α 0", {"ld_alpha": "0.0"}),
        ({"loss_type": ["ipo"], "f_divergence_type": "forward_kl"}, "ipo, forward_kl",
         {"f_divergence_type": "forward_kl"}),
        ({"f_divergence_type": "alpha_divergence"}, "sigmoid, alpha_divergence 0.5",
         {"f_alpha_divergence_coef": "0.5"}),
        ({"loss_type": ["discopop"], "discopop_tau": 0.1}, "discopop, τ 0.1",
         {"discopop_tau": "0.1"}),
        ({"loss_type": ["exo_pair"], "label_smoothing": 0.001, "use_weighting": True},
         "exo_pair, smoothed 0.001, WPO", {}),
    ],
)  # fmt: skip
def test_dpo_shows_what_of_an_objective_is_no_default(
    empty_results, figures, tmp_path, options, text, cells
):
    trainer = TRAINER | OBJECTIVE | options
    empty_results.trial("dpo-1", "dpo", figures["preferred"](), setting={"trainer": trainer})
    empty_results.lookup("tutor", "Word problems & dialogues", figures["looked_up"]())
    texts = written(dpo, empty_results, tmp_path)
    escaped = text.replace("_", r"\_")
    assert f"| {escaped} |" in re.sub(" +", " ", texts["md"])
    row, lookup = records(texts["csv"])
    assert cells.items() <= row.items()
    assert {lookup[name] for name in (*cells, "loss_type")} == {""}


def test_summary_goes_from_base_to_sft_to_dpo_in_every_experiment(results, tmp_path):
    rows = records(written(summary, results, tmp_path)["csv"])
    methods = ["base", "sft", "sft", "dpo", "base", "dpo", "dpo", "lookup"]
    assert [row["method"] for row in rows] == methods
    assert [row["set"] for row in rows] == [*["problems"] * 4, *[""] * 4]
    assert [row["bleu"] for row in rows] == ["0.0721", "0.1176", "0.1075", "0.1", "", "", "", ""]
    assert rows[0]["generated_tokens"] == "41.25"
    assert [row["preference_accuracy"] for row in rows[:4]] == ["", "", "", "0.8125"]
    assert rows[5]["preference_accuracy"] == "0.75"


def test_results_has_a_line_for_each_figure_and_interval(results, tmp_path):
    rows = records(written(long_form, results, tmp_path)["csv"])
    first = [row for row in rows if row["trial"] == "dpo_1"]
    assert [(row["figure"], row["interval_method"]) for row in first] == [
        ("train_loss", ""),
        ("preference_loss", "group bootstrap"),
        ("preference_accuracy", "wilson"),
        ("preference_accuracy", "group bootstrap"),
        ("margin", "group bootstrap"),
    ]
    assert [row["value"] for row in first] == ["0.71414", "0.5612", "0.8125", "0.8125", "1.85"]
    assert (first[1]["interval_low"], first[1]["interval_high"]) == ("0.5", "0.625")
    assert (first[1]["n"], first[1]["groups"], first[1]["unit"]) == ("114", "38", "nats")


def test_the_lookup_stands_beside_the_accuracies(results, tmp_path):
    texts = written(dpo, results, tmp_path)
    lookup = records(texts["csv"])[-1]
    assert (lookup["trial"], lookup["start"], lookup["r"], lookup["steps"]) == (
        "lookup",
        "",
        "",
        "",
    )
    assert lookup["preference_accuracy"] == "0.71875"
    assert lookup["preference_accuracy_group_bootstrap_high"] == "0.875"
    assert "win counts in train, no model |" in texts["md"]
    note = (
        f"- Win counts in train, no model: {METRICS['preference_accuracy'].of_lookup}; both "
        "completions of 114 of 114 test pairs are judged in train.\n"
    )
    assert note in texts["md"]
    assert "share of pairs with a positive margin; n = 114 in 38 groups.\n" in texts["md"]
    lines = [
        row
        for row in records(written(long_form, results, tmp_path)["csv"])
        if row["trial"] == "lookup"
    ]
    assert [(row["figure"], row["interval_method"]) for row in lines] == [
        ("preference_accuracy", "wilson"), ("preference_accuracy", "group bootstrap"),
    ]  # fmt: skip
    assert note in written(summary, results, tmp_path)["md"]


def test_the_lookup_knows_a_part_of_the_pairs(empty_results, figures, tmp_path):
    empty_results.trial("dpo-1", "dpo", figures["preferred"](), "ideas", "By idea")
    empty_results.lookup("ideas", "By idea", figures["looked_up"](0.25))
    text = written(dpo, empty_results, tmp_path)["md"]
    assert "both completions of 28 of 114 test pairs are judged in train" in text


def test_dpo_marks_an_overwritten_start_and_shows_step_zero(empty_results, figures, tmp_path):
    coded = {"setting": {"start_as": "overwritten"}}
    coded["outcome"] = {"step_zero": {"margin": 0.04, "loss": 0.7071, "gate": "off"}}
    empty_results.trial("dpo-1", "dpo", figures["preferred"]())
    plain = written(dpo, empty_results, tmp_path)
    assert "0.6931 |" in plain["md"]
    assert "verwritten" not in plain["md"]
    empty_results.trial("dpo-1-as-coded", "dpo", figures["preferred"](), **coded)
    texts = written(dpo, empty_results, tmp_path)
    assert "sft\\_1, overwritten |" in texts["md"]
    assert "- Overwritten: " in texts["md"]
    row = records(texts["csv"])[1]
    assert (row["start"], row["start_as"]) == ("trials/sft_1/seed-0", "overwritten")
    assert (row["step_zero_loss"], row["step_zero_margin"]) == ("0.7071", "0.04")


# --------------------------------------------------------------------------------------- sets


def two_sets(made, figures) -> None:
    """Adds an experiment with two sets of prompts, one of them without known answers."""
    second = {"stop_rate": figures["measured"](0.25, 3)}
    for name, method in (("tiny_llama", "base"), ("sft-1", "sft")):
        own = figures["generated"](1.0, 0.1, 0.5)
        if method == "base":
            made.base("two", "Two sets", own, sets={"titles": second})
        else:
            made.trial(name, "sft", own, "two", "Two sets", sets={"titles": second})


def test_summary_has_a_line_for_each_set(empty_results, figures, tmp_path):
    two_sets(empty_results, figures)
    texts = written(summary, empty_results, tmp_path)
    rows = records(texts["csv"])
    assert [(row["trial"], row["set"]) for row in rows] == [
        ("tiny_llama", "problems"), ("tiny_llama", "titles"), ("sft-1", "problems"),
        ("sft-1", "titles"),
    ]  # fmt: skip
    assert [row["stop_rate"] for row in rows] == ["0.9", "0.25", "0.9", "0.25"]
    assert [row["bleu"] for row in rows] == ["0.1", "", "0.1", ""]
    assert [row["held_out_loss"] for row in rows] == ["1.0"] * 4
    assert texts["md"].count("1.000 [0.900, 1.100]") == 2
    assert texts["md"].count("sft-1 ") == 1
    places = "answers that end by themselves"
    assert f"- Stop rate: {places}; n = 57 (two/problems); n = 3 (two/titles).\n" in texts["md"]


def test_sft_has_lines_for_sets_with_known_answers_only(empty_results, figures, tmp_path):
    two_sets(empty_results, figures)
    further = {"exact_match": figures["measured"](0.125, 8)}
    empty_results.trial("sft-2", "sft", {}, "two", "Two sets", sets={"more": further})
    rows = records(written(sft, empty_results, tmp_path)["csv"])
    assert [(row["trial"], row["set"], row["exact_match"]) for row in rows] == [
        ("tiny_llama", "problems", "0.5"), ("sft-1", "problems", "0.5"), ("sft-2", "more", "0.125"),
    ]  # fmt: skip


def test_a_note_says_how_a_set_was_answered(empty_results, figures, tmp_path):
    two_sets(empty_results, figures)
    path = empty_results.root / "bases/two/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["sets"]["problems"]["left_out"] = 1234
    metrics["sets"]["problems"]["settings"]["overlap"] = "word-problems.test"
    metrics["sets"]["titles"]["settings"] |= {
        "do_sample": True, "temperature": 0.7, "limit": 3, "answer_after": "### Response:\n",
    }  # fmt: skip
    path.write_text(json.dumps(metrics))
    text = written(summary, empty_results, tmp_path)["md"]
    assert (
        "- Prompts problems: test split of word-problems, greedy, at most 100 new tokens, 1,234 "
        "items left out that stand in the SFT rows.\n"
    ) in text
    assert (
        "- Prompts titles: test split of word-problems, the first 3, sampled, temperature 0.7, at "
        "most 100 new tokens, the answer after the last '### Response:'.\n"
    ) in text


def test_experiments_that_cut_answers_differently_are_told_apart(results, figures, tmp_path):
    other = {"experiment": "other", "title": "Other"}
    results.trial("sft-9", "sft", figures["generated"](1.0, 0.1, 0.5), **other)
    same = "test split of word-problems, greedy, at most 100 new tokens"
    assert f"- Prompts problems: {same}.\n" in written(sft, results, tmp_path)["md"]
    path = results.root / "trials/sft-9/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["sets"]["problems"]["settings"] |= {"answer_before": "Question:\n"}
    path.write_text(json.dumps(metrics))
    cut = f"{same}, the answer before the first 'Question:'"
    assert (
        f"- Prompts problems: {same} (tutor); {cut} (other).\n"
        in (written(sft, results, tmp_path)["md"])
    )


@pytest.mark.parametrize(("scored", "said"), [(True, True), (False, False)])
def test_that_nothing_was_left_out_is_said_of_a_scored_set(results, tmp_path, scored, said):
    for path in results.root.glob("*/*/**/metrics.json"):
        metrics = json.loads(path.read_text())
        for answered in metrics.get("sets", {}).values():
            answered["settings"] |= {"overlap": "word-problems.test", "scored": scored}
        path.write_text(json.dumps(metrics))
    text = written(summary, results, tmp_path)["md"]
    assert (", 0 items left out that stand in the SFT rows.\n" in text) == said


def test_an_experiment_without_prompts_has_one_line_a_model(empty_results, figures, tmp_path):
    empty_results.base("pairs", "Pairs", {"policy_accuracy": figures["measured"](0.5, 20)})
    empty_results.trial("dpo-1", "dpo", figures["preferred"](), "pairs", "Pairs")
    rows = records(written(summary, empty_results, tmp_path)["csv"])
    assert [(row["trial"], row["set"]) for row in rows] == [("tiny_llama", ""), ("dpo-1", "")]


# --------------------------------------------------------------------------------------- missing


def test_a_trial_without_figures_keeps_its_lines(results, tmp_path):
    texts = written(long_form, results, tmp_path)
    rows = [row for row in records(texts["csv"]) if row["trial"] == "titles-2"]
    assert [row["figure"] for row in rows] == [
        "train_loss", "preference_loss", "preference_accuracy", "margin",
    ]  # fmt: skip
    assert [row["value"] for row in rows[1:]] == ["", "", ""]


def test_a_trial_of_several_seeds_is_one_row_with_its_deviation(empty_results, figures, tmp_path):
    """Losses 1 and 2: mean 1.5, deviation 1 / √2; seconds 10 and 20; BLEU has no interval."""
    for seed, loss in ((0, 1.0), (7, 2.0)):
        empty_results.trial(
            "sft-1", "sft", figures["generated"](loss, 0.1, 0.5), seed=seed,
            outcome={"seconds": 10 * loss},
        )  # fmt: skip
    texts = written(sft, empty_results, tmp_path)
    (row,) = records(texts["csv"])
    assert (row["seeds"], row["held_out_loss"], row["seconds"]) == ("2", "1.5", "15.0")
    assert float(row["held_out_loss_sd"]) == pytest.approx(0.5**0.5)
    assert row["bleu_group_bootstrap_low"] == row["exact_match_wilson_low"] == ""
    assert "| 1.500 ± 0.707 |" in squeezed(texts["md"])
    assert "- Seeds: 0, 7. Of several seeds: mean ± standard deviation over seeds" in texts["md"]
    assert r"1.500 $\pm$ 0.707" in texts["tex"]


def test_the_interval_of_several_seeds_stands_in_place_of_wilsons(empty_results, figures, tmp_path):
    for seed in (0, 1):
        empty_results.trial("dpo-1", "dpo", figures["preferred"](), seed=seed)
    path = empty_results.root / "trials/dpo-1/metrics.json"
    metrics = json.loads(path.read_text())
    metrics["metrics"]["preference_accuracy"]["intervals"] = {"group bootstrap": [0.25, 0.875]}
    path.write_text(json.dumps(metrics))
    texts = written(dpo, empty_results, tmp_path)
    assert "| 0.81 ± 0.00 [0.25, 0.88] |" in squeezed(texts["md"])
    assert records(texts["csv"])[0]["start"] == "trials/sft_1"


def test_the_table_of_seeds_has_a_row_for_each(empty_results, figures, tmp_path):
    for seed, loss in ((0, 1.0), (7, 2.0)):
        empty_results.trial("sft-1", "sft", figures["generated"](loss, 0.1, 0.5), seed=seed)
    empty_results.trial("dpo-1", "dpo", figures["preferred"](0.75))
    texts = written(seeds, empty_results, tmp_path)
    rows = records(texts["csv"])
    assert [(row["trial"], row["seed"]) for row in rows] == [
        ("sft-1", "0"), ("sft-1", "7"), ("dpo-1", "0"),
    ]  # fmt: skip
    assert [row["held_out_loss"] for row in rows] == ["1.0", "2.0", ""]
    assert rows[1]["held_out_loss_group_bootstrap_low"] == "1.9"
    assert "| 0.75 [0.69, 0.81] |" in squeezed(texts["md"])


# ------------------------------------------------------------------------------------ who leads


@pytest.mark.parametrize("apart", [True, False])
def test_who_leads_apart_is_bold_in_every_form_and_plain_in_the_csv(
    apart, empty_results, figures, tmp_path
):
    for name, accuracy in (("dpo-1", 0.75), ("dpo-2", 0.8125)):
        empty_results.trial(name, "dpo", figures["preferred"](accuracy))
    empty_results.lookup("tutor", "Word problems & dialogues", figures["looked_up"]())
    key = "preference_accuracy"
    empty_results.compare("tutor", leading=(leader("dpo-2", "dpo-1", key, apart),))
    texts = written(dpo, empty_results, tmp_path)
    assert squeezed(texts["md"]).count("| **0.81 [0.75, 0.88]** |") == apart
    assert texts["tex"].count(r"& \textbf{0.81 [0.75, 0.88]} &") == apart
    assert texts["md"].count("**") == 2 + 2 * apart
    rows = records(texts["csv"])
    assert [row[key] for row in rows] == ["0.75", "0.8125", "0.71875"]
    assert [row[f"{key}_best"] for row in rows] == ["false", "true" if apart else "false", ""]
    assert "- Bold: leads the trials of its experiment and method" in texts["md"]


def test_who_leads_leads_in_one_figure_of_one_set(empty_results, figures, tmp_path):
    for name in ("sft-1", "sft-2"):
        more = {"more": {"exact_match": figures["measured"](0.5, 8)}}
        empty_results.trial(name, "sft", figures["generated"](1.0, 0.1, 0.5), sets=more)
    where = {"method": "sft", "set": "more"}
    leading = (
        leader("sft-1", "sft-2", "held_out_loss", True, method="sft"),
        leader("sft-2", "sft-1", "exact_match", True, **where),
    )
    empty_results.compare("tutor", leading=leading)
    for module in (sft, summary):
        rows = records(written(module, empty_results, tmp_path)["csv"])
        best = [(row["trial"], row["set"]) for row in rows if row["exact_match_best"] == "true"]
        assert best == [("sft-2", "more")]
        assert {row["trial"] for row in rows if row["held_out_loss_best"] == "true"} == {"sft-1"}


@pytest.mark.parametrize(("split", "marked"), [("test", True), ("valid", False), (None, False)])
def test_a_trial_selected_on_the_reported_split_is_marked(
    split, marked, empty_results, figures, tmp_path
):
    made = figures["generated"](1.0, 0.1, 0.5) | figures["preferred"]()
    empty_results.trial("sft-1", "sft", made, selected_on=split)
    empty_results.trial("dpo-1", "dpo", made, selected_on=split)
    for module, name in ((sft, "sft-1"), (dpo, "dpo-1"), (summary, "dpo-1"), (long_form, "dpo-1")):
        texts = written(module, empty_results, tmp_path)
        assert (f"| {name} † |" in squeezed(texts["md"])) == marked
        assert ("- †: the adapter is that of the best evaluation" in texts["md"]) == marked
        assert (r"$\dagger$" in texts["tex"]) == marked
        assert name in {row["trial"] for row in records(texts["csv"])}


def test_of_very_many_rows_people_get_the_first_and_machines_all():
    words = Column("Word", text=str, names=("word",), values=lambda row: (row,))
    table = Table("words", "Words", (words,), [f"w{it}" for it in range(7)], [], most=5)
    note = "The first 5 of 7 rows; all of them are in words.csv."
    assert table.cut().rows == table.rows[:5]
    assert table.cut().notes == [note]
    assert replace(table, most=7).cut().notes == []
    assert "w6" in csv_text(table)


def test_a_note_gives_definition_and_sizes(results, tmp_path):
    text = written(sft, results, tmp_path)["md"]
    assert f"- Exact match: {METRICS['exact_match'].definition}; n = 57.\n" in text
    assert "; n = 120 in 12 groups." in text


def test_a_note_says_nothing_of_groups_of_one(empty_results, figures, tmp_path):
    alone = figures["generated"](1.0, 0.1, 0.5)
    alone["bleu"]["groups"] = alone["bleu"]["n"]
    empty_results.trial("sft-1", "sft", alone)
    assert "(Papineni et al. 2002); n = 57.\n" in written(sft, empty_results, tmp_path)["md"]


def test_a_note_names_experiments_where_sizes_differ(results, figures, tmp_path):
    other = {"experiment": "other", "title": "Other"}
    smaller = figures["generated"](1.0, 0.1, 0.5)
    smaller["bleu"]["n"] = 20
    results.trial("sft-9", "sft", smaller, **other)
    text = written(sft, results, tmp_path)["md"]
    sizes = "n = 57 (tutor/problems); n = 20 (other/problems)"
    assert f"- BLEU: {METRICS['bleu'].definition}; {sizes}.\n" in text


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_a_missing_figure_is_a_dash_and_never_zero(module, empty_results, figures, tmp_path):
    empty_results.base("tutor", "Tutor", {})
    empty_results.trial("sft-1", "sft", {})
    empty_results.trial("dpo-1", "dpo", {"generated_tokens": figures["generated"](1, 1, 1)["bleu"]})
    texts = written(module, empty_results, tmp_path)
    assert "| – |" in re.sub(" +", " ", texts["md"])
    assert "0.00" not in texts["md"]
    assert "& -- &" in texts["tex"]
    assert ",," in texts["csv"]


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_plan_of_one_method_is_enough(module, method, empty_results, figures, tmp_path):
    empty_results.trial("only", method, figures["generated"](1.0, 0.1, 0.5))
    texts = written(module, empty_results, tmp_path)
    assert texts["csv"].startswith("experiment,title,trial,")
    assert "toprule" in texts["tex"]


# ------------------------------------------------------------------------------------------ mark

MARK = "Rehearsal: tiny & cut_down, no result"


def test_a_mark_stands_in_every_form_of_every_table(table_module, results, tmp_path):
    module, extra = table_module
    paths = [tmp_path / f"table.{form}" for form in FORMS]
    assert module.main([*results.arguments(*paths), *extra, "--mark", MARK]) == 0
    rows, markdown, tex = (path.read_text(encoding="utf-8") for path in paths)
    assert rows.startswith("mark,experiment,")
    assert {row["mark"] for row in records(rows)} == {MARK}
    assert markdown.startswith("**Rehearsal: tiny & cut\\_down, no result — ")
    captions = re.findall(r"\\caption\{(.*)\}\n", tex)
    assert captions
    assert all(it.startswith(r"Rehearsal: tiny \& cut\_down, no result --- ") for it in captions)


def test_without_a_mark_no_form_has_one(table_module, results, tmp_path):
    module, extra = table_module
    paths = [tmp_path / f"table.{form}" for form in FORMS]
    module.main([*results.arguments(*paths), *extra])
    assert paths[0].read_text(encoding="utf-8").startswith("experiment,")
    assert "—" not in paths[1].read_text(encoding="utf-8").splitlines()[0]


# ----------------------------------------------------------------------------------------- forms


def shown_table() -> Table:
    """Returns a table with everything that could go wrong in a form."""
    rows = [("a_b & 50 %", 0.5, None), ("a_b & 50 %", -0.25, 1234), ("#2 {x} ~ ^ \\ | *", 0.0, 7)]
    return Table(
        name="golden",
        title="Gold & more",
        columns=(
            Column("Name", lambda row: row[0], ("name",), lambda row: (row[0],), align="l"),
            Column(
                "Change\n[of %]",
                lambda row: shown(row[1], change(2)),
                ("change",),
                lambda row: (row[1],),
            ),
            Column("n", lambda row: shown(row[2], str), ("n", "known"),
                   lambda row: (row[2], row[2] is not None)),
        ),
        rows=rows,
        notes=["Costs $5 < $6."],
    )  # fmt: skip


def test_markdown_as_it_should_be():
    assert markdown_text(shown_table()) == (
        "**Gold & more**\n"
        "\n"
        "| Name                 | Change [of %] |    n |\n"
        "| -------------------- | ------------: | ---: |\n"
        "| a\\_b & 50 %          |         +0.50 |    – |\n"
        "|                      |         −0.25 | 1234 |\n"
        "| #2 {x} \\~ ^ \\\\ \\| \\* |         +0.00 |    7 |\n"
        "\n"
        "- Costs $5 \\< $6.\n"
    )


def test_latex_as_it_should_be():
    assert latex_text(shown_table()) == (
        "% \\usepackage{booktabs,graphicx}\n"
        "\\begin{table}[tp]\n"
        "\\centering\n"
        "\\caption{Gold \\& more}\n"
        "\\label{tab:golden}\n"
        "\\smallskip\n"
        "\\setlength{\\tabcolsep}{4pt}\n"
        "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        "\\begin{tabular}{rr}\n"
        "\\toprule\n"
        "\\shortstack[r]{Change\\\\{}[of \\%]} & n \\\\\n"
        "\\midrule\n"
        "\\multicolumn{2}{l}{a\\_b \\& 50 \\%} \\\\\n"
        "+0.50 & -- \\\\\n"
        "$-$0.25 & 1234 \\\\\n"
        "\\midrule\n"
        "\\multicolumn{2}{l}{\\#2 \\{x\\} \\textasciitilde{} \\textasciicircum{} "
        "\\textbackslash{} \\textbar{} *} \\\\\n"
        "+0.00 & 7 \\\\\n"
        "\\bottomrule\n"
        "\\end{tabular}}\n"
        "\\par\\smallskip{\\footnotesize\\raggedright Costs \\$5 \\textless{} \\$6.\\par}\n"
        "\\end{table}\n"
    )


def test_a_long_table_becomes_several_in_a_paper():
    text = latex_text(replace(shown_table(), page=2))
    assert re.findall(r"\\caption\{(.*)\}", text) == [
        r"Gold \& more (1 of 2)", r"Gold \& more (2 of 2)",
    ]  # fmt: skip
    assert re.findall(r"\\label\{(.*)\}", text) == ["tab:golden", "tab:golden-2"]
    assert text.count("Costs") == 1
    assert text.index("Costs") > text.index("(2 of 2)")
    again = latex_text(replace(shown_table(), page=1))
    assert again.count(r"a\_b \& 50 \%") == 2


def test_a_column_said_once_is_blank_below_for_people_only():
    name, *others = shown_table().columns
    table = Table("once", "Once", (name, replace(others[1], once=True)), [("a", 0, 1), ("b", 0, 1)],
                  [], subject=lambda row: row[1])  # fmt: skip
    assert table.texts() == [["a", "1"], ["b", ""]]
    assert csv_text(table) == "name,n,known\na,1,true\nb,1,true\n"


def test_csv_holds_raw_values():
    assert csv_text(shown_table()) == (
        "name,change,n,known\n"
        "a_b & 50 %,0.5,,false\n"
        "a_b & 50 %,-0.25,1234,true\n"
        "#2 {x} ~ ^ \\ | *,0.0,7,true\n"
    )


@pytest.mark.parametrize(
    ("value", "text"), [(2e-4, "2e-4"), (5e-7, "5e-7"), (4e-3, "4e-3"), (1.5e-5, "1.5e-5")]
)
def test_a_learning_rate_is_a_power(value, text):
    assert power(value) == text


def test_a_number_that_rounds_to_zero_has_no_sign():
    assert decimals(2)(-0.001) == "0.00"
    assert decimals(1)(-1234.56) == "−1,234.6"


def test_latex_escapes_every_special_character():
    assert latex("_ % & # $ {}") == r"\_ \% \& \# \$ \{\}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Überraschung à l’œuvre", r"\"{U}berraschung \`{a} l'\oe{}uvre"),
        ("e\u0301 = é, ç, Å, ž", r"\'{e} = \'{e}, \c{c}, \r{A}, \v{z}"),
        ("a\u00a0b", "a b"),
        ("🎉 日 ą", "[U+1F389] [U+65E5] [U+0105]"),
        ("zero\u200bwidth \x00\x1b", "zero[U+200B]width [U+0000][U+001B]"),
        ("“yes” – 1 × 2 ≤ 3…", r"``yes'' -- 1 $\times$ 2 $\leq$ 3\ldots{}"),
    ],
)
def test_latex_prints_what_its_fonts_have_and_names_the_rest(text, expected):
    assert latex(text) == expected


@pytest.mark.parametrize("module", TABLES, ids=lambda module: module.__name__)
def test_latex_is_balanced_and_escaped(module, results, tmp_path):
    text = written(module, results, tmp_path)["tex"]
    assert re.findall(r"\\begin{(\w+)}", text) == ["table", "tabular"]
    assert re.findall(r"\\end{(\w+)}", text) == ["tabular", "table"]
    bare = re.sub(r"\\[{}]", "", text.replace(r"\\", ""))
    assert bare.count("{") == bare.count("}")
    body = text.split("\n", 1)[1].replace("{!}{%\n", "")
    assert not re.search(r"(?<!\\)[%#_]", body)
    assert body.isascii()
    columns = len(re.search(r"\\begin{tabular}{([lr]+)}", text).group(1))
    lines = [line for line in text.splitlines() if line.endswith(r" \\")]
    lines = [line for line in lines if not line.startswith(r"\multicolumn")]
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {columns}
    assert not any(line.startswith(("[", "*")) for line in lines)


def test_latex_compiles(results, tmp_path):
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("pdflatex is not installed, so no table was compiled")
    modules = [*TABLES, examples, differences]
    names = [module.__name__.rsplit(".", 1)[1] for module in modules]
    for name, module in zip(names, modules, strict=True):
        (tmp_path / name).with_suffix(".tex").write_text(
            written(module, results, tmp_path / f"written-{name}")["tex"], encoding="utf-8"
        )
    inputs = "\n".join(rf"\input{{{name}}}" for name in names)
    paper = tmp_path / "paper.tex"
    paper.write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n"
        f"\\begin{{document}}\n{inputs}\n\\end{{document}}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", paper.name],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]


# ---------------------------------------------------------------------------------------- errors


def outputs(folder: Path) -> list[Path]:
    return [folder / f"table.{form}" for form in FORMS]


@pytest.mark.parametrize(
    "name",
    [
        "trials/sft_2/metrics.json", "trials/sft_2/seed-0/trial.json",
        "trials/sft_2/seed-0/train.json", "comparisons/tutor.json",
    ],
)  # fmt: skip
def test_a_missing_file_is_named_and_nothing_written(name, results, tmp_path):
    missing = results.root / name
    missing.unlink()
    with pytest.raises(BadInput, match=f"^{re.escape(str(missing))}: no such file$"):
        sft.main(results.arguments(*outputs(tmp_path)))
    assert not any(path.exists() for path in outputs(tmp_path))


def test_an_unreadable_file_is_named(results, tmp_path):
    broken = results.root / "trials/sft_1/seed-0/train.json"
    broken.write_text("{", encoding="utf-8")
    with pytest.raises(BadInput, match=f"^{re.escape(str(broken))}: "):
        sft.main(results.arguments(*outputs(tmp_path)))


def test_a_missing_key_is_named_with_its_file(results, tmp_path):
    short = results.root / "trials/sft_1/seed-0/trial.json"
    short.write_text(json.dumps({"lora": {}}), encoding="utf-8")
    with pytest.raises(BadInput, match=r"trial\.json: has no lora\.r$"):
        sft.main(results.arguments(*outputs(tmp_path)))


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("[", "not JSON"),
        ("{}", "not a list of experiments"),
        ('[{"title": "a"}]', "experiment 1 needs exactly the keys"),
        (
            '[{"experiment": "a", "title": "a", "base": null, "trials": {"sft": ["x"]}, '
            '"lookup": null, "shown": {}}]',
            "experiment 1: not a trial/seed-0: x",
        ),
        (
            '[{"experiment": "a", "title": "a", "base": null, "trials": {}, '
            '"lookup": null, "shown": {"s": ["y"]}}]',
            "experiment 1: not a trial/seed-0: y",
        ),
    ],
)
def test_a_wrong_plan_is_refused(plan, message, tmp_path, capsys):
    paths = [part for path in outputs(tmp_path) for part in (f"--{path.suffix[1:]}", str(path))]
    with pytest.raises(SystemExit):
        sft.main(["--root", str(tmp_path), "--plan", plan, *paths])
    assert message in capsys.readouterr().err
