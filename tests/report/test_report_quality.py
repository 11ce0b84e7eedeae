"""The figure of cost and quality: the Pareto front, and where trials stand."""

import json

import pytest

from scripts.report import quality
from scripts.report.headline import blocks_of
from scripts.report.read import parse_plan, subjects_of
from scripts.report.style import use_style


def subjects(made):
    return subjects_of(made.root, parse_plan(json.dumps(made.plan)))


def enter(made, figures, method, *points):
    for number, (seconds, value) in enumerate(points):
        found = (
            figures["preferred"](value) if method == "dpo" else figures["generated"](value, 0, 0)
        )
        made.trial(f"{method}-{number}", method, found, outcome={"seconds": seconds})


def front(made):
    (block,) = blocks_of(subjects(made))
    return quality.front_of(block)


def test_more_accuracy_is_better(empty_results, figures):
    enter(
        empty_results, figures, "dpo", (30, 0.75), (10, 0.5), (20, 0.625), (25, 0.5625), (40, 0.75)
    )
    assert front(empty_results) == [(10, 0.5), (20, 0.625), (30, 0.75)]


def test_less_loss_is_better(empty_results, figures):
    enter(empty_results, figures, "sft", (10, 2.0), (20, 2.5), (30, 1.5))
    assert front(empty_results) == [(10, 2.0), (30, 1.5)]


def test_of_equal_seconds_the_best_is_on_the_front(empty_results, figures):
    enter(empty_results, figures, "dpo", (10, 0.5), (10, 0.75), (20, 0.75))
    assert front(empty_results) == [(10, 0.75)]


def dominated(point, points):
    """Tells by the definition whether another point is nowhere worse and somewhere better."""
    return any(other[0] <= point[0] and other[1] >= point[1] and other != point for other in points)


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nothing_dominates(seed, empty_results, figures):
    from random import Random

    draw = Random(seed)
    points = [(draw.randrange(1, 12), draw.randrange(20) / 20) for _ in range(15)]
    enter(empty_results, figures, "dpo", *points)
    kept = sorted({point for point in points if not dominated(point, points)})
    assert front(empty_results) == kept


def test_a_trial_stands_at_its_seconds_and_its_figure(empty_results, figures):
    enter(empty_results, figures, "dpo", (10, 0.5), (100, 0.75))
    use_style()
    (panel,) = quality.draw(subjects(empty_results)).axes
    first, interval, second, _, line = panel.lines
    assert panel.get_xscale() == "log"
    assert (first.get_xdata()[0], first.get_ydata()[0]) == (10, 0.5)
    assert list(interval.get_ydata()) == [0.375, 0.625]
    assert (second.get_xdata()[0], second.get_ydata()[0]) == (100, 0.75)
    assert (list(line.get_xdata()), line.get_drawstyle()) == ([10, 100], "steps-post")
    legend = [text.get_text() for text in panel.get_legend().get_texts()]
    assert legend == ["dpo-0", "dpo-1", "Pareto front"]


def test_the_caption_says_on_what_seconds_were_taken(empty_results, figures):
    enter(empty_results, figures, "dpo", (10, 0.5))
    assert quality.notes(subjects(empty_results))[-1] == (
        "Seconds: the training loop with its evaluations, on cuda:0."
    )
