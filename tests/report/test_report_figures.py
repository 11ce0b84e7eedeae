"""The figures: that every plan gives one, and what is drawn in it."""

import json
import math
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from scripts.common.cli import BadInput
from scripts.config.schema import LossType
from scripts.report import (
    accuracy,
    before_after,
    curves,
    figure_command,
    forest,
    length,
    power,
    quality,
    reliability,
    sensitivity,
)
from scripts.report.headline import leading
from scripts.report.read import parse_plan, subjects_of
from scripts.report.style import METHOD_LOOKS, looks, use_style
from tests.config.trl_loss import trl_loss
from tests.report.conftest import LORA, OBJECTIVE, PAIRS, paired

FIGURES = [
    accuracy, before_after, curves, forest, length, power, quality, reliability, sensitivity,
]  # fmt: skip
READS = {
    curves: "trials/titles-1/seed-0/history.jsonl",
    forest: "comparisons/titles.json",
    length: "trials/titles-1/seed-0/items.parquet",
    power: "comparisons/titles.json",
    reliability: "trials/titles-1/seed-0/items.parquet",
}
"""What a figure reads that others do not."""
by_name = pytest.mark.parametrize("module", FIGURES, ids=lambda module: module.__name__)


def drawn(module: ModuleType, made):
    """Returns the figure of a results folder, not yet saved."""
    use_style()
    return module.draw(subjects_of(made.root, parse_plan(json.dumps(made.plan))))


def assert_written(module: ModuleType, made, folder: Path) -> None:
    pdf, png = folder / "figure.pdf", folder / "figure.png"
    assert module.main(made.arguments(pdf, png)) == 0
    assert pdf.read_bytes().startswith(b"%PDF-")
    assert b"CreationDate" not in pdf.read_bytes()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in sorted(folder.glob("*.p*"))] == ["figure.pdf", "figure.png"]


@by_name
def test_a_whole_plan(module, results, tmp_path):
    assert_written(module, results, tmp_path)


@by_name
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_one_trial_of_one_method(module, method, empty_results, figures, tmp_path):
    made = figures["generated"](1.0, 0.1, 0.5) | figures["preferred"]()
    empty_results.trial("only", method, made)
    assert_written(module, empty_results, tmp_path)


@by_name
def test_forty_trials_of_two_seeds(module, empty_results, figures, tmp_path):
    for seed in (0, 1):
        for number in range(20):
            made = figures["generated"](1.0, 0.1, 0.5) | figures["preferred"]()
            empty_results.trial(f"dpo-{number}", "dpo", made, seed=seed)
    assert_written(module, empty_results, tmp_path)


@by_name
def test_trials_without_figures_or_history(module, empty_results, tmp_path):
    empty_results.base("tutor", "Tutor", {})
    empty_results.trial("dpo-1", "dpo", {}, history=[])
    assert_written(module, empty_results, tmp_path)


@by_name
def test_an_empty_plan(module, empty_results, tmp_path):
    assert_written(module, empty_results, tmp_path)


@by_name
def test_a_missing_file_is_named_and_nothing_written(module, results, tmp_path):
    name = READS.get(module, "trials/titles-1/metrics.json")
    (results.root / name).unlink()
    pdf, png = tmp_path / "figure.pdf", tmp_path / "figure.png"
    with pytest.raises(BadInput, match=rf"{name}: no such file"):
        module.main(results.arguments(pdf, png))
    assert not pdf.exists()
    assert not png.exists()


def test_curves_have_a_panel_for_each_experiment_and_method(results):
    panels = drawn(curves, results).axes
    title = "Word problems & dialogues"
    assert [panel.get_title(loc="left") for panel in panels] == [
        f"{title}: SFT", f"{title}: DPO", "Titles, 100 % of #1 {ideas}: DPO",
    ]  # fmt: skip
    training, evaluated = panels[0].lines[:2]
    assert list(training.get_xdata()) == [10, 20]
    assert list(training.get_ydata()) == [0.69, 0.60]
    assert list(evaluated.get_xdata()) == [20]
    assert list(evaluated.get_ydata()) == [0.65]
    legend = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert legend == ["sft_1", "sft_2"]


def levels(panel) -> list[float]:
    return [line.get_ydata()[0] for line in panel.lines if list(line.get_xdata()) == [0, 1]]


def test_curves_mark_ln_2_for_the_objectives_that_start_there(results, figures):
    ipo = {"trainer": OBJECTIVE | {"loss_type": ["ipo"]}}
    results.trial("ipo", "dpo", {}, experiment="third", title="Third", setting=ipo)
    supervised, sigmoid, _, other = drawn(curves, results).axes
    assert levels(sigmoid) == [math.log(2)]
    assert levels(supervised) == levels(other) == []


OPTIONS = [
    *({"loss_type": [objective]} for objective in get_args(LossType)),
    {"loss_type": ["sigmoid", "aot"]},
    {"loss_type": ["sigmoid", "aot"], "loss_weights": [0.75, 0.25]},
    {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.75, 0.25]},
    {"loss_type": ["robust"], "label_smoothing": 0.25},
    {"use_weighting": True},
    {"ld_alpha": 0.5},
    {"f_divergence_type": "js_divergence"},
    {"f_divergence_type": "alpha_divergence"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_curves_start_at_ln_2_where_trl_does(empty_results, options):
    trainer = OBJECTIVE | {"label_smoothing": 0.1} | options
    empty_results.trial("one", "dpo", {}, setting={"trainer": trainer})
    (panel,) = drawn(curves, empty_results).axes
    starts_there = trl_loss(trainer, moved=0.0) == pytest.approx(math.log(2), abs=1e-6)
    assert levels(panel) == [math.log(2)] * starts_there


def test_accuracy_draws_both_intervals_and_the_value(results):
    panel = drawn(accuracy, results).axes[0]
    chance, by_group, wilson, value = panel.lines
    assert chance.get_xdata()[0] == 0.5
    assert list(by_group.get_xdata()) == [0.6875, 0.9375]
    assert list(wilson.get_xdata()) == [0.75, 0.875]
    assert wilson.get_linewidth() < by_group.get_linewidth()
    assert list(value.get_xdata()) == [0.8125]
    assert [text.get_text() for text in panel.texts] == [
        "value", "0.81", "pairs", "114", "groups", "38",
    ]  # fmt: skip


def test_accuracy_shows_a_trial_without_one_as_a_dash(results):
    panel = drawn(accuracy, results).axes[1]
    rows = [label.get_text() for label in panel.get_yticklabels()]
    assert rows == ["titles-1", "titles-2", "win counts in train, no model"]
    assert [text.get_text() for text in panel.texts].count("–") == 4


def test_accuracy_draws_the_lookup_and_says_what_it_knows(results):
    figure = drawn(accuracy, results)
    value = figure.axes[1].lines[-1]
    assert list(value.get_xdata()) == [0.71875]
    assert list(value.get_ydata()) == [2]
    assert value.get_marker() == METHOD_LOOKS["lookup"].marker
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["DPO", "lookup"]
    assert "114 of 114 test pairs are judged in train." in figure.get_supxlabel()


def test_accuracy_says_nothing_of_a_lookup_where_there_is_none(empty_results, figures):
    empty_results.trial("dpo-1", "dpo", figures["preferred"]())
    assert drawn(accuracy, empty_results).get_supxlabel() == ""


def test_before_after_leaves_out_experiments_without_its_figures(results):
    panels = drawn(before_after, results).axes
    assert [panel.get_xlabel() for panel in panels] == [
        "Held-out loss\n(nats per token)", "Exact match\n(share)", "BLEU\n(0 to 1)",
        "Stop rate\n(share)",
    ]  # fmt: skip
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert rows == ["tiny_llama", "sft_1", "sft_2", "dpo_1"]
    assert panels[0].lines[0].get_xdata()[0] == 2.5


def test_before_after_has_a_panel_for_each_figure_and_set(empty_results, figures):
    numbers = {key: figures["measured"](0.25, 8) for key in ("bleu", "exact_match", "stop_rate")}
    silent = {"stop_rate": figures["measured"](0.5, 2)}
    sets = {"short-word-problems": numbers, "examples": silent}
    empty_results.base("two", "Two sets", figures["generated"](2.0, 0.1, 0.5), sets=sets)
    empty_results.trial("sft-1", "sft", figures["generated"](1.0, 0.2, 0.75), "two", "Two sets",
                        sets=sets)  # fmt: skip
    panels = drawn(before_after, empty_results).axes
    assert [panel.get_xlabel() for panel in panels] == [
        "Held-out loss\n(nats per token)",
        "Exact match\nproblems\n(share)",
        "BLEU\nproblems\n(0 to 1)",
        "Exact match\nshort-word-\nproblems\n(share)",
        "BLEU\nshort-word-\nproblems\n(0 to 1)",
    ]
    values = [panel.lines[-1].get_xdata()[0] for panel in panels]
    assert values == [1.0, 0.75, 0.2, 0.25, 0.25]


def test_before_after_breaks_many_panels_into_rows(empty_results, figures):
    numbers = {key: figures["measured"](0.25, 8) for key in ("bleu", "exact_match")}
    sets = {f"set-{number}": numbers for number in range(4)}
    empty_results.base("many", "Many sets", {}, sets=sets)
    panels = drawn(before_after, empty_results).axes
    assert [panel.get_title(loc="left") for panel in panels].count("Many sets") == 2
    assert len(panels) == 8


def test_before_after_draws_how_often_a_model_stops_where_no_answer_is_known(
    empty_results, figures
):
    silent = {"stop_rate": figures["measured"](0.5, 2)}
    empty_results.base("silent", "Silent", {}, sets={"a": silent, "b": silent})
    panels = drawn(before_after, empty_results).axes
    labels = [panel.get_xlabel() for panel in panels]
    assert labels == [f"Stop rate\n{name}\n(share)" for name in "ab"]


@by_name
@pytest.mark.parametrize("whole", [True, False])
def test_a_mark_stands_on_top_of_every_figure(module, whole, results, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(figure_command, "save", lambda figure, *paths: kept.append(figure))
    if not whole:
        results.plan.clear()
    pdf, png = tmp_path / "figure.pdf", tmp_path / "figure.png"
    text = "Rehearsal: " + "tiny stand-in models " * 6
    module.main(results.arguments(pdf, png))
    module.main([*results.arguments(pdf, png), "--mark", text])
    plain, marked = kept
    places = [marked.get_suptitle(), *(it.get_title().get_text() for it in marked.legends)]
    (found,) = filter(None, places)
    assert found.split() == text.split()
    assert "\n" in found
    assert marked.get_figheight() > plain.get_figheight()
    marked.draw_without_rendering()
    written = marked._suptitle or marked.legends[0].get_title()
    box = written.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= marked.bbox.x1
    assert box.y1 <= marked.bbox.y1


@pytest.fixture
def very_many(empty_results, figures):
    """A sweep of 75 trials of each method, the later ones the better."""
    tests = []
    for number in range(75):
        name = f"sft_{number}"
        lora = LORA | {"r": 2 ** (number % 5)}
        loss = figures["generated"](2.5 - 0.01 * number, 0.1, 0.5)
        empty_results.trial(name, "sft", loss, setting={"lora": lora})
        accuracy = figures["preferred"](0.5 + 0.005 * number)
        empty_results.trial(f"dpo_{number}", "dpo", accuracy, items=PAIRS, setting={"lora": lora})
        tests.append(paired(name, "tiny_llama", "held_out_loss", method="sft"))
    empty_results.base("tutor", "Word problems & dialogues", figures["generated"](2.6, 0.1, 0.2))
    empty_results.compare("tutor", *tests)
    return empty_results


@pytest.mark.parametrize("module", [curves, forest, length, quality])
def test_of_very_many_trials_a_figure_shows_those_that_lead_and_says_so(
    module, very_many, tmp_path, monkeypatch
):
    kept = []
    monkeypatch.setattr(figure_command, "save", lambda figure, *paths: kept.append(figure))
    paths = [tmp_path / f"figure.{kind}" for kind in ("pdf", "png", "md")]
    module.main(very_many.arguments(*paths))
    said = "of 75 trials the 40 that lead in" in paths[2].read_text(encoding="utf-8")
    assert said == (module is not quality)
    (figure,) = kept
    # A PNG of more pixels than 65,536 on a side cannot be written.
    assert figure.get_figheight() * 200 < 2**16


def test_the_leading_trials_are_the_best_in_the_plans_order(very_many):
    subjects = subjects_of(very_many.root, parse_plan(json.dumps(very_many.plan)))
    kept, notes = leading(subjects)
    names = [it.name for it in kept if it.method == "dpo"]
    assert names == [f"dpo_{number}" for number in range(35, 75)]
    assert [it.name for it in kept if it.method == "sft"] == [f"sft_{it}" for it in range(35, 75)]
    assert any(it.method == "base" for it in kept)
    assert "lead in preference accuracy" in notes[1]
    runs = [run for it in subjects if it.method == "dpo" for run in it.each_seed()]
    assert [it.name for it in leading(runs)[0]] == names
    few = [it for it in subjects if it.name in names]
    assert leading(few) == (few, [])


def test_more_than_seventy_trials_share_a_look_and_one_line_of_the_legend(very_many):
    for axes in drawn(quality, very_many).axes:
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels == ["one of 75 trials", "Pareto front"]


def test_the_first_seventy_looks_differ():
    names = [str(number) for number in range(70)]
    assert len({(look.color, look.dashes) for look in looks(names).values()}) == 70
