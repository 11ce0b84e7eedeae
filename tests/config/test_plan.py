"""The plan of the paper: names, and what each trial and base resolves to."""

from pathlib import Path
from typing import Any

import pytest

from scripts.config.check import load
from scripts.config.plan import Plan, make_plan
from scripts.config.plan.training import Reference
from scripts.config.schema import Config
from tests.conftest import ROOT

PLAN = make_plan(load([ROOT / "config.yaml"]))


def test_trials_stand_in_the_order_of_the_configuration() -> None:
    names = list(PLAN.trials)
    five = range(1, 6)
    assert names == [
        "titles-dpo", "titles-dpo-by-idea", "speed-unsloth", "speed-transformers",
        *(f"sft-{i}" for i in five), *(f"dpo-{i}" for i in five),
        *(f"dpo-{i}-as-coded" for i in five),
        *(f"sft-{i}-corrected" for i in five), *(f"dpo-{i}-corrected" for i in five),
    ]  # fmt: skip


def test_an_experiment_that_is_not_enabled_is_one_word_away() -> None:
    def names(enabled: bool) -> set[str]:
        word = {"experiments": {"tinyllama-larger": {"enabled": enabled}}}
        return set(make_plan(load([ROOT / "config.yaml"], word)).trials)

    assert names(True) - names(False) == {"sft-1-larger", "dpo-1-larger"}


def test_trials_that_start_alike_share_one_reference() -> None:
    kinds = ("", "-as-coded")
    folders = [f"trials/dpo-{i}{kind}/seed-42" for i in range(1, 6) for kind in kinds]
    references = {PLAN.runs[folder].training.reference for folder in folders}
    assert references == {"sft-1.seed-42.hh-rlhf.tinyllama.instruction-pairs.512.256"}


def reference(trial: dict[str, Any], **experiment: Any) -> Reference:
    """Return the reference of one trial."""
    sft = {"dataset": "s", "trials": [{"name": "sft-1"}]}
    values = {
        "models": {name: {"source": {"hub": "a/b", "revision": "main"}} for name in ("m", "n")},
        "datasets": {
            name: {"format": kind, "source": {"hub": "a/c", "revision": "main"},
                   "splits": {"by": "source", "train": "train", "test": "test"}}
            for name, kind in (("d", "pairs"), ("s", "instruction"))
        },
        "experiments": {
            "e": {"model": "m", "sft": sft}
            | experiment
            | {"preference": {"dataset": "d", "trials": [{"name": "t"} | trial]}}
        },
    }  # fmt: skip
    plan = make_plan(Config.model_validate(values))
    name = plan.trials["t"].runs[0].training.reference
    assert name is not None
    return plan.references[name]


@pytest.mark.parametrize(
    ("trial", "experiment"),
    [
        ({"beta": 0.3}, {}),
        ({"loss_type": ["ipo", "sft"], "loss_weights": [1, 2], "ld_alpha": 0.5}, {}),
        ({"loss_type": "hinge", "f_divergence_type": "forward_kl", "use_weighting": True}, {}),
        ({"learning_rate": 1e-6}, {}),
        ({}, {"seeds": [7]}),
        ({"layout": "stock"}, {}),
        ({"layout": "shared"}, {}),
        ({"per_device_train_batch_size": 1}, {}),
        ({"lora": {"r": 4}}, {}),
    ],
    ids=str,
)
def test_what_the_reference_does_not_read_makes_no_other(
    trial: dict[str, Any], experiment: dict[str, Any]
) -> None:
    assert reference(trial, **experiment) == reference({})


@pytest.mark.parametrize(
    ("key", "trial", "experiment"),
    [
        ("model", {}, {"model": "n"}),
        ("start", {"start": "sft-1"}, {}),
        ("tokens", {}, {"max_length": 512}),
        ("tokens", {}, {"template": "instruction"}),
        ("backend", {"backend": "unsloth"}, {}),
    ],
    ids=str,
)
def test_what_the_reference_reads_makes_another(
    key: str, trial: dict[str, Any], experiment: dict[str, Any]
) -> None:
    one, other = reference({}), reference(trial, **experiment)
    assert one.name != other.name
    assert getattr(one, key) != getattr(other, key)


def test_a_backend_trains_against_its_own_reference_and_all_are_scored_by_one() -> None:
    run = PLAN.runs["trials/titles-dpo/seed-42"]
    tokens = "youtube-titles.qwen-14b.chat.1024"
    assert run.training.reference == f"base.{tokens}.unsloth"
    assert run.evaluation.reference == f"base.{tokens}"
    assert PLAN.references[f"base.{tokens}.unsloth"].backend == "unsloth"
    assert PLAN.references[f"base.{tokens}"].backend == "transformers"
    assert PLAN.backends() == ["transformers", "unsloth"]


def test_a_trial_carries_its_start_unless_that_is_overwritten() -> None:
    merged, overwritten = (
        PLAN.runs[f"trials/{name}/seed-42"] for name in ("dpo-4", "dpo-4-as-coded")
    )
    assert merged.adapters == ["trials/sft-1/seed-42", "trials/dpo-4/seed-42"]
    assert overwritten.adapters == ["trials/dpo-4-as-coded/seed-42"]
    assert overwritten.training.start == "trials/sft-1/seed-42"


def test_each_phase_and_set_has_its_own_template() -> None:
    evaluation = PLAN.runs["trials/dpo-1/seed-42"].evaluation
    assert evaluation.completions.tokens == "grade-school-math.tinyllama.instruction.512"
    assert evaluation.pairs.tokens == "hh-rlhf.tinyllama.instruction-pairs.512.256"
    assert evaluation.prompts["gsm8k"].tokens == "gsm8k.tinyllama.instruction.512"
    assert PLAN.tokens["hh-rlhf.tinyllama.instruction-pairs.512.256"].max_prompt_length == 256


def test_what_trials_learn_from_is_examined_under_the_template_of_generation() -> None:
    templates = {tokens: Path(path).stem for tokens, path in PLAN.examined.items()}
    assert templates == {
        "youtube-titles.qwen-14b.chat.1024": "chat",
        "youtube-titles-by-idea.qwen-14b.chat.1024": "chat",
        "youtube-titles-start.qwen-14b.chat.1024": "chat",
        "grade-school-math.tinyllama.instruction.512": "instruction",
        "hh-rlhf.tinyllama.instruction-pairs.512.256": "instruction",
        "grade-school-math.tinyllama.instruction-eos.512": "instruction-eos",
        "hh-rlhf.tinyllama.instruction-eos.512.256": "instruction-eos",
    }


def test_overlaps_and_lookups_are_shared() -> None:
    assert list(PLAN.overlaps) == ["gsm8k.test.in.grade-school-math.train"]
    assert list(PLAN.lookups) == [
        "youtube-titles.train.test", "youtube-titles-by-idea.train.test", "hh-rlhf.train.test"
    ]  # fmt: skip
    assert PLAN.bases["titles-speed"].lookup is None


def test_examples_show_the_first_seed() -> None:
    shown = PLAN.bases["tinyllama"].shown
    assert shown == {"examples": ["sft-1/seed-42", "dpo-1/seed-42"]}


def test_training_holds_nothing_of_evaluation_or_titles() -> None:
    training = PLAN.runs["trials/sft-1/seed-42"].training.as_json()
    assert not {"experiment", "title", "evaluation", "start", "reference"} & training.keys()
    assert (training["method"], training["rows"]) == ("sft", "demonstrations")
    assert training["trainer"]["max_steps"] == -1
    assert training["layout"] == "auto"
    assert not {"layout", "method"} & training["trainer"].keys()
    assert training["lora"]["init_lora_weights"] == "gaussian"


def test_what_is_measured_of_answers_is_no_part_of_training() -> None:
    def plan(**more: Any) -> Plan:
        sets = {"summaries": {"do_sample": True} | more}
        experiments = {"tinyllama-corrected": {"generate": sets}}
        return make_plan(load([ROOT / "config.yaml"], {"experiments": experiments}))

    plain, asking = plan(), plan(kl=True, judge={"model": "qwen-14b"})
    folder = "trials/dpo-1-corrected/seed-42"
    asked = asking.runs[folder].evaluation.prompts["summaries"].measured()
    assert asked["kl"]
    assert asked["judge"] == {
        "kind": "logprob", "model": "qwen-14b", "template": "scripts/evaluate/judge.jinja"
    }  # fmt: skip
    for part in ("tokens", "references", "examined", "overlaps", "lookups"):
        assert getattr(plain, part) == getattr(asking, part)
    for name, run in plain.runs.items():
        assert run.training == asking.runs[name].training


def test_supervised_trials_are_not_scored_on_pairs() -> None:
    assert PLAN.runs["trials/sft-1/seed-42"].evaluation.pairs is None
    assert PLAN.bases["tinyllama"].evaluation.splits["pairs"] == "test"


def test_published_hyperparameters() -> None:
    """The settings in the second experiment's tables, read off the resolved trials."""
    rows = {
        name: (
            part.lora["r"],
            part.lora["lora_alpha"],
            part.trainer["learning_rate"],
            part.trainer.get("beta"),
            part.trainer["per_device_train_batch_size"]
            * part.trainer["gradient_accumulation_steps"],
        )
        for name, part in ((run.name, run.training) for run in PLAN.runs.values())
    }
    published = {
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
    assert {name: rows[name] for name in published} == published
    others = {name: row for name, row in rows.items() if name not in published}
    for name, row in others.items():
        stem = name.removesuffix("-as-coded").removesuffix("-corrected")
        assert row == published["titles-dpo" if stem not in published else stem]


def test_a_mixture_takes_tokens_and_references_from_its_parts() -> None:
    """Ten mixtures of two datasets have two references beside their own, which cost nothing."""
    mixtures = {f"x{number}": {"of": {"d": {"rows": number}, "e": {"rows": 1}}}
                for number in range(1, 11)}  # fmt: skip
    pairs = {"format": "pairs", "source": {"hub": "a/c", "revision": "main"},
             "splits": {"by": "source", "train": "train", "test": "test"}}  # fmt: skip
    trials = [{"name": f"t{number}", "dataset": f"x{number}"} for number in range(2, 11)]
    values = {
        "models": {"m": {"source": {"hub": "a/b", "revision": "main"}}},
        "datasets": {"d": pairs, "e": pairs},
        "mixtures": mixtures,
        "experiments": {
            "e": {
                "model": "m",
                "preference": {"dataset": "x1", "trials": [{"name": "t1"}, *trials]},
            }
        },
    }
    plan = make_plan(Config.model_validate(values))
    computed = {name for name, it in plan.references.items() if not it.parts}
    assert computed == {"base.d.m.chat.1024", "base.e.m.chat.1024"}
    assert {name for name, it in plan.tokens.items() if not it.parts} == {
        "d.m.chat.1024",
        "e.m.chat.1024",
    }
    training = plan.training("t7", 0)
    assert (training.dataset, training.tokens) == ("x7", "x7.m.chat.1024")
    assert training.reference == "base.x7.m.chat.1024"
    # All are tested on the same rows.
    held_out = {run.evaluation.pairs.tokens for run in plan.runs.values()}
    assert held_out == {"x1.m.chat.1024"}
    assert plan.references["base.x7.m.chat.1024"].mixed_inputs("train") == {
        "tokens": "<results>/tokens/x7.m.chat.1024/train.parquet",
        "files": [f"<results>/references/base.{it}.m.chat.1024/train.parquet" for it in "de"],
        "records": [f"<results>/references/base.{it}.m.chat.1024/train.json" for it in "de"],
    }
    assert set(plan.examined) == {f"x{number}.m.chat.1024" for number in range(1, 11)}
