"""The comparison of objectives: the same pairs, steps and start, at rates that validation chose."""

from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import read_json
from scripts.config.check import load
from scripts.config.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = ROOT / "paper" / "pilot-objectives"
OBJECTIVES = ("dpo", "ipo", "kto", "orpo", "simpo", "cpo")
RATES = {"5e-5": 5e-5, "1e-4": 1e-4, "2e-4": 2e-4}


@pytest.fixture(scope="module")
def plan() -> Plan:
    # The model from the hub, because its folder may not be there.
    return make_plan(load([ROOT / "pilot" / "objectives.yaml", ROOT / "pilot" / "hub.yaml"]))


def trained(plan: Plan, name: str) -> dict[str, Any]:
    training: dict[str, Any] = plan.trials[name].runs[0].training.as_json()
    return training


def test_they_differ_in_nothing_but_the_objective_and_the_rate(plan: Plan) -> None:
    names = [f"{name}-{rate}" for name in OBJECTIVES for rate in RATES]
    assert sorted(plan.trials) == sorted([*names, *OBJECTIVES])
    own = {"learning_rate", "beta", "loss_type", "cpo_alpha", "simpo_gamma", "label_smoothing",
           "desirable_weight", "undesirable_weight", "per_device_train_batch_size"}  # fmt: skip
    common = trained(plan, "orpo")
    for name in plan.trials:
        found = trained(plan, name)
        assert (found["start"], found["train"], found["tokens"], found["lora"]) == (
            None, "train", common["tokens"], common["lora"],
        )  # fmt: skip
        shared = common["trainer"].keys() & found["trainer"].keys() - own
        assert {"max_steps", "lr_scheduler_type", "warmup_steps", "optim"} < shared
        assert all(found["trainer"][key] == common["trainer"][key] for key in shared), name
        rows = found["trainer"]["per_device_train_batch_size"]
        # 16 pairs a step; a pair is two rows of KTO.
        assert rows * 4 == (32 if found["method"] == "kto" else 16)


def test_rates_are_chosen_by_validation_pairs_and_reported_on_others(plan: Plan) -> None:
    for name in OBJECTIVES:
        runs = plan.trials[name].runs
        assert [run.seed for run in runs] == [43, 44, 45]
        assert {run.evaluation.pairs and run.evaluation.pairs.split for run in runs} == {"test"}
        for rate in RATES:
            (run,) = plan.trials[f"{name}-{rate}"].runs
            assert run.seed == 42
            assert run.evaluation.pairs is not None
            assert run.evaluation.pairs.split == "valid"


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_rate_is_the_best_of_the_published_ones(plan: Plan, name: str) -> None:
    """The lower one of two that are equal."""

    def accuracy(rate: str) -> float:
        folder = PUBLISHED / "trials" / f"{name}-{rate}" / "seed-42"
        value: float = read_json(folder / "metrics.json")["metrics"]["preference_accuracy"]["value"]
        return value

    best = max(RATES, key=lambda rate: (accuracy(rate), -RATES[rate]))
    assert trained(plan, name)["trainer"]["learning_rate"] == RATES[best]
