"""The figures: that every plan gives one, and what is drawn in it."""

import json
import math
from pathlib import Path
from types import ModuleType

import pytest

from scripts.common.cli import BadInput
from scripts.report import accuracy, before_after, curves
from scripts.report.read import parse_plan, subjects_of
from scripts.report.style import looks, use_style

FIGURES = [accuracy, before_after, curves]
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
    name = "history.jsonl" if module is curves else "metrics.json"
    (results.root / "trials/titles-1/seed-0" / name).unlink()
    pdf, png = tmp_path / "figure.pdf", tmp_path / "figure.png"
    with pytest.raises(BadInput, match=rf"titles-1/seed-0/{name}: no such file"):
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
    ipo = {"trainer": {"loss_type": "ipo"}}
    results.trial("ipo", "dpo", {}, experiment="third", title="Third", setting=ipo)
    supervised, sigmoid, _, other = drawn(curves, results).axes
    assert levels(sigmoid) == [math.log(2)]
    assert levels(supervised) == levels(other) == []


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
    assert [label.get_text() for label in panel.get_yticklabels()] == ["titles-1", "titles-2"]
    assert [text.get_text() for text in panel.texts].count("–") == 4


def test_before_after_leaves_out_experiments_without_its_figures(results):
    panels = drawn(before_after, results).axes
    assert [panel.get_xlabel() for panel in panels] == [
        "Held-out loss\n(nats per token)", "Exact match", "BLEU", "Stop rate",
    ]  # fmt: skip
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert rows == ["tiny_llama", "sft_1", "sft_2", "dpo_1"]
    assert panels[0].lines[0].get_xdata()[0] == 2.5


def test_the_first_seventy_looks_differ():
    names = [str(number) for number in range(70)]
    assert len({(look.color, look.dashes) for look in looks(names).values()}) == 70
