"""What the figures draw: each frame's values against an independent computation."""

import math
from random import Random
from typing import get_args

import numpy as np
import pytest
from scipy.stats import norm

from scripts.common.wilson import wilson
from scripts.config.trials import LossType
from scripts.report.figures import (
    accuracy,
    before_after,
    curves,
    forest,
    length,
    power,
    quality,
    reliability,
    sensitivity,
)
from scripts.report.headline import headlines
from scripts.report.results import Results
from tests.config.trl_loss import trl_loss
from tests.report.conftest import LORA, OBJECTIVE, TRAINER, leader, paired


def frame(module, made):
    return module.frame(Results(made.root, made.plan))


def rows(found, *columns):
    """Return the rows as tuples, a missing value as None."""
    found = found[list(columns)].astype(object)
    return list(found.where(found.notna(), None).itertuples(index=False, name=None))


# ------------------------------------------------------------------------------------------ curves


def test_curves_are_the_logged_losses(results):
    found = frame(curves, results)
    assert set(found["method"]) == {"sft", "dpo"}
    first = found[found["model"] == "sft_1"]
    assert rows(first, "split", "step", "loss") == [
        ("training", 10, 0.69), ("training", 20, 0.60), ("validation", 20, 0.65),
    ]  # fmt: skip
    at_ln_2 = {row.model for row in found.itertuples() if row.at_ln_2}
    assert at_ln_2 == {"dpo_1", "titles-1", "titles-2"}


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
    starts_there = trl_loss(trainer, moved=0.0) == pytest.approx(math.log(2), abs=1e-6)
    assert frame(curves, empty_results)["at_ln_2"].all() == starts_there


# -------------------------------------------------------------------------- accuracy, before_after


def test_accuracy_has_preference_trials_and_the_lookup(results):
    found = frame(accuracy, results)
    assert rows(found, "model", "value", "wilson_low", "group_bootstrap_high", "groups") == [
        ("dpo_1", 0.8125, 0.75, 0.9375, 38),
        ("titles-1", 0.75, 0.6875, 0.875, 38),
        ("titles-2", None, None, None, None),
        ("lookup", 0.71875, 0.625, 0.875, 38),
    ]
    assert rows(found, "known")[-1] == (114,)


def panels(made):
    found = frame(before_after, made)
    return list(dict.fromkeys(rows(found, "experiment", "metric", "set")))


def test_before_after_has_a_panel_for_each_metric_and_set(results, figures):
    known = {key: figures["measured"](0.25, 8) for key in ("bleu", "exact_match", "stop_rate")}
    titles = {key: figures["measured"](0.5, 8) for key in ("title_only", "title_length")}
    silent = {"stop_rate": figures["measured"](0.5, 2)}
    results.base("more", "More", {}, sets={"word": known, "titles": titles, "any": silent})
    results.base("silent", "Silent", {}, sets={"a": silent, "b": silent})
    tutor = [("held_out_loss", None), ("exact_match", "problems"), ("bleu", "problems")]
    more = [("exact_match", "word"), ("bleu", "word")]
    more += [("title_only", "titles"), ("title_length", "titles")]
    assert panels(results) == [
        *(("tutor", *place) for place in tutor),
        *(("more", *place) for place in more),
        ("silent", "stop_rate", "a"),
        ("silent", "stop_rate", "b"),
    ]
    first = frame(before_after, results).head(4)
    assert rows(first, "model", "value") == [
        ("tiny_llama", 2.5), ("sft_1", 1.25), ("sft_2", 1.5), ("dpo_1", 1.375),
    ]  # fmt: skip


# ----------------------------------------------------------------------------------- forest, power


def test_forest_has_the_tests_against_base_and_start(results):
    loss = {"difference": -0.5, "interval": [-0.75, -0.25]}
    results.compare(
        "tutor",
        paired("sft_1", "tiny_llama", "held_out_loss", **loss),
        paired("dpo_1", "tiny_llama", "held_out_loss", difference=-0.4, holm=0.2),
        paired("dpo_1", "sft_1", "held_out_loss", kind="start", difference=0.1, interval=None),
        paired("sft_1", "sft_2", "held_out_loss", kind="trials"),
        paired("dpo_1", "tiny_llama", "generated_tokens"),
        paired("sft_1", "tiny_llama", "title_only", set="titles"),
    )
    found = frame(forest, results)
    tutor = found[found["experiment"] == "tutor"]
    columns = ("metric", "a", "kind", "row", "both", "difference", "interval_low", "shown")
    assert rows(tutor, *columns) == [
        ("held_out_loss", "sft_1", "base", 0, False, -0.5, -0.75, True),
        ("held_out_loss", "dpo_1", "base", 1, True, -0.4, 0.125, False),
        ("held_out_loss", "dpo_1", "start", 1, True, 0.1, None, True),
        ("title_only", "sft_1", "base", 0, False, 0.25, 0.125, True),
    ]
    assert rows(found, "experiment", "metric")[0] == ("titles", "policy_accuracy")


def test_the_groups_needed_by_hand() -> None:
    """(1.95996 + 0.84162)² / 0.25² = 125.58 groups; the other tail adds nothing."""
    assert power.groups_needed(0.25) == 126
    assert power.groups_needed(0.5) == 32
    assert power.groups_needed(1e-6) is None
    assert power.groups_needed(3.0) == power.groups_needed(400.0) == 2


@pytest.mark.parametrize("effect", [0.01, 0.1, 0.3, 1.0])
def test_the_groups_needed_are_the_fewest_with_that_power(effect: float) -> None:
    needed = power.groups_needed(effect)
    assert power.power_of(effect, needed) >= 0.8 > power.power_of(effect, needed - 1)
    z = norm.ppf(0.975) + norm.ppf(0.8)
    assert needed == pytest.approx((z / effect) ** 2, rel=1e-3, abs=1)


@pytest.mark.parametrize(("effect", "groups"), [(0.3, 40), (0.25, 126), (0.15, 200)])
def test_the_power_is_that_of_the_test_that_is_made(effect: float, groups: int) -> None:
    """300 studies of sign flips, 1,000 each, of groups' differences that are not normal."""
    draw = np.random.default_rng(7)
    shown = 0
    for _ in range(300):
        differences = draw.exponential(size=groups) - 1 + effect
        flips = 1 - 2.0 * draw.integers(2, size=(1000, groups))
        reached = abs(flips @ differences) >= abs(differences.sum())
        shown += (reached.sum() + 1) / 1001 < 0.05
    assert shown / 300 == pytest.approx(power.power_of(effect, groups), abs=0.09)


@pytest.mark.parametrize(
    ("test", "effect", "needed"),
    [
        ({"difference": 0.125}, 0.25, 126),
        ({"difference": 0.0}, None, None),
        ({"difference": 1e-9}, 2e-9, None),
        ({"group_deviation": 0.0}, None, None),
        ({"group_deviation": None}, None, None),
    ],
)
def test_power_is_of_the_two_leading_trials(results, test, effect, needed):
    results.compare("tutor")
    pair = ("titles-1", "titles-2")
    results.compare(
        "titles",
        paired(*pair, "preference_accuracy", kind="trials", **test),
        paired(*pair, "stop_rate", kind="trials", **test),
        leading=tuple(leader(*pair[::-1], name, False)
                      for name in ("preference_accuracy", "stop_rate")),
    )  # fmt: skip
    found = frame(power, results)
    assert rows(found, "metric", "a", "groups") == [("preference_accuracy", "titles-1", 38)]
    assert rows(found, "effect", "needed") == [(pytest.approx(effect), needed)]


# ---------------------------------------------------------------------------- sensitivity, quality


def trial(made, figures, name, value=0.75, lora=None, **trainer):
    setting = {"lora": LORA | (lora or {}), "trainer": TRAINER | OBJECTIVE | trainer}
    made.trial(name, "dpo", figures["preferred"](value), setting=setting)


def labels(made):
    return list(dict.fromkeys(frame(sensitivity, made)["hyperparameter"]))


def test_settings_that_mean_one_thing_are_one_hyperparameter(empty_results, figures):
    made = empty_results
    trial(made, figures, "a", logging_steps=7)
    # The same batch of eight pairs, but epochs instead of steps: there is nothing to compare.
    trial(made, figures, "b", per_device_train_batch_size=4, gradient_accumulation_steps=2,
          max_steps=-1, eval_steps=9)  # fmt: skip
    assert labels(made) == []
    trial(made, figures, "c", max_steps=-1, num_train_epochs=3)
    assert labels(made) == ["Epochs"]
    trial(made, figures, "d", loss_type=["ipo"], weight_decay=0.1)
    trial(made, figures, "e", weight_decay=0.0, lora={"target_modules": "all-linear"})
    assert labels(made) == ["Objective", "LoRA modules", "Epochs", "Weight decay"]


def test_a_trial_is_at_its_value_with_the_interval_by_group(empty_results, figures):
    for name, rate, value in (("a", 1e-5, 0.625), ("b", 1e-3, 0.75)):
        trial(empty_results, figures, name, value, learning_rate=rate)
    empty_results.trial("lost", "dpo", {}, setting={"trainer": TRAINER | OBJECTIVE})
    found = frame(sensitivity, empty_results)
    assert rows(found, "model", "at", "text", "value", "low", "high") == [
        ("a", 1e-5, "1e-5", 0.625, 0.5, 0.75), ("b", 1e-3, "1e-3", 0.75, 0.625, 0.875),
    ]  # fmt: skip
    notes = sensitivity.notes(Results(empty_results.root, empty_results.plan))
    assert "Not drawn, as the metric is missing: lost." in notes


def test_the_headline_is_the_first_metric_that_a_trial_has(empty_results, figures):
    empty_results.trial("s", "sft", figures["generated"](1.5, 0.1, 0.5))
    empty_results.trial("d", "dpo", {"exact_match": figures["measured"](0.25)})
    found = headlines(Results(empty_results.root, empty_results.plan))
    assert rows(found, "metric", "set") == [("held_out_loss", None), ("exact_match", "problems")]


def front(made, figures, method, points):
    for number, (seconds, value) in enumerate(points):
        maker = (
            figures["preferred"] if method == "dpo" else lambda it: figures["generated"](it, 0, 0)
        )
        made.trial(f"{method}-{number}", method, maker(value), outcome={"seconds": seconds})
    found = frame(quality, made)
    return sorted(set(rows(found[found["on_front"]], "seconds", "value")))


def test_less_loss_is_better(empty_results, figures):
    points = [(10, 2.0), (20, 2.5), (30, 1.5)]
    assert front(empty_results, figures, "sft", points) == [(10, 2.0), (30, 1.5)]


@pytest.mark.parametrize("seed", range(3))
def test_the_front_is_what_no_trial_dominates(seed, empty_results, figures):
    draw = Random(seed)
    points = [(draw.randrange(1, 12), draw.randrange(20) / 20) for _ in range(15)]

    def dominated(point):
        others = (it for it in points if it != point)
        return any(it[0] <= point[0] and it[1] >= point[1] for it in others)

    wanted = sorted({point for point in points if not dominated(point)})
    assert front(empty_results, figures, "dpo", points) == wanted


# ---------------------------------------------------------------------------- reliability, length


def scored(made, margins, name="dpo-1", **more):
    items = {"margin": list(map(float, margins))} | more
    made.trial(name, "dpo", {}, items=items)
    found = frame(reliability, made)
    return found[found["model"] == name].sort_values("bin")


def margin(share: float) -> float:
    """Return the margin whose sigmoid is the share."""
    return math.log(share / (1 - share))


def test_calibration_by_hand(empty_results):
    # Two pairs at 0.62, one of them right; two at 0.97, both right; and a tie at 0.5.
    margins = [margin(0.62), -margin(0.62), margin(0.97), margin(0.97), 0.0]
    bins = scored(empty_results, margins)
    assert rows(bins, "bin", "n", "right") == [(0, 1, 0.5), (2, 2, 0.5), (9, 2, 1.0)]
    assert list(bins["confidence"]) == pytest.approx([0.5, 0.62, 0.97])
    assert rows(bins, "low", "high")[1:] == [wilson(1, 2), wilson(2, 2)]
    assert reliability.calibration_error(bins) == pytest.approx((1 * 0 + 2 * 0.12 + 2 * 0.03) / 5)
    ends = scored(empty_results, [0.0, 1000.0, -1000.0], "ends")
    assert rows(ends, "bin", "n", "right") == [(0, 1, 0.5), (9, 2, 0.5)]


def test_bins_and_error_are_those_of_numpys_histogram(empty_results):
    margins = np.random.default_rng(3).normal(0.4, 1.5, 500)
    bins = scored(empty_results, margins)
    sure = 1 / (1 + np.exp(-np.abs(margins)))
    edges = np.linspace(0.5, 1, 11)
    counts, _ = np.histogram(sure, edges)
    assert dict(rows(bins, "bin", "n")) == {at: n for at, n in enumerate(counts) if n}
    place = np.clip(np.digitize(sure, edges) - 1, 0, 9)
    off = [
        (place == k).mean() * abs((margins > 0)[place == k].mean() - sure[place == k].mean())
        for k in range(10)
        if (place == k).any()
    ]
    assert reliability.calibration_error(bins) == pytest.approx(sum(off))


def test_a_run_without_scores_of_pairs_keeps_its_panel(empty_results):
    scored(empty_results, [1.0])
    empty_results.trial("dpo-2", "dpo", {})
    found = frame(reliability, empty_results)
    assert rows(found, "name", "bin", "n") == [("dpo-1", 4, 1), ("dpo-2", None, 0)]


def pairs(differences, margins):
    from pandas import DataFrame

    return DataFrame({"length_difference": differences, "margin": margins})


def test_a_hand_worked_rank_correlation():
    # Ranks 1 2 3 4 5 against 2 1 4 3 5: d² sums to 4, ρ = 1 - 6 · 4 / (5 · 24) = 0.8.
    rho, p = length.rank_correlation(pairs([1, 2, 3, 4, 50], [-1.0, -2.0, 2.0, 1.0, 9.0]))
    assert rho == pytest.approx(0.8)
    # t = 0.8 · √(3 / 0.36) = 2.3094 on 3 degrees of freedom.
    assert p == pytest.approx(0.1041, abs=1e-4)
    assert length.rank_correlation(pairs([2, 2, 2], [0.1, 0.2, 0.3])) is None
    assert length.rank_correlation(pairs([1, 2, 3], [0.0, 0.0, 0.0])) is None
    assert length.rank_correlation(pairs([1, 2], [0.1, 0.2])) is None


def test_accuracy_by_which_side_is_longer():
    from pandas import Series

    assert length.accuracy(Series([1.0, 0.0, 2.0])) == (2.5 / 3, wilson(2.5, 3))
    assert length.accuracy(Series([-1.0, 3.0])) == (0.5, wilson(1, 2))
    assert length.accuracy(Series([], dtype=float)) is None


def test_scores_of_pairs_are_joined_by_their_ids(results):
    found = frame(length, results)
    assert rows(found[found["model"] == "dpo_1"], "length_difference", "margin") == [
        (12.0, 2.0), (3.0, 0.5), (-4.0, -0.25), (0.0, 0.0), (5.0, 1.5), (7.0, -1.0),
    ]  # fmt: skip
    titles = found[found["experiment"] == "titles"]
    assert titles["length_difference"].isna().all()
    assert list(titles["name"].unique()) == ["titles-1", "titles-2"]
