"""The figure of the calibration: bins and the expected calibration error."""

import json
from math import log

import pytest

from scripts.common.wilson import wilson
from scripts.report import reliability
from scripts.report.read import parse_plan, subjects_of
from scripts.report.reliability import bins_of, calibration_error, confidence
from scripts.report.style import use_style


def margin(share: float) -> float:
    """Returns the margin of which sigmoid is the share."""
    return log(share / (1 - share))


def test_confidence_is_the_sigmoid_of_the_larger_side():
    assert confidence(0.0) == 0.5
    assert confidence(margin(0.75)) == confidence(margin(0.25)) == pytest.approx(0.75)
    assert confidence(800.0) == confidence(-800.0) == 1.0


def test_a_hand_worked_case():
    # Two pairs at 0.62 of which one is right, two at 0.97 both right, and a tie at 0.5.
    bins = bins_of([margin(0.62), -margin(0.62), margin(0.97), margin(0.97), 0.0])
    assert [None if it is None else it.n for it in bins] == [1, None, 2, *[None] * 6, 2]
    assert bins[0].accuracy == 0.5
    assert bins[2].accuracy == 0.5
    assert bins[2].confidence == pytest.approx(0.62)
    assert calibration_error(bins) == pytest.approx((1 * 0 + 2 * 0.12 + 2 * 0.03) / 5)


def test_both_ends_lie_in_a_bin():
    bins = bins_of([0.0, 1000.0, -1000.0])
    assert [bins[0].n, bins[-1].n] == [1, 2]
    assert bins[-1].accuracy == 0.5


def test_bins_and_error_are_those_of_numpys_histogram():
    import numpy as np

    margins = np.random.default_rng(3).normal(0.4, 1.5, 500)
    sure = 1 / (1 + np.exp(-np.abs(margins)))
    edges = np.linspace(0.5, 1, 11)
    counts, _ = np.histogram(sure, edges)
    assert [0 if it is None else it.n for it in bins_of(list(margins))] == list(counts)
    place = np.clip(np.digitize(sure, edges) - 1, 0, 9)
    off = [
        (place == k).mean() * abs((margins > 0)[place == k].mean() - sure[place == k].mean())
        for k in range(10)
        if (place == k).any()
    ]
    assert calibration_error(bins_of(list(margins))) == pytest.approx(sum(off))


def drawn(made):
    use_style()
    return reliability.draw(subjects_of(made.root, parse_plan(json.dumps(made.plan))))


def test_a_panel_has_a_bins_share_its_interval_its_count_and_the_error(empty_results):
    items = {"margin": [margin(0.62), -margin(0.62), margin(0.97), margin(0.97)]}
    empty_results.trial("dpo-1", "dpo", {}, items=items)
    panel = drawn(empty_results).axes[0]
    diagonal, points, low, high = panel.lines
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [0.5, 1]
    assert list(points.get_xdata()) == pytest.approx([0.62, 0.97])
    assert list(points.get_ydata()) == [0.5, 1.0]
    assert tuple(low.get_ydata()) == wilson(1, 2)
    assert tuple(high.get_ydata()) == wilson(2, 2)
    written = [text.get_text() for text in panel.texts]
    assert sorted(written) == ["2", "2", "Word problems & dialogues"]
    assert panel.get_title(loc="left").split("\n")[-2:] == ["dpo-1", "ECE 0.075, n = 4"]


def test_a_trial_that_is_not_scored_on_pairs_says_so(empty_results):
    empty_results.trial("dpo-1", "dpo", {}, items={"margin": [1.0]})
    empty_results.trial("dpo-2", "dpo", {})
    panel = drawn(empty_results).axes[1]
    assert [text.get_text() for text in panel.texts] == ["not scored on pairs"]
    assert not panel.lines
