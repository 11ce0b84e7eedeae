"""The figure of the lengths: correlation, regression, and accuracy by which side is longer."""

import json

import pytest

from scripts.common.wilson import wilson
from scripts.report import length
from scripts.report.length import Pairs, accuracy_of
from scripts.report.read import parse_plan, subjects_of
from scripts.report.style import use_style


def drawn(made):
    use_style()
    return length.draw(subjects_of(made.root, parse_plan(json.dumps(made.plan))))


def test_a_hand_worked_rank_correlation():
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: d² sums to 4, ρ = 1 - 6 · 4 / (5 · 24) = 0.8.
    rho, p = Pairs([1, 2, 3, 4, 50], [-1.0, -2.0, 2.0, 1.0, 9.0]).rank_correlation()
    assert rho == pytest.approx(0.8)
    # t = 0.8 · √(3 / 0.36) = 2.3094 on 3 degrees of freedom.
    assert p == pytest.approx(0.1041, abs=1e-4)


def test_the_line_is_least_squares():
    import numpy as np

    pairs = Pairs([0, 2, 5, -3, 8], [0.5, 1.0, -1.0, 2.0, 3.0])
    assert pairs.line() == pytest.approx(tuple(np.polyfit(pairs.differences, pairs.margins, 1)))


def test_what_does_not_vary_has_no_correlation():
    assert Pairs([2, 2, 2], [0.1, 0.2, 0.3]).rank_correlation() is None
    assert Pairs([2, 2, 2], [0.1, 0.2, 0.3]).line() is None
    assert Pairs([1, 2, 3], [0.0, 0.0, 0.0]).rank_correlation() is None
    assert Pairs([1, 2], [0.1, 0.2]).rank_correlation() is None


def test_accuracy_by_which_side_is_longer():
    pairs = Pairs([5, 1, 2, -1, -4, 0], [1.0, 0.0, 2.0, -1.0, 3.0, 9.0])
    assert accuracy_of(pairs.where(longer=True)) == (2.5 / 3, wilson(2.5, 3))
    assert accuracy_of(pairs.where(longer=False)) == (0.5, wilson(1, 2))
    assert accuracy_of([]) is None


def test_items_are_joined_by_their_ids(results):
    panel = drawn(results).axes[0]
    (points,) = panel.collections
    assert [tuple(point) for point in points.get_offsets()] == [
        (12.0, 2.0), (3.0, 0.5), (-4.0, -0.25), (0.0, 0.0), (5.0, 1.5), (7.0, -1.0),
    ]  # fmt: skip
    assert panel.get_title(loc="left").split("\n")[-4:] == [
        "dpo_1", "ρ 0.43 (p = 0.397), n = 6", "longer 0.75 [0.30, 0.95] of 4",
        "shorter 0.00 [0.00, 0.79] of 1",
    ]  # fmt: skip


def test_a_panel_says_which_figure_its_items_lack(results):
    _, _, _, without, unscored, _ = drawn(results).axes
    said = [
        " ".join(text.get_text() for text in axes.texts if "has no" in text.get_text()).split()
        for axes in (without, unscored)
    ]
    assert said == [
        ["items.parquet", "has", "no", "length_difference"],
        ["items.parquet", "has", "no", "margin"],
    ]
