"""The pilot's configuration: rows, steps and settings as they were fixed before the first run."""

from typing import Any

import pytest

from scripts.config.check import load
from scripts.config.files import read_config
from scripts.config.plan import Plan, make_plan
from scripts.config.plan.training import Training
from scripts.report.tables.claims import read_claims
from scripts.train.estimate.sizes import optimizer_steps
from tests.conftest import ROOT

PILOT = ROOT / "pilot"
# The model from the hub, because its folder may not be there.
FILES = [PILOT / "config.yaml", PILOT / "hub.yaml"]
PLAN = make_plan(load(FILES))
FULL = make_plan(load([*FILES, PILOT / "full.yaml"]))
PAPER = make_plan(load([ROOT / "config.yaml"]))
SCALED = {
    "backend", "model", "base", "revision", "precision", "quantization", "dataset", "tokens",
    "valid", "reference", "name", "seed", "start", "start_as",
}  # fmt: skip
"""What says on which model and rows a trial is trained, and how it is called."""
OF_A_GPU = {"optim", "gradient_checkpointing"}
OF_LENGTH = {
    "num_train_epochs", "max_steps", "warmup_steps", "eval_strategy", "eval_steps",
    "load_best_model_at_end",
}  # fmt: skip


def training(plan: Plan, name: str) -> Training:
    """Return a trial with its first seed."""
    return plan.trials[name].runs[0].training


def steps(plan: Plan, name: str) -> int:
    trial = training(plan, name)
    return optimizer_steps(plan.datasets[trial.dataset].rows["expect"][trial.train], trial.trainer)


def test_the_splits_have_the_rows_that_were_fixed() -> None:
    found = {name: it.rows["expect"] for name, it in PLAN.datasets.items()}
    assert found == {
        "youtube-titles": {"train": 1026, "test": 114},
        "youtube-titles-by-idea": {"train": 800, "valid": 110, "test": 230},
        "gsm8k": {"train": 480, "test": 200},
        "hh-rlhf": {"train": 1787, "test": 497},
        "word-problems": {"test": 10},
        "examples": {"test": 2},
    }
    splits = {name: it.rows["splits"] for name, it in PLAN.datasets.items()}
    assert (splits["gsm8k"]["train"], splits["gsm8k"]["test"]) == ("train[:480]", "test[:200]")
    assert splits["hh-rlhf"]["train"] == "test[500:2312]"
    for name in ("youtube-titles", "youtube-titles-by-idea"):
        assert PLAN.datasets[name].rows == PAPER.datasets[name].rows
    cut = {"splits", "expect"}
    for name in ("gsm8k", "hh-rlhf"):
        assert {key: it for key, it in PLAN.datasets[name].rows.items() if key not in cut} == {
            key: it for key, it in PAPER.datasets[name].rows.items() if key not in cut
        }
    for name in ("youtube-titles", "youtube-titles-by-idea", "gsm8k", "hh-rlhf"):
        assert PLAN.datasets[name].source == PAPER.datasets[name].source


TITLES = {"titles-dpo": 5e-5, "titles-dpo-1e-4": 1e-4}
BY_IDEA = {f"{name}-by-idea": rate for name, rate in TITLES.items()}
SFT = dict(enumerate((2e-4, 5e-5, 5e-4, 1e-4, 3e-4), 1))
DPO = {
    "dpo-1": 5e-7, "dpo-2": 1e-6, "dpo-3": 5e-7, "dpo-4": 5e-7, "dpo-5": 1e-6,
    "dpo-1-as-coded": 5e-7, "dpo-3-as-coded": 5e-7, "dpo-4-as-coded": 5e-7,
    "dpo-1-5e-5": 5e-5, "dpo-1-2e-4": 2e-4,
}  # fmt: skip
THREE, ONE = (42, 43, 44), (42,)
EXPECTED: dict[str, tuple[Any, ...]] = {
    **{name: (rate, 50, 0.1, 16, THREE) for name, rate in (TITLES | BY_IDEA).items()},
    "titles-dpo-2e-4-by-idea": (2e-4, 150, 0.1, 16, ONE),
    **{f"sft-{number}-corrected": (rate, 60, 1, 8, ONE) for number, rate in SFT.items()},
    "sft-1": (2e-4, 60, 1, 8, ONE),
    **{name: (rate, 40, 4, 8, ONE) for name, rate in DPO.items()},
}
"""Learning rate, steps, warm-up, rows a step, seeds."""


def test_the_trials_have_the_numbers_that_were_fixed() -> None:
    found = {}
    for name, trial in PLAN.trials.items():
        trainer = trial.runs[0].training.trainer
        rows = trainer["per_device_train_batch_size"] * trainer["gradient_accumulation_steps"]
        seeds = tuple(run.seed for run in trial.runs)
        numbers = (trainer["learning_rate"], steps(PLAN, name), trainer["warmup_steps"], rows)
        found[name] = (*numbers, seeds)
    assert found == EXPECTED
    assert {it.training.precision for it in PLAN.runs.values()} == {"bfloat16"}


AS_PUBLISHED = {
    "titles-dpo": "titles-dpo",
    "titles-dpo-by-idea": "titles-dpo-by-idea",
    **{f"sft-{number}-corrected": f"sft-{number}-corrected" for number in SFT},
    "sft-1": "sft-1",
    **{name: name for name in list(DPO)[:8]},
}


@pytest.mark.parametrize(("name", "published"), AS_PUBLISHED.items())
def test_a_published_trial_differs_from_the_papers_in_model_rows_and_length_only(
    name: str, published: str
) -> None:
    own, paper = training(PLAN, name), training(PAPER, published)
    kept = {key for key in own.as_json() if key not in {*SCALED, "trainer"}}
    assert {key: own.as_json()[key] for key in kept} == {key: paper.as_json()[key] for key in kept}
    assert own.start_as == paper.start_as
    of_trainer = own.trainer.keys() - OF_LENGTH - OF_A_GPU
    assert {key: own.trainer[key] for key in of_trainer} == {
        key: paper.trainer[key] for key in of_trainer
    }
    assert own.trainer["optim"] == "adamw_torch"


def test_what_the_claims_are_compared_with_is_measured() -> None:
    """The table of comparisons is refused where a planned trial lacks a metric."""
    found = set()
    for figure in read_claims(ROOT / "paper" / "claims.yaml").figures:
        for claim in figure.claims:
            for protocol, name in figure.protocols(claim).items():
                if name not in PLAN.trials:
                    continue
                found.add(name)
                ours, evaluation = figure.ours_under(protocol), PLAN.trials[name].runs[0].evaluation
                if ours.set:
                    assert evaluation.prompts[ours.set].dataset == "word-problems"
                elif ours.figure:
                    assert evaluation.pairs is not None
    assert found == AS_PUBLISHED.keys()


def test_what_is_not_published_differs_in_its_learning_rate_only() -> None:
    for name, like in {
        "titles-dpo-1e-4": "titles-dpo",
        "titles-dpo-1e-4-by-idea": "titles-dpo-by-idea",
        "dpo-1-5e-5": "dpo-1",
        "dpo-1-2e-4": "dpo-1",
    }.items():
        own, other = training(PLAN, name).as_json(), training(PLAN, like).as_json()
        rate = {"learning_rate": own["trainer"]["learning_rate"]}
        assert own == other | {"name": name, "trainer": other["trainer"] | rate}


def test_every_preference_trial_of_dialogues_starts_from_the_corrected_supervised_one() -> None:
    found = {name: training(PLAN, name) for name in DPO}
    assert {it.start for it in found.values()} == {"trials/sft-1-corrected/seed-42"}
    coded = {name for name, it in found.items() if it.start_as == "overwritten"}
    assert coded == {"dpo-1-as-coded", "dpo-3-as-coded", "dpo-4-as-coded"}
    assert len({it.reference for it in found.values()}) == 1


def test_answers_are_asked_of_so_many_prompts() -> None:
    limits = {
        (name, key): (asked.settings["limit"], asked.settings["max_new_tokens"])
        for name, base in PLAN.bases.items()
        for key, asked in base.evaluation.prompts.items()
        if key == "gsm8k"
    }
    assert limits == {
        ("sft", "gsm8k"): (120, 192),
        ("sft-as-published", "gsm8k"): (60, 192),
        ("dpo", "gsm8k"): (30, 192),
    }
    splits = {name: base.evaluation.splits for name, base in PLAN.bases.items()}
    assert {it["pairs"] for name, it in splits.items() if not name.startswith("sft")} == {"test"}
    assert splits["sft"] == {"completions": "test", "pairs": None}


def test_the_full_run_differs_in_rows_epochs_and_warm_up_only() -> None:
    assert FULL.trials.keys() == PLAN.trials.keys()
    for folder, run in FULL.runs.items():
        whole, cut = run.training.as_json(), PLAN.runs[folder].training.as_json()
        for part in (whole, cut):
            trainer = part.pop("trainer")
            part["trainer"] = {key: it for key, it in trainer.items() if key not in OF_LENGTH}
        assert whole == cut
    assert {name: steps(FULL, name) for name in FULL.trials} == {
        "titles-dpo": 195, "titles-dpo-1e-4": 195,
        "titles-dpo-by-idea": 150, "titles-dpo-1e-4-by-idea": 150, "titles-dpo-2e-4-by-idea": 150,
        # 7,473 rows are 934 steps and one of a row.
        **{f"sft-{number}-corrected": 3 * 935 for number in (1, 3, 4, 5)},
        "sft-2-corrected": 2 * 935, "sft-1": 3 * 935,
        # 1,787 rows are 223 steps and one of three rows: batches have one row, so none is dropped.
        **{name: 3 * 224 if name == "dpo-5" else 2 * 224 for name in DPO},
    }  # fmt: skip
    assert FULL.datasets["gsm8k"].rows["expect"] == PAPER.datasets["gsm8k"].rows["expect"]


def test_results_of_another_base_or_scale_have_folders_of_their_own() -> None:
    names = ["config.yaml", "hub.yaml", "full.yaml"]
    found = [read_config(PILOT / name).values["pathvars"]["results"] for name in names]
    assert found == ["results/pilot", "results/pilot-hub", "results/pilot-full"]
