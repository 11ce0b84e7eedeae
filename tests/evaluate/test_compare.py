"""Which models are compared with which, in which metrics, and what is said of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from scripts.common.cli import BadInput
from scripts.common.files import read_json, write_rows
from scripts.common.metrics import METRICS
from scripts.common.rows import ITEMS
from scripts.evaluate.compare import compare, main, read_models

GROUPS = 8
Scores = dict[str, list[float]]


class Experiment:
    """An experiment's folder of results, and its plan."""

    def __init__(self, root: Path) -> None:
        self.root = root
        keys = ("higher_is_better", "comparable")
        rules = {name: {key: getattr(one, key) for key in keys} for name, one in METRICS.items()}
        self.plan = {
            "experiment": "tutor",
            "base": "demo",
            "trials": {},
            "phases": {},
            "metrics": rules,
        }

    def items(self, folder: str, metrics: Scores, groups: int = GROUPS, weight: float = 1.0):
        """Write the items of a run; a metric `a/b` is `b` of the set `a`."""
        rows = [
            {
                "set": name.split("/")[0] if "/" in name else None,
                "metric": name.rsplit("/", 1)[-1],
                "id": f"item {place:04}",
                "group": f"group {place % groups}",
                "score": score,
                "weight": weight,
            }
            for name, scores in metrics.items()
            for place, score in enumerate(scores)
        ]
        write_rows(self.root / folder / "items.parquet", rows, ITEMS)

    def base(self, **metrics: list[float]) -> None:
        self.items("bases/tutor", metrics)

    def trial(
        self, method: str, name: str, metrics: Scores, seed: int = 0, start: str | None = None,
        groups: int = GROUPS, **trainer,
    ) -> None:  # fmt: skip
        folder = f"trials/{name}/seed-{seed}"
        self.items(folder, metrics, groups)
        objective = {"beta": 0.1, "loss_type": ["sigmoid"]} if method == "dpo" else {}
        made = {"trainer": objective | trainer}
        made["start"] = f"trials/{start}/seed-{seed}" if start else None
        (self.root / folder / "trial.json").write_text(json.dumps(made))
        self.plan["trials"].setdefault(method, []).append(f"{name}/seed-{seed}")
        self.plan["phases"][method] = "sft" if method == "sft" else "preference"

    def compared(self) -> dict:
        out = self.root / "comparisons/tutor.json"
        words = ["--root", str(self.root), "--plan", json.dumps(self.plan), "--out", str(out)]
        assert main(words) == 0
        return read_json(out)


@pytest.fixture
def made(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def shares(right: int, n: int = 24) -> list[float]:
    return [1.0] * right + [0.0] * (n - right)


def asked(found: dict, metric: str) -> list[tuple[str, str, str]]:
    return [(it["kind"], it["a"], it["b"]) for it in found["tests"] if it["metric"] == metric]


def test_each_trial_meets_the_base_its_start_and_the_others(made: Experiment) -> None:
    made.base(held_out_loss=shares(20))
    made.trial("sft", "sft-1", {"held_out_loss": shares(10)})
    made.trial("sft", "sft-2", {"held_out_loss": shares(12)})
    made.trial("dpo", "dpo-1", {"held_out_loss": shares(9)}, start="sft-1")
    found = made.compared()
    assert asked(found, "held_out_loss") == [
        ("base", "sft-1", "demo"), ("base", "sft-2", "demo"), ("base", "dpo-1", "demo"),
        ("start", "dpo-1", "sft-1"), ("trials", "sft-1", "sft-2"),
    ]  # fmt: skip
    assert found["pairs"] == {"sft": "all", "dpo": None}


def test_a_test_by_hand(made: Experiment) -> None:
    """Two groups of two items; differences 2 and 1, of four ways of swapping two reach 3 or -3."""
    made.base()
    made.trial("sft", "a", {"held_out_loss": [2.0, 1.0, 1.0, 1.0]}, groups=2)
    made.trial("sft", "b", {"held_out_loss": [1.0, 0.0, 0.0, 1.0]}, groups=2)
    (test,) = made.compared()["tests"]
    assert (test["value_a"], test["value_b"], test["difference"]) == (1.25, 0.5, 0.75)
    assert (test["p"], test["holm"], test["test"]) == (0.5, 0.5, "sign flips, all")
    assert (test["n"], test["groups"], test["seeds"]) == (4, 2, [1, 1])
    assert test["interval"] == pytest.approx([0.5, 1.0])
    assert test["group_deviation"] == pytest.approx(0.5 / 2**0.5)


def test_items_that_are_alone_are_tested_as_statsmodels_does(made: Experiment) -> None:
    made.base(**{"policy_accuracy": shares(5)})
    made.items("bases/tutor", {"policy_accuracy": shares(5)}, groups=24)
    made.trial("dpo", "dpo-1", {"policy_accuracy": shares(14)}, groups=24)
    (test,) = made.compared()["tests"]
    assert test["test"] == "McNemar, exact"
    assert test["p"] == pytest.approx(mcnemar([[5, 9], [0, 10]], exact=True).pvalue)
    assert test["difference"] == pytest.approx(9 / 24)


def test_the_base_has_no_implicit_reward(made: Experiment) -> None:
    raw = {"policy_accuracy": shares(10), "chosen_logp": shares(3), "reference_accuracy": shares(4)}
    made.base(policy_accuracy=shares(4), chosen_logp=shares(2))
    made.trial("dpo", "dpo-1", raw | {"preference_accuracy": shares(9)})
    found = made.compared()
    assert {test["metric"] for test in found["tests"]} == {"policy_accuracy"}
    never = {metric for part in found["never_compared"] for metric in part["metrics"]}
    assert {"preference_loss", "margin", "chosen_logp", "reference_accuracy", "bleu"} <= never


def test_a_start_has_the_raw_accuracy_that_its_trials_know(made: Experiment) -> None:
    made.base(policy_accuracy=shares(4))
    made.trial("sft", "sft-1", {"held_out_loss": shares(4)})
    pairs = {"policy_accuracy": shares(10), "reference_accuracy": shares(6)}
    made.trial("dpo", "dpo-1", pairs, start="sft-1")
    found = made.compared()
    tests = {(it["kind"], it["a"]): it for it in found["tests"] if it["metric"] != "held_out_loss"}
    assert tests["start", "dpo-1"]["value_b"] == pytest.approx(6 / 24)
    assert tests["base", "sft-1"]["difference"] == pytest.approx(2 / 24)


@pytest.mark.parametrize(
    ("change", "pairs"),
    [({}, 1), ({"beta": 0.3}, 0), ({"loss_type": ["ipo"]}, 0), ({"start": "sft-1"}, 0)],
)
def test_losses_and_margins_are_of_one_objective(
    made: Experiment, change: dict, pairs: int
) -> None:
    made.base()
    made.trial("sft", "sft-1", {})
    metrics = {"margin": shares(9), "preference_loss": shares(4), "preference_accuracy": shares(3)}
    made.trial("dpo", "dpo-1", metrics)
    made.trial("dpo", "dpo-2", metrics, **change)
    found = made.compared()
    assert len(asked(found, "margin")) == len(asked(found, "preference_loss")) == pairs
    assert len(asked(found, "preference_accuracy")) == 1
    leading = {one["metric"] for one in found["leading"]}
    assert ("margin" in leading) == bool(pairs)


def test_trials_of_several_methods_meet_and_one_leads(made: Experiment) -> None:
    """Not in the units of an objective."""
    made.base()
    made.trial("sft", "sft-1", {})
    for method, right in (("dpo", 3), ("orpo", 20), ("simpo", 5)):
        metrics = {"margin": shares(right), "preference_accuracy": shares(right)}
        made.trial(method, f"{method}-1", metrics, start="sft-1")
    found = made.compared()
    assert asked(found, "margin") == []
    assert asked(found, "preference_accuracy") == [
        ("trials", "dpo-1", "orpo-1"), ("trials", "dpo-1", "simpo-1"),
        ("trials", "orpo-1", "simpo-1"),
    ]  # fmt: skip
    (lead,) = [it for it in found["leading"] if it["metric"] == "preference_accuracy"]
    assert (lead["method"], lead["leading"], lead["runner_up"]) == ("orpo", "orpo-1", "simpo-1")
    assert found["pairs"] == {"sft": None, "dpo": "all", "orpo": "all", "simpo": "all"}


def test_how_far_a_trial_moved_is_of_one_start(made: Experiment) -> None:
    made.base(chosen_fell=shares(1))
    made.trial("sft", "sft-1", {})
    moved = {"chosen_fell": shares(9), "chosen_change": shares(3)}
    made.trial("dpo", "dpo-1", moved)
    made.trial("dpo", "dpo-2", moved, beta=0.3)
    made.trial("dpo", "dpo-3", moved, start="sft-1")
    tests = made.compared()["tests"]
    assert [(it["metric"], it["kind"], it["a"], it["b"]) for it in tests] == [
        ("chosen_fell", "trials", "dpo-1", "dpo-2")
    ]


def test_more_than_ten_trials_meet_the_leading_one(made: Experiment) -> None:
    made.base()
    for number in range(11):
        made.trial("sft", f"sft-{number}", {"held_out_loss": shares(20 - number)})
    found = made.compared()
    assert found["pairs"]["sft"] == "leading"
    kinds = asked(found, "held_out_loss")
    assert kinds == [("trials", "sft-10", f"sft-{number}") for number in range(10)]
    made.plan["trials"]["sft"].pop()
    assert len(asked(made.compared(), "held_out_loss")) == 45


@pytest.mark.parametrize(
    ("metric", "leader"),
    [("policy_accuracy", 0), ("held_out_loss", 11), ("problems/judge_disagreement", 11)],
)
def test_more_than_ten_trials_meet_the_one_that_is_best(made: Experiment, metric, leader) -> None:
    """Number 0 has the highest value, number 11 the lowest."""
    made.base()
    for number in range(12):
        made.trial("sft", f"sft-{number}", {metric: shares(20 - number)})
    found = made.compared()
    assert {test["a"] for test in found["tests"]} == {f"sft-{leader}"}
    assert [one["leading"] for one in found["leading"]] == [f"sft-{leader}"]


def test_where_neither_way_is_better_none_leads(made: Experiment) -> None:
    """All pairs of up to ten trials are tested; more than ten only against base and start."""
    made.base(**{"problems/generated_tokens": shares(9)})
    made.trial("sft", "start", {"problems/generated_tokens": shares(10)})
    for number in range(10):
        scores = {"problems/generated_tokens": shares(11 + number), "problems/kl": shares(number)}
        made.trial("dpo", f"dpo-{number}", scores, start="start")
    found = made.compared()
    kinds = [test["kind"] for test in found["tests"] if test["metric"] == "generated_tokens"]
    assert (kinds.count("base"), kinds.count("start"), kinds.count("trials")) == (11, 10, 45)
    assert [test["kind"] for test in found["tests"] if test["metric"] == "kl"] == ["trials"] * 45
    assert found["leading"] == []
    made.trial("dpo", "dpo-10", scores, start="start")
    found = made.compared()
    kinds = [test["kind"] for test in found["tests"]]
    assert (kinds.count("base"), kinds.count("start"), kinds.count("trials")) == (12, 11, 0)
    assert found["leading"] == []


def test_a_metric_that_the_plan_lacks_is_named(made: Experiment) -> None:
    made.base(warmth=shares(3))
    with pytest.raises(BadInput, match="--plan: does not declare warmth"):
        made.compared()


def test_holm_is_over_all_tests_of_a_metric(made: Experiment) -> None:
    made.base(held_out_loss=shares(20), policy_accuracy=shares(3))
    made.trial("sft", "a", {"held_out_loss": shares(1), "policy_accuracy": shares(4)})
    made.trial("sft", "b", {"held_out_loss": shares(1), "policy_accuracy": shares(4)})
    tests = [test for test in made.compared()["tests"] if test["metric"] == "held_out_loss"]
    p = tests[0]["p"]
    assert p == 2 / 2**GROUPS
    assert [test["p"] for test in tests] == [p, p, 1]
    assert [test["holm"] for test in tests] == pytest.approx([3 * p, 3 * p, 1])


@pytest.mark.parametrize(("rival", "apart"), [(shares(24), True), (shares(5), False)])
def test_a_trial_leads_apart_where_the_test_shows_it(made: Experiment, rival, apart) -> None:
    """The lower loss leads; five items of 24 are not told from four."""
    made.base()
    made.trial("sft", "worse", {"held_out_loss": rival})
    made.trial("sft", "better", {"held_out_loss": shares(4)})
    (leading,) = made.compared()["leading"]
    assert (leading["leading"], leading["runner_up"]) == ("better", "worse")
    assert leading["apart"] == apart


def test_the_higher_share_leads(made: Experiment) -> None:
    made.base()
    for name, right in (("low", 2), ("high", 24), ("middle", 3)):
        made.trial("dpo", name, {"problems/exact_match": shares(right)})
    (leading,) = made.compared()["leading"]
    assert (leading["leading"], leading["runner_up"], leading["set"]) == (
        "high",
        "middle",
        "problems",
    )


def test_other_items_are_not_compared_and_said(made: Experiment) -> None:
    made.base(held_out_loss=shares(9))
    made.trial("sft", "a", {"held_out_loss": shares(9)})
    made.trial("sft", "b", {"held_out_loss": shares(9, n=23)})
    found = made.compared()
    assert asked(found, "held_out_loss") == [("base", "a", "demo")]
    assert found["left_out"] == [
        {"set": None, "metric": "held_out_loss", "model": "b", "reason": "other items"}
    ]


def test_a_trial_whose_seeds_have_other_items_is_not_compared_and_said(made: Experiment) -> None:
    """As pairs that a judge was asked about: each seed has its own."""
    made.base(judge_disagreement=shares(9))
    for seed, n in ((0, 24), (1, 23)):
        made.trial("sft", "a", {"judge_disagreement": shares(9, n=n)}, seed=seed)
    found = made.compared()
    assert found["tests"] == []
    assert [(one["model"], one["reason"]) for one in found["left_out"]] == [("a", "other items")]


def test_seeds_are_averaged_and_drawn(made: Experiment) -> None:
    made.base(held_out_loss=shares(20))
    draw = np.random.default_rng(0)
    seeds = {seed: list(draw.normal(size=24)) for seed in (0, 1, 2)}
    for seed, scores in seeds.items():
        made.trial("sft", "a", {"held_out_loss": scores}, seed=seed)
    (test,) = made.compared()["tests"]
    assert test["seeds"] == [3, 1]
    assert test["value_a"] == pytest.approx(np.mean(list(seeds.values())))
    low, high = test["interval"]
    made.plan["trials"]["sft"] = ["a/seed-0"]
    (alone,) = made.compared()["tests"]
    assert alone["seeds"] == [1, 1]
    assert alone["interval"] != [low, high]


def test_what_only_some_seeds_have_is_not_shown(made: Experiment) -> None:
    """Items of the mean of both seeds are all above the base's; one seed's are all below."""
    made.base(held_out_loss=[0.0] * 24)
    made.trial("sft", "a", {"held_out_loss": [3.0] * 24}, seed=0)
    (alone,) = made.compared()["tests"]
    made.trial("sft", "a", {"held_out_loss": [-1.0] * 24}, seed=1)
    (both,) = made.compared()["tests"]
    assert alone["holm"] == both["holm"] == 2 / 2**GROUPS
    assert both["interval"] == [-1.0, 3.0]
    assert (alone["shown"], both["shown"]) == (True, False)


def test_the_order_of_rows_is_of_no_matter(made: Experiment) -> None:
    made.base(held_out_loss=[float(place) for place in range(24)])
    made.trial("sft", "a", {"held_out_loss": [float(place) for place in range(24)]})
    path = made.root / "trials/a/seed-0/items.parquet"
    import pyarrow.parquet as pq

    pq.write_table(pq.read_table(path).take(list(range(23, -1, -1))), path)
    (test,) = made.compared()["tests"]
    assert (test["difference"], test["group_deviation"]) == (0.0, 0.0)


def test_asked_again_it_says_the_same(made: Experiment) -> None:
    draw = np.random.default_rng(0)
    made.base(held_out_loss=list(draw.normal(size=60)))
    for name in "abc":
        made.trial("sft", name, {"held_out_loss": list(draw.normal(size=60))}, groups=8)
    first = json.dumps(made.compared())
    assert json.dumps(compare(made.plan, read_models(made.root, made.plan))) == first
