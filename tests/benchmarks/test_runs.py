"""Each kind of case once, tiny: contestants that see the same steps, and a page about them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import contestants, corpora, fast_path, gpu, meter, rendering, summary
from benchmarks.cases import CACHED, CASES, NEWER, OWN, TRL, Case
from benchmarks.contestants import measure
from benchmarks.ledger import Ledger
from benchmarks.meter import Meter
from scripts.lm.snapshots import load_base
from tests.conftest import ROOT


def tiny(case: Case) -> Case:
    shape = "tiny-qwen2" if "qwen2" in case.shape else "tiny-llama"
    return replace(case, shape=shape, steps=2, ideas=3, precision="float32")


def first(task: str, **fields: Any) -> Case:
    return next(
        tiny(case)
        for case in CASES
        if case.task == task and all(getattr(case, name) == value for name, value in fields.items())
    )


FEW = {"preferences": {"shape": "qwen2"}, "score": {}}
MORE = {"preferences": {"shape": "llama"}, "demonstrations": {"shape": "llama"}}


UNDER = {
    "machine": {"device": "a processor", "cores": 1, "system": "a system"},
    "python": "3",
    "versions": {"trl": "1", "unsloth": None},
    "code": "this",
    "measuring": "as now",
}


@pytest.fixture(
    scope="module",
    params=[pytest.param(few, marks=pytest.mark.all) for few in (FEW, MORE)],
    ids=["few", "more"],
)
def ledger(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Ledger:
    """Measure some cases in this process, with a small matrix product."""
    kept = Ledger(tmp_path_factory.mktemp("kept") / "kept.json", UNDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meter, "MATRIX", 8)
        patch.setattr(contestants, "run_apart", lambda function, *given: function(*given))
        for task, fields in request.param.items():
            case = first(task, **fields)
            for name in case.contestants:
                kept.keep(case, name, 0, measure(case, name, folder))
    return kept


@pytest.fixture(scope="module")
def done(ledger: Ledger) -> list[summary.Done]:
    return fast_path.measured(list(map(tiny, CASES)), ledger)


def test_contestants_have_the_same_losses(done: list[tuple[Case, summary.Turns]]) -> None:
    for case, turns in done:
        assert summary.same_losses(case, turns), case.name
        (losses,) = {len(turns[name][0]["losses"]) for name in turns if summary.compared(name)}
        assert losses


def test_steps_are_compared_that_need_the_same(done: list[tuple[Case, summary.Turns]]) -> None:
    for case, turns in done:
        found = [turns[n][0]["needed"] for n in case.contestants if summary.compared(n)]
        seen = [needed for needed in found if needed]
        assert all(needed == seen[0] for needed in seen)
        assert all(needed["tree"][0] <= needed["tree_of_pairs"][0] for needed in seen[0])


def test_what_passes_is_what_prefmake_says(done: list[tuple[Case, summary.Turns]]) -> None:
    """Positions counted by a hook in the model, beside those that the trainer counts itself; and
    two counts of the fewest, for pairs, where both are of the same tree."""
    for case, turns in done:
        if case.task == "score":
            continue
        own = turns[OWN][0]
        assert own["policy_tokens"] == own["layout"]["processed_tokens"]
        fewest = summary.fewest(summary.needed_of(case, turns)).tokens
        assert own["policy_tokens"] >= fewest
        if case.task == "preferences":
            assert own["layout"]["fewest_tokens"] == fewest


def test_the_page_has_every_figure(ledger: Ledger, done: list[summary.Done]) -> None:
    page = rendering.page("python -m x", ledger, done, ["a case: a reason"], [gpu.NOT_RUN])
    assert len(done) == 2
    for case, _ in done:
        assert f"### {case.name[0].upper()}{case.name[1:]}" in page
    assert page.count("the same, at most") == len(done)
    assert "nan" not in page
    assert "Made by `python -m x` on a processor" in page
    assert "- a case: a reason." in page
    assert "older code" not in page


def test_a_page_says_what_is_old(ledger: Ledger, done: list[summary.Done]) -> None:
    newer = Ledger(ledger.path, UNDER | {"code": "newer"})
    page = rendering.page("python -m x", newer, done, [], [gpu.NOT_RUN])
    assert page.count("in part with older code or packages") == len(done)


def test_a_meter_counts_positions_and_time(folder: Path) -> None:
    import torch

    base = load_base(folder / "models" / "tiny-llama" / "manifest.json", "float32", "none")
    meter = Meter(base)
    with meter.reference(), torch.no_grad():
        base(input_ids=torch.ones(2, 7, dtype=torch.long))
    base(input_ids=torch.ones(3, 5, dtype=torch.long))
    assert meter.reference_tokens == 14
    assert meter.passed == {"reference": 14, "policy": 15}
    assert meter.reference_seconds["cpu"] > 0


def test_steps_are_timed_behind_the_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = load_base(folder / "models" / "tiny-llama" / "manifest.json", "float32", "none")
    meter = Meter(base)
    times = iter([10.0, 12.0, 13.0, 17.0])
    monkeypatch.setattr("benchmarks.meter.now", lambda: {"cpu": next(times)})
    meter.on_train_begin()
    for _ in range(4):
        meter.on_step_end()
    assert meter.metrics()["step_seconds"] == {"cpu": (17.0 - 10.0) / 3}


def test_a_sweeps_commands_are_counted_whole(tmp_path: Path) -> None:
    """CPU time of a child's child, which the command waits for."""
    import sys

    from benchmarks.sweep import run_counted

    burn = "import time\nwhile time.process_time() < 0.5: pass"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    assert run_counted([sys.executable, "-c", nested], tmp_path)["cpu"] >= 0.5
    with pytest.raises(RuntimeError, match="ended with 3"):
        run_counted([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)


def test_a_sweeps_commands_import_the_newer_packages(tmp_path: Path) -> None:
    import sys

    from benchmarks.sweep import run_counted

    for version in ("one", "other"):
        (tmp_path / version / "trl").mkdir(parents=True)
        (tmp_path / version / "trl" / "__init__.py").write_text(f"print({version!r})")
    places = (tmp_path / "other", tmp_path / "one")
    assert (
        run_counted([sys.executable, "-c", "import trl"], tmp_path, *places)["output"] == "other\n"
    )


def test_a_sweeps_configuration_is_one(folder: Path, tmp_path: Path) -> None:
    """Its trials resolve, and train what TRL's command line is told to train."""
    import json

    from benchmarks.sweep import TRIALS, own_config, stock_trial, write_data
    from scripts.config.check import load
    from scripts.config.plan import make_plan

    case = first("sweep")
    model = folder / "models" / case.shape / "snapshot"
    write_data(case, folder / "titles" / "train.jsonl", tmp_path / "data")
    (tmp_path / "c.yaml").write_text(json.dumps(own_config(case, model, tmp_path / "data")))
    runs = make_plan(load([tmp_path / "c.yaml"])).runs
    trials = [run.training for run in runs.values()]
    assert len(trials) == len(TRIALS) == 5
    for number, trial in enumerate(trials):
        trainer = trial.trainer
        stock = stock_trial(case, TRL, number, model, tmp_path)
        for name in ("learning_rate", "beta", "per_device_train_batch_size",
                     "gradient_accumulation_steps", "lr_scheduler_type"):  # fmt: skip
            assert stock["arguments"][name] == trainer[name]
        assert stock["lora"]["r"] == trial.lora["r"]
    assert len({trial.reference for trial in trials}) == 1


@pytest.mark.parametrize(("contestant", "second"), [(CACHED, 0), (TRL, 3)])
def test_trials_share_trls_cached_references_if_rows_have_no_limit(
    contestant: str, second: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials that differ in learning rate; 12 pairs are 3 batches of the reference pass."""
    import datasets

    from benchmarks.stock_trial import main
    from benchmarks.sweep import stock_trial, write_data

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    case = replace(first("sweep"), steps=1, accumulation=3)
    write_data(case, folder / "titles" / "train.jsonl", tmp_path / "data")
    found = []
    for number in range(2):
        model = folder / "models" / case.shape / "snapshot"
        trial = stock_trial(case, contestant, number, model, tmp_path)
        trial["arguments"]["precompute_ref_log_probs"] = True
        found.append(main(trial)["reference_batches"])
    assert found == [3, second]


def test_what_is_not_there_is_told_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in CASES if case.real and case.corpus == "hh-rlhf")
    assert fast_path.lacking(first("score"), TRL, tmp_path, tmp_path) is None
    monkeypatch.setattr(fast_path, "BASE", tmp_path / "base")
    reason = fast_path.lacking(case, OWN, tmp_path, tmp_path)
    assert reason == "the model is not there; `make base` makes it"
    (tmp_path / "base").mkdir()
    file = corpora.REAL_ROWS["hh-rlhf"].path(tmp_path)
    command = (
        "hf download Anthropic/hh-rlhf harmless-base/test.jsonl.gz --repo-type dataset "
        f"--local-dir {tmp_path}/datasets/Anthropic/hh-rlhf"
    )
    reason = fast_path.lacking(case, OWN, tmp_path, tmp_path)
    assert reason == f"the rows are not there; get them with `{command}`"
    file.parent.mkdir(parents=True)
    file.touch()
    assert fast_path.lacking(case, OWN, tmp_path, tmp_path) is None
    reason = fast_path.lacking(case, f"{NEWER}, precomputed", tmp_path, tmp_path)
    assert reason == f"{NEWER} is not there; `make bench` installs it"
    monkeypatch.setattr(fast_path, "hub_folder", lambda: tmp_path)
    lines = [line for line in fast_path.not_measured([], tmp_path) if line.startswith(case.name)]
    newer = f"{NEWER}; {NEWER}, precomputed"
    assert lines == [
        f"{case.name} ({newer}): {reason}",
        f"{case.name} ({TRL}; {TRL}, precomputed; {OWN}): not measured",
    ]


def test_versions_are_those_that_are_installed() -> None:
    import trl

    pinned = (ROOT / "benchmarks" / "trl-1.16.0.txt").read_text(encoding="utf-8")
    assert f"TRL {trl.__version__}" == TRL
    assert f"trl=={NEWER.removeprefix('TRL ')} --hash" in pinned
    with pytest.raises(RuntimeError, match=f"{NEWER}: TRL {trl.__version__} was imported"):
        contestants._require_version(NEWER)


def test_both_kernels_attend_alike() -> None:
    """Uncompiled, on this processor; the mask is that of a shared start and its branches."""
    import torch

    branch = gpu.ancestry(96)
    given = [part.detach() for part in gpu.layer("tiny", 96, "cpu", torch.float32)]
    one, other = (attend(*given) for attend in gpu.kernels(branch, compiled=False).values())
    assert torch.allclose(one, other, atol=1e-5)
    mask = gpu.explicit(branch)[0, 0]
    assert mask[95, 0]
    assert mask[95, 95]
    assert not mask[95, 40]
    assert not mask[0, 1]
