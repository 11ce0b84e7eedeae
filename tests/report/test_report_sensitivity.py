"""The figure of the hyperparameters: which panels there are, and what stands where."""

import json

import pytest

from scripts.report import sensitivity
from scripts.report.headline import blocks_of
from scripts.report.hyperparameters import differing
from scripts.report.read import parse_plan, subjects_of
from scripts.report.style import use_style
from tests.report.conftest import LORA, OBJECTIVE, TRAINER


def subjects(made):
    return subjects_of(made.root, parse_plan(json.dumps(made.plan)))


def drawn(made):
    use_style()
    return sensitivity.draw(subjects(made))


def panels(figure):
    return [axes for axes in figure.axes if axes.get_visible() and axes.get_xlabel()]


def trial(made, figures, name, accuracy=0.75, lora=None, **trainer):
    setting = {"lora": LORA | (lora or {}), "trainer": TRAINER | OBJECTIVE | trainer}
    made.trial(name, "dpo", figures["preferred"](accuracy), setting=setting)


def labels(made):
    found = [it for it in subjects(made) if it.method == "dpo"]
    return [parameter.label for parameter in differing(found)]


def test_only_what_differs_has_a_panel(empty_results, figures):
    trial(empty_results, figures, "a")
    trial(empty_results, figures, "b", learning_rate=1e-3, logging_steps=7, eval_steps=9)
    assert [panel.get_xlabel() for panel in panels(drawn(empty_results))] == ["Learning rate"]


def test_settings_that_mean_one_thing_are_one_hyperparameter(empty_results, figures):
    trial(empty_results, figures, "a")
    # The same batch of eight pairs, and epochs in place of steps: nothing to compare them by.
    trial(empty_results, figures, "b", per_device_train_batch_size=4,
          gradient_accumulation_steps=2, max_steps=-1)  # fmt: skip
    assert labels(empty_results) == []
    trial(empty_results, figures, "c", max_steps=-1, num_train_epochs=3)
    assert labels(empty_results) == ["Epochs"]
    trial(empty_results, figures, "d", loss_type=["ipo"], weight_decay=0.1)
    trial(empty_results, figures, "e", weight_decay=0.0, lora={"target_modules": "all-linear"})
    assert labels(empty_results) == ["Objective", "LoRA modules", "Epochs", "Weight decay"]


def test_a_trial_stands_at_its_value_with_its_interval(empty_results, figures):
    for name, rate, accuracy in (("a", 1e-5, 0.625), ("b", 1e-3, 0.75)):
        trial(empty_results, figures, name, accuracy, learning_rate=rate)
    (panel,) = panels(drawn(empty_results))
    assert panel.get_xscale() == "log"
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1e-5", "1e-3"]
    first, interval, second, _ = panel.lines
    assert (first.get_xdata()[0], first.get_ydata()[0]) == (1e-5, 0.625)
    assert list(interval.get_ydata()) == [0.5, 0.75]  # by group, not Wilson's
    assert (second.get_xdata()[0], second.get_ydata()[0]) == (1e-3, 0.75)
    low, high = panel.get_xlim()
    assert low < 1e-5 < 1e-3 < high
    assert panel.get_ylabel() == "Preference accuracy\n(share)"


def test_trials_at_one_value_are_side_by_side(empty_results, figures):
    for name, rank in (("a", 8), ("b", 8), ("c", 16)):
        trial(empty_results, figures, name, lora={"r": rank})
    figure = drawn(empty_results)
    (panel,) = panels(figure)
    places = [
        line.get_transform().transform((line.get_xdata()[0], 0.75))[0] for line in panel.lines[::2]
    ]
    assert places[1] - places[0] == pytest.approx(sensitivity.STEP / 72 * figure.dpi)
    assert places[2] == panel.transData.transform((16, 0.75))[0]


def test_words_have_an_axis_of_words(empty_results, figures):
    for name, modules in (("a", ["q_proj", "v_proj"]), ("b", "all-linear")):
        trial(empty_results, figures, name, lora={"target_modules": modules})
    (panel,) = panels(drawn(empty_results))
    assert [label.get_text() for label in panel.get_xticklabels()] == ["q v", "all-linear"]


def test_a_trial_without_the_figure_is_named_and_not_drawn(empty_results, figures):
    trial(empty_results, figures, "a", learning_rate=1e-3)
    trial(empty_results, figures, "b")
    made = {"lora": LORA, "trainer": TRAINER | OBJECTIVE | {"learning_rate": 1e-6}}
    empty_results.trial("lost", "dpo", {}, setting=made)
    (panel,) = panels(drawn(empty_results))
    assert len(panel.lines) == 4
    assert "Not drawn, for want of the figure: lost." in sensitivity.notes(subjects(empty_results))


def test_the_headline_is_the_first_figure_that_a_trial_has(empty_results, figures):
    empty_results.trial("s", "sft", figures["generated"](1.5, 0.1, 0.5))
    empty_results.trial("d", "dpo", {"exact_match": figures["measured"](0.25)})
    found = [(block.key, block.set) for block in blocks_of(subjects(empty_results))]
    assert found == [("held_out_loss", None), ("exact_match", "problems")]
