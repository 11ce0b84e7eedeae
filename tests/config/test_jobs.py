"""What each job reads and is given, asked of parts of a plan on their own."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scripts.common.states import NOT_SCORED, State
from scripts.config.plan.data import Dataset, Model, Overlap, Rows, Tokens
from scripts.config.plan.evaluation import GENERATION, Lookup, Trial
from scripts.config.plan.report import Reports
from scripts.config.plan.training import Reference, probed
from scripts.config.plan.whole import Plan
from tests.config.parts import EVALUATION, MODEL, base_of, run_of, training_of

SFT, DPO = "trials/s/seed-0", "trials/d/seed-0"
TOKENS = Tokens("p.m.t.64.16", "p", "m", "t.jinja", 64, 16, "preferences")


def adapter(folder: str) -> list[str]:
    return [
        f"<results>/{folder}/adapter/{file}"
        for file in ("adapter_model.safetensors", "adapter_config.json")
    ]


def test_a_model_in_a_folder_is_its_files(tmp_path: Any) -> None:
    for name in ("config.json", ".cache"):
        (tmp_path / name).touch()
    assert replace(MODEL, source={"folder": str(tmp_path)}).files() == [f"{tmp_path}/config.json"]
    assert MODEL.files() == []


@pytest.mark.parametrize(
    ("source", "origin", "fetched"),
    [
        ({"hub": "a/b", "revision": "main"}, "a/b", True),
        ({"folder": "here"}, "here", True),
        ({"demo": "texts.jsonl", "steps": 3}, "m", False),
    ],
)
def test_where_a_model_comes_from(source: dict[str, Any], origin: str, fetched: bool) -> None:
    model = Model("m", source, "auto", "nf4")
    assert (model.origin, model.is_fetched) == (origin, fetched)
    assert model.held() == {"precision": "auto", "quantization": "nf4"}
    assert "demo" not in model.demo_settings()


def test_a_dataset_in_files_reads_them() -> None:
    dataset = Dataset("p", {"file": {"train": "a.csv", "test": "b.csv"}}, {}, {})
    assert dataset.files() == ["a.csv", "b.csv"]
    assert not dataset.is_on_hub


def test_tokens_read_every_split_and_the_tokenizer_alone() -> None:
    splits = ("train", "valid", "test")
    assert TOKENS.inputs() == {
        "data": [f"<results>/data/p/{split}.parquet" for split in splits],
        "model": "<results>/models/m/tokenizer/manifest.json",
        "template": "t.jinja",
    }
    assert TOKENS.options() == "--max-length 64 --max-prompt-length 16"
    plain = replace(TOKENS, template=None, max_prompt_length=None)
    assert "template" not in plain.inputs()
    assert plain.options() == "--max-length 64"
    examined = TOKENS.examined_inputs("chat")
    assert examined["generation_template"] == []
    assert examined["tokens"] == [f"<results>/tokens/p.m.t.64.16/{it}.parquet" for it in splits]


def test_an_overlap_and_a_lookup_read_two_splits() -> None:
    overlap = Overlap(against=Rows("q", "test"), rows=Rows("s", "train"))
    assert overlap.name == "q.test.in.s.train"
    assert overlap.inputs() == {
        "against": "<results>/data/q/test.parquet", "rows": "<results>/data/s/train.parquet"
    }  # fmt: skip
    lookup = Lookup("p", "train", "valid")
    assert (lookup.name, lookup.folder) == ("p.train.valid", "baselines/p.train.valid")
    assert lookup.inputs()["test"] == "<results>/data/p/valid.parquet"


def test_a_reference_reads_one_split_and_its_start() -> None:
    reference = Reference("r", MODEL, None, "p.m.chat.64", "transformers")
    of_base = {
        "model": "<results>/models/m/manifest.json",
        "tokens": "<results>/tokens/p.m.chat.64/test.parquet",
    }
    assert reference.inputs("test") == of_base
    assert replace(reference, start=SFT).inputs("test") == of_base | {"start": adapter(SFT)}


def test_training_reads_the_splits_that_it_uses() -> None:
    files = training_of("d", start=SFT, valid="valid").inputs()
    assert files == {
        "model": "<results>/models/m/manifest.json",
        "tokens": "<results>/tokens/p.m.chat.64/train.parquet",
        "valid_tokens": "<results>/tokens/p.m.chat.64/valid.parquet",
        "reference": "<results>/references/base.p.m.chat.64/train.parquet",
        "valid_reference": "<results>/references/base.p.m.chat.64/valid.parquet",
        "start": adapter(SFT),
    }
    supervised = training_of("s", method="sft", rows="demonstrations", reference=None)
    assert supervised.inputs().keys() == {"model", "tokens"}
    assert training_of("d", start=SFT).probe_inputs().keys() == {"model", "tokens"}


def test_a_method_names_its_trainer_and_several_processes_their_launcher() -> None:
    assert training_of("d").program == "scripts.train.dpo"
    assert training_of("d").trainer_file == "scripts/train/dpo.py"
    assert training_of("s", method="sft").program == "scripts.train.sft"
    several = training_of("d", processes=2).program
    assert several == "scripts.train.processes --count 2 scripts.train.dpo"


def test_trials_of_one_pace_are_probed_once() -> None:
    one = training_of("a")
    faster = training_of("b", lora=one.lora | {"r": 8})
    alike = training_of("c", trainer=one.trainer | {"beta": 0.9})
    assert list(probed([one, faster, alike, training_of("d", processes=2)])) == ["a", "b"]


def test_a_run_is_scored_beside_its_reference() -> None:
    run = run_of(DPO, SFT)
    assert run.score_inputs() == {
        "model": "<results>/models/m/manifest.json",
        "adapters": [*adapter(SFT), *adapter(DPO)],
        "completions": "<results>/tokens/s.m.chat.64/test.parquet",
        "pairs": "<results>/tokens/p.m.chat.64/valid.parquet",
        "reference": "<results>/references/base.p.m.chat.64/valid.parquet",
        "prompts": ["<results>/tokens/q.m.chat.64/test.parquet"],
    }
    overwritten = run_of(DPO, SFT, start_as="overwritten").score_inputs()
    assert (overwritten["adapters"], overwritten["start"]) == (adapter(DPO), adapter(SFT))
    assert run.references() == [("base.p.m.chat.64", "train"), ("base.p.m.chat.64", "valid")]


def test_scoring_is_given_what_it_reads_and_no_more() -> None:
    *words, sets = run_of(DPO).score_options()
    assert words == [
        "--precision", "float32", "--quantization", "none", "--beta", "0.5", "--generate"
    ]  # fmt: skip
    assert json.loads(sets)["set"].keys() == set(GENERATION)
    *words, sets = base_of("e").score_options()
    assert "--beta" not in words
    # A base is its own reference.
    assert json.loads(sets)["set"]["kl"] is False
    alone = replace(base_of("e"), evaluation=replace(EVALUATION, prompts={}))
    assert "--generate" not in alone.score_options()


def test_measuring_reads_rows_overlaps_and_verdicts() -> None:
    files = run_of(DPO).measure_inputs()
    assert files == {
        **{
            kind: f"<results>/{DPO}/{kind}.parquet"
            for kind in ("completions", "pairs", "generations", "verdicts")
        },
        "completions_rows": "<results>/data/s/test.parquet",
        "pairs_rows": "<results>/data/p/valid.parquet",
        "sets_rows": ["<results>/data/q/test.parquet"],
        "overlaps": ["<results>/overlaps/q.test.in.s.train.parquet"],
        "base_metrics": "<results>/bases/e/metrics.json",
    }
    # What it is held to: the base, and what it starts from.
    assert run_of(DPO, SFT).measure_inputs()["start_metrics"] == f"<results>/{SFT}/metrics.json"
    assert not {"verdicts", "base_metrics", "start_metrics"} & base_of("e").measure_inputs().keys()
    supervised = replace(run_of(SFT), evaluation=EVALUATION.without_pairs())
    assert "pairs_rows" not in supervised.measure_inputs()
    asked = run_of(DPO).prompt_sets()["set"]
    assert asked["answer_before"] == "Q:"
    assert asked["judge"] == {"kind": "logprob", "model": "m", "template": "judge.jinja"}
    assert "tokens" not in asked


def test_what_is_not_done_is_not_awaited_to_measure_a_run() -> None:
    plan = replace(PLAN, runs={DPO: run_of(DPO, SFT), SFT: run_of(SFT)})
    beside = {"base_metrics", "start_metrics"}
    assert beside <= Reports(plan).measure_inputs(DPO).keys()
    for folder, left in (("bases/e", {"start_metrics"}), (SFT, {"base_metrics"})):
        reports = Reports(plan, {folder: State(NOT_SCORED)}, Path("results"))
        assert beside & reports.measure_inputs(DPO).keys() == left


def test_a_judge_reads_both_answers() -> None:
    run = run_of(DPO)
    assert run.judge_inputs() == {
        "tuned": f"<results>/{DPO}/generations.parquet",
        "base": "<results>/bases/e/generations.parquet",
        "sets_rows": ["<results>/data/q/test.parquet"],
        "models": ["<results>/models/m/manifest.json"],
        "templates": ["judge.jinja"],
    }
    judge = {"kind": "logprob", "model": "m", "template": "judge.jinja"} | MODEL.held()
    assert run.duels() == {"set": {"judge": judge, "answer_after": None, "answer_before": "Q:"}}


def test_a_run_says_on_which_splits_it_is_reported_and_selected() -> None:
    held_out = {"completions": "test", "pairs": "valid"}
    own = {"name": "d", "experiment": "e", "method": "dpo"}
    splits = {"held_out": held_out, "selected_on": None}
    run = run_of(DPO)
    assert run.identity() == own | {"seed": 0} | splits
    best = run.training.trainer | {"load_best_model_at_end": True}
    assert run_of(DPO, trainer=best, valid="valid").splits()["selected_on"] == "valid"
    trial = Trial((run, run_of("trials/d/seed-1")))
    assert trial.identity() == own | splits
    assert trial.files("metrics.json") == [
        f"<results>/trials/d/seed-{seed}/metrics.json" for seed in (0, 1)
    ]
    assert base_of("e").identity() == {
        "name": "m", "experiment": "e", "method": "base", "seed": None
    }  # fmt: skip


PLAN = Plan(
    models={"m": MODEL},
    datasets={"p": Dataset("p", {"hub": "a/b"}, {}, {})},
    tokens={TOKENS.name: TOKENS},
    references={"r": Reference("r", MODEL, None, TOKENS.name, "transformers")},
    lookups={"p.train.test": Lookup("p", "train", "test")},
    runs={DPO: run_of(DPO)},
    bases={"e": base_of("e")},
)


@pytest.mark.parametrize(
    "target",
    [
        "models/m/manifest.json",
        "data/p/train.parquet",
        "tokens/p.m.t.64.16/report.json",
        "references/r/train.parquet",
        "baselines/p.train.test/metrics.json",
        "trials/d/seed-0/train.json",
        "trials/d/metrics.json",
        "bases/e/metrics.json",
        "comparisons/e.json",
        "probes/d.json",
        "tables/dpo.csv",
        "figures/curves.pdf",
        "report.html",
        "elsewhere/x",
    ],
)
def test_a_target_that_can_exist_is_not_refused(target: str) -> None:
    assert PLAN.refusal(target) is None


@pytest.mark.parametrize(
    ("target", "line"),
    [
        ("models/x/manifest.json", "found model x, which is not in the configuration; allowed: m"),
        ("data/x/train.parquet", "found dataset x, which is not in the configuration; allowed: p"),
        ("tokens/x/report.json", "found tokens x, .* allowed: p.m.t.64.16"),
        ("references/x/train.parquet", "found reference x, .* allowed: r"),
        ("overlaps/x.parquet", "found overlap x, .* allowed: there is none"),
        ("baselines/x/metrics.json", "found lookup x, .* allowed: p.train.test"),
        ("trials/x/seed-0/train.json", "found trial x, .* allowed: d"),
        ("trials/d/seed-3/train.json", "found run d/seed-3, .* allowed: d/seed-0"),
        ("bases/x/metrics.json", "found experiment x, .* allowed: e"),
        ("comparisons/x.json", "found experiment x, .* allowed: e"),
        ("probes/x.json", "found probe x, .* allowed: d"),
        ("tables/dop.csv", "found table dop, which does not exist; .*dpo"),
        ("figures/curvs.pdf", "found figure curvs, which does not exist; .*curves"),
    ],
)
def test_a_target_that_cannot_exist_is_one_line(target: str, line: str) -> None:
    found = PLAN.refusal(target)
    assert found is not None
    assert "\n" not in found
    assert re.match(line, found)
