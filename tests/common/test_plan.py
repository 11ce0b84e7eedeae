"""The plan: names, and what each trial and base is resolved to."""

from scripts.common.config import load
from scripts.common.plan import make_plan
from tests.conftest import ROOT

PLAN = make_plan(load([ROOT / "config.yaml"]))


def test_trials_stand_in_the_order_of_the_configuration() -> None:
    names = [trial["name"] for trial in PLAN.trials.values()]
    assert names == ["titles-dpo", *(f"sft-{i}" for i in range(1, 6)),
                     *(f"dpo-{i}" for i in range(1, 6))]  # fmt: skip


def test_trials_that_start_alike_share_one_reference() -> None:
    folders = [f"trials/dpo-{i}/seed-42" for i in range(1, 6)]
    references = {PLAN.trials[folder]["training"]["reference"] for folder in folders}
    assert references == {"sft-1.seed-42.hh-rlhf.tinyllama.instruction.512"}


def test_a_trial_from_sft_carries_both_adapters() -> None:
    trial = PLAN.trials["trials/dpo-4/seed-42"]
    assert trial["adapters"] == ["trials/sft-1/seed-42", "trials/dpo-4/seed-42"]


def test_training_holds_nothing_of_evaluation_or_titles() -> None:
    training = PLAN.trials["trials/sft-1/seed-42"]["training"]
    assert not {"experiment", "title", "evaluation"} & training.keys()
    assert training["trainer"]["max_steps"] == -1
    assert training["lora"]["init_lora_weights"] == "gaussian"


def test_supervised_trials_are_not_scored_on_pairs() -> None:
    assert PLAN.trials["trials/sft-1/seed-42"]["evaluation"]["pairs"] is None
    assert PLAN.bases["bases/tinyllama"]["evaluation"]["pairs"]["split"] == "test"


def test_published_hyperparameters() -> None:
    """The figures of the second experiment's tables, read off the resolved trials."""
    rows = {
        name: (
            part["lora"]["r"],
            part["lora"]["lora_alpha"],
            part["trainer"]["learning_rate"],
            part["trainer"].get("beta"),
            part["trainer"]["per_device_train_batch_size"]
            * part["trainer"]["gradient_accumulation_steps"],
        )
        for name, part in ((t["name"], t["training"]) for t in PLAN.trials.values())
    }
    assert rows == {
        "titles-dpo": (32, 64, 5e-5, 0.1, 16),
        "sft-1": (4, 8, 2e-4, None, 8),
        "sft-2": (16, 32, 5e-5, None, 8),
        "sft-3": (8, 16, 5e-4, None, 8),
        "sft-4": (4, 8, 1e-4, None, 8),
        "sft-5": (2, 4, 3e-4, None, 8),
        "dpo-1": (4, 8, 5e-7, 0.1, 8),
        "dpo-2": (4, 8, 1e-6, 0.1, 8),
        "dpo-3": (4, 8, 5e-7, 0.3, 8),
        "dpo-4": (8, 16, 5e-7, 0.1, 8),
        "dpo-5": (4, 8, 1e-6, 0.05, 8),
    }
