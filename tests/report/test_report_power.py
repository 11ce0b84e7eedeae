"""The figures of the differences and of the power: what is drawn, and that the power is right."""

import numpy as np
import pytest
from scipy.stats import norm

from scripts.report import forest, power
from scripts.report.forest import COLORS
from scripts.report.power import groups_needed, power_of
from tests.report.conftest import leader, paired
from tests.report.test_report_figures import drawn

# ------------------------------------------------------------------------------------------ power


def test_the_groups_needed_by_hand() -> None:
    """(1.95996 + 0.84162)² / 0.25² = 125.58 groups; the other tail adds nothing."""
    assert groups_needed(0.25) == 126
    assert groups_needed(0.5) == 32
    assert groups_needed(1e-6) is None
    assert groups_needed(3.0) == groups_needed(400.0) == 2


@pytest.mark.parametrize("effect", [0.01, 0.1, 0.3, 1.0])
def test_the_groups_needed_are_the_fewest_with_that_power(effect: float) -> None:
    needed = groups_needed(effect)
    assert power_of(effect, needed) >= 0.8 > power_of(effect, needed - 1)
    z = norm.ppf(0.975) + norm.ppf(0.8)
    assert needed == pytest.approx((z / effect) ** 2, rel=1e-3, abs=1)


@pytest.mark.parametrize(("effect", "groups"), [(0.3, 40), (0.25, 126), (0.15, 200)])
def test_the_power_is_that_of_the_test_that_is_made(effect: float, groups: int) -> None:
    """300 studies of sign flips, 1,000 each, of groups' differences that are no bell."""
    draw = np.random.default_rng(7)
    shown = 0
    for _ in range(300):
        differences = draw.exponential(size=groups) - 1 + effect
        flips = 1 - 2.0 * draw.integers(2, size=(1000, groups))
        reached = abs(flips @ differences) >= abs(differences.sum())
        shown += (reached.sum() + 1) / 1001 < 0.05
    assert shown / 300 == pytest.approx(power_of(effect, groups), abs=0.09)


def rivals(results, **test):
    """Draws two trials that lead, as a test compares them."""
    results.compare("tutor")
    results.compare(
        "titles",
        paired("titles-1", "titles-2", "preference_accuracy", kind="trials", **test),
        leading=(leader("titles-2", "titles-1", "preference_accuracy", False),),
    )
    return drawn(power, results)


def test_power_marks_the_groups_that_there_are_and_that_are_needed(results) -> None:
    """An effect of 0.125 / 0.5 = 0.25 standard deviations."""
    (panel,) = [it for it in rivals(results, difference=0.125).axes if it.get_visible()]
    level, curve, present, here, needed = panel.lines
    assert set(level.get_ydata()) == {0.8}
    assert list(present.get_xdata()) == [38, 38]
    assert (here.get_xdata()[0], needed.get_xdata()[0]) == (38, 126)
    assert here.get_ydata()[0] == pytest.approx(power_of(0.25, 38))
    assert np.all(np.diff(curve.get_ydata()) > 0)
    (text,) = panel.texts
    assert text.get_text() == "titles-1 − titles-2: +0.125\n38 groups, 80 % needs 126"


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ({"difference": 0.0}, "no difference to be found"),
        ({"difference": 1e-9}, "no difference to be found"),
        ({"group_deviation": 0.0}, "not to be estimated"),
        ({"group_deviation": None}, "not to be estimated"),
    ],
)
def test_power_says_where_no_number_of_groups_will_do(results, test, words) -> None:
    (panel,) = [it for it in rivals(results, **test).axes if it.get_visible()]
    assert words in panel.texts[0].get_text()
    assert len(panel.lines) == 1


def test_power_is_of_trials_that_lead_in_what_is_looked_at_first(results) -> None:
    results.compare(
        "titles",
        paired("titles-1", "titles-2", "stop_rate", kind="trials"),
        leading=(leader("titles-2", "titles-1", "stop_rate", False),),
    )
    results.compare("tutor")
    assert drawn(power, results).texts[0].get_text() == "No two trials of a method are compared."


# ----------------------------------------------------------------------------------------- forest


def test_forest_draws_differences_and_fills_what_is_shown(results) -> None:
    results.compare(
        "tutor",
        paired("sft_1", "tiny_llama", "held_out_loss", difference=-0.5, interval=[-0.75, -0.25]),
        paired("dpo_1", "tiny_llama", "held_out_loss", difference=-0.4, holm=0.2),
        paired("dpo_1", "sft_1", "held_out_loss", kind="start", difference=0.1, interval=None),
        paired("sft_1", "sft_2", "held_out_loss", kind="trials"),
    )
    figure = drawn(forest, results)
    first, second = figure.axes
    assert [text.get_text() for text in first.get_yticklabels()] == ["sft_1", "dpo_1"]
    zero, interval, own, _, unshown, start = first.lines
    assert set(zero.get_xdata()) == {0}
    assert (list(interval.get_xdata()), list(interval.get_ydata())) == ([-0.75, -0.25], [0, 0])
    assert (own.get_xdata()[0], own.get_markerfacecolor()) == (-0.5, COLORS["base"])
    assert unshown.get_markerfacecolor() == "white"
    assert unshown.get_ydata()[0] < 1 < start.get_ydata()[0]
    assert start.get_marker() != own.get_marker()
    assert second.get_xlabel() == "Δ Policy accuracy"
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[:2] == ["against the base", "against the start"]


def test_forest_has_a_panel_for_each_figure_and_set(results) -> None:
    tests = [
        paired("sft_1", "tiny_llama", "exact_match", set=name) for name in ("a", "b", "c", "d", "e")
    ]
    results.compare("tutor", *tests, paired("dpo_1", "tiny_llama", "generated_tokens"))
    labels = [it.get_xlabel() for it in drawn(forest, results).axes if it.get_visible()]
    assert labels == [*(f"Δ Exact match\n({name})" for name in "abcde"), "Δ Policy accuracy"]
