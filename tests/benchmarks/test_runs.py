"""Each kind of case once, tiny: contestants that see the same steps, and a page about them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import gpu, rendering, summary
from benchmarks.cases import CASES, Case
from benchmarks.contestants import measure, prepare
from benchmarks.meter import Meter
from scripts.lm.snapshots import load_base


def tiny(case: Case) -> Case:
    shape = "tiny-qwen2" if "qwen2" in case.shape else "tiny-llama"
    return replace(case, shape=shape, steps=2, ideas=3)


def first(task: str, **fields: Any) -> Case:
    return next(
        tiny(case)
        for case in CASES
        if case.task == task and all(getattr(case, name) == value for name, value in fields.items())
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("benchmarks")
    prepare(["tiny-llama", "tiny-qwen2"], folder, folder / "no hub")
    return folder


FEW = {"preferences": {"corpus": "titles"}, "score": {"once": False}}
MORE = {"preferences": {"corpus": "dialogues", "shape": "llama"},
        "demonstrations": {"batch": 2, "completion_only": False}}  # fmt: skip


@pytest.fixture(scope="module", params=[FEW, pytest.param(MORE, marks=pytest.mark.all)],
                ids=["few", "more"])  # fmt: skip
def done(request: pytest.FixtureRequest, folder: Path) -> list[tuple[Case, summary.Turns]]:
    cases = [first(task, **fields) for task, fields in request.param.items()]
    return [
        (case, {name: [measure(case, name, folder)] for name in case.contestants}) for case in cases
    ]


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
        own = turns["prefmake"][0]
        assert own["policy_tokens"] == own["layout"]["processed_tokens"]
        fewest = summary.fewest(summary.needed_of(case, turns)).tokens
        assert own["policy_tokens"] >= fewest
        if case.task == "preferences":
            assert own["layout"]["fewest_tokens"] == fewest


def test_the_page_has_every_figure(done: list[tuple[Case, summary.Turns]]) -> None:
    under = {"machine": {"device": "a processor", "cores": 1, "system": "a system"},
             "python": "3", "versions": {"trl": "1", "unsloth": None},
             "titles": "made up"}  # fmt: skip
    page = rendering.page("python -m x", ["2026-01-01"], under, done, [gpu.NOT_RUN])
    for case, _ in done:
        assert f"### {case.name[0].upper()}{case.name[1:]}" in page
    assert page.count("the same, at most") == len(done)
    assert "nan" not in page
    assert "Made by `python -m x`, 2026-01-01, on a processor" in page


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


def test_a_sweeps_configuration_is_one(folder: Path, tmp_path: Path) -> None:
    """Its trials resolve, and train what TRL's command line is told to train."""
    import json

    from benchmarks.sweep import TRIALS, own_config, stock_command, write_data
    from scripts.config.check import load
    from scripts.config.plan import make_plan

    case = first("sweep")
    model = folder / "models" / case.shape / "snapshot"
    write_data(case, folder, tmp_path / "data")
    (tmp_path / "c.yaml").write_text(json.dumps(own_config(case, model, tmp_path / "data")))
    runs = make_plan(load([tmp_path / "c.yaml"])).runs
    trials = [run.training for run in runs.values()]
    assert len(trials) == len(TRIALS) == 5
    for number, trial in enumerate(trials):
        trainer = trial.trainer
        words = stock_command(case, number, model, tmp_path / "data", tmp_path / "out")
        for name in ("learning_rate", "beta", "per_device_train_batch_size",
                     "gradient_accumulation_steps", "lr_scheduler_type"):  # fmt: skip
            assert words[words.index(f"--{name}") + 1] == str(trainer[name])
        assert words[words.index("--lora_r") + 1] == str(trial.lora["r"])
    assert len({trial.reference for trial in trials}) == 1


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
