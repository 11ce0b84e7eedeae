"""The backend unsloth: the same trials as with transformers, in a separate process."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from scripts.common.files import read_json, read_jsonl, read_rows, sha256, write_json, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.lm.pairs import pair_logps
from scripts.lm.snapshots import attach_adapter, load_base, merge_adapters
from scripts.train import dpo, reference, sft
from tests.train.conftest import resolved

ROOT = Path(__file__).resolve().parents[2]
STAGES = {"sft": sft, "reference": reference, "dpo": dpo}

pytestmark = pytest.mark.skipif(not find_spec("unsloth"), reason="unsloth is not installed")

# Unsloth patches the process that imports it, so it gets its own, without network access.
RUNNER = """
import json, socket, sys

def refuse(*_):
    raise AssertionError("reached for the network")

socket.socket.connect = socket.getaddrinfo = refuse
from pathlib import Path
from scripts.lm.backends import start_backend

start_backend("unsloth", Path("scratch"))
from tests.train.nursery import act_in_step
from tests.train.test_unsloth import STAGES

for stage, command in json.loads(Path(sys.argv[1]).read_text()):
    if Path(command[-1]).name.startswith("resumed"):
        act_in_step(2, {"signal": 15})
        try:
            STAGES[stage].main(command)
        except SystemExit as end:
            assert end.code == 128 + 15
        else:
            raise AssertionError("it was not stopped")
    assert STAGES[stage].main(command) == 0
"""

KINDS = {
    "float32": {"precision": "float32", "quantization": "none"},
    "bfloat16": {"precision": "bfloat16", "quantization": "none"},
    "nf4": {"precision": "float32", "quantization": "nf4"},
}


def commands(backend: str, model: Path, folder: Path) -> list[tuple[str, list[str]]]:
    """Return the stages and command lines to run with each backend."""
    model_options = ["--model", str(model)]
    commands = []

    def trial(method: str, name: str, kind: dict[str, str], *options: str, **trainer: Any) -> None:
        settings = resolved(method, **({"max_steps": 4, "logging_steps": 1} | trainer))
        settings |= kind | {"backend": backend, "name": name}
        if name.endswith("overwritten"):
            settings |= {"start": "t", "start_as": "overwritten"}
            settings["lora"] |= {"r": 8, "target_modules": ["q_proj", "v_proj"]}
        words = ["--trial", json.dumps(settings), *model_options, *options]
        commands.append((method, [*words, "--out", str(folder / backend / name)]))

    rows = ["--tokens", str(folder / "sft.parquet")]
    trial("sft", "untrained", KINDS["float32"], *rows, learning_rate=0.0, max_steps=1)
    trial("sft", "again", KINDS["float32"], *rows)
    for name, kind in KINDS.items():
        checkpointing = {"gradient_checkpointing": name == "bfloat16"}
        optim = {"optim": "paged_adamw_8bit" if name == "bfloat16" else "adamw_torch"}
        trial("sft", f"{name}-sft", kind, *rows, **checkpointing, **optim)
        start = ["--start", str(folder / backend / f"{name}-sft" / "adapter")]
        pairs = [*start, "--tokens", str(folder / "dpo.parquet")]
        logps = str(folder / backend / f"{name}.parquet")
        words = ["--backend", backend, *model_options, *pairs]
        words += [word for key, value in kind.items() for word in (f"--{key}", value)]
        commands.append(("reference", [*words, "--out", logps]))
        pairs += ["--reference", logps]
        trial("dpo", f"{name}-dpo", kind, *pairs, **checkpointing, **optim)
        if name == "float32":
            trial("dpo", f"{name}-overwritten", kind, *pairs)
        if backend == "unsloth" and name == "bfloat16":
            trial("sft", f"resumed-{name}-sft", kind, *rows, **checkpointing, **optim)
        if backend == "unsloth" and name == "nf4":
            trial("dpo", f"resumed-{name}-dpo", kind, *pairs, **checkpointing, **optim)
    return commands


@pytest.fixture(scope="module")
def ran(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the results of both backends, each in a folder named after it."""
    folder = tmp_path_factory.mktemp("ran")
    demonstrations = [
        {"id": f"{i}", "prompt_ids": [1, 20 + i, 30], "completion_ids": [40 + i] * (i + 1) + [2]}
        for i in range(7)
    ]
    pairs = [
        {"id": f"{i}", "prompt_ids": [1, 20 + i, 30], "chosen_ids": [40 + i] * (i + 1) + [2],
         "rejected_ids": [60 + i] * (7 - i)}
        for i in range(7)
    ]  # fmt: skip
    write_rows(folder / "sft.parquet", demonstrations, COMPLETION_TOKENS)
    write_rows(folder / "dpo.parquet", pairs, PREFERENCE_TOKENS)
    for stage, command in commands("transformers", tiny_model, folder):
        assert STAGES[stage].main(command) == 0
    write_json(folder / "commands.json", commands("unsloth", tiny_model, folder))
    (folder / "cwd").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, str(folder / "commands.json")], cwd=folder / "cwd",
        # On a CPU without native bfloat16, Unsloth would otherwise compute in float32.
        env=os.environ | {"PYTHONPATH": str(ROOT), "UNSLOTH_CPU_BF16": "1"},
        text=True, capture_output=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def losses(ran: Path, backend: str, trial: str) -> list[float]:
    return [row["loss"] for row in read_jsonl(ran / backend / trial / "history.jsonl")]


TRIALS = [f"{kind}-{method}" for kind in KINDS for method in ("sft", "dpo")]


@pytest.mark.parametrize("trial", [*TRIALS, "float32-overwritten"])
def test_the_losses_are_those_of_transformers(ran: Path, trial: str) -> None:
    ours, theirs = (losses(ran, backend, trial) for backend in ("unsloth", "transformers"))
    assert len(ours) == 4
    # The bfloat16 runs use two different optimizers, so only the first step is the same.
    same = 1 if trial.startswith("bfloat16") else 4
    assert ours[:same] == pytest.approx(theirs[:same], abs=1e-4)
    assert ours == pytest.approx(theirs, abs=2e-2)
    if trial.endswith("-dpo"):
        # The reference's passes hold different rows than a step, so rounding differs.
        rounding = 1e-3 if trial.startswith("bfloat16") else 1e-5
        assert ours[0] == pytest.approx(math.log(2), abs=rounding)


def test_a_fresh_adapter_is_made_from_the_seed_as_peft_makes_it(ran: Path) -> None:
    from safetensors.torch import load_file

    name = "untrained/adapter/adapter_model.safetensors"
    ours, theirs = (load_file(ran / backend / name) for backend in ("unsloth", "transformers"))
    assert list(ours) == list(theirs)
    assert all(weight.equal(theirs[name]) for name, weight in ours.items())
    assert any(weight.any() for weight in ours.values())


def test_same_seed_same_bytes(ran: Path) -> None:
    for name in ("adapter/adapter_model.safetensors", "history.jsonl"):
        assert sha256(ran / "unsloth" / "again" / name) == sha256(
            ran / "unsloth" / "float32-sft" / name
        )


@pytest.mark.parametrize("trial", ["bfloat16-sft", "nf4-dpo"])
def test_a_trial_that_was_stopped_resumes_to_the_same_bytes(ran: Path, trial: str) -> None:
    folder = ran / "unsloth"
    for name in ("adapter/adapter_model.safetensors", "history.jsonl"):
        assert sha256(folder / f"resumed-{trial}" / name) == sha256(folder / trial / name)
    assert read_json(folder / f"resumed-{trial}" / "train.json")["resumed"] == 1


def test_the_reference_is_that_of_transformers(ran: Path) -> None:
    for kind, near in (("float32", 1e-4), ("bfloat16", 0.2), ("nf4", 1e-3)):
        ours, theirs = (
            read_rows(ran / backend / f"{kind}.parquet") for backend in ("unsloth", "transformers")
        )
        for row, other in zip(ours, theirs, strict=True):
            assert row == pytest.approx(other, abs=near)


@pytest.mark.parametrize("trial", ["float32-dpo", "float32-overwritten"])
def test_its_adapter_loads_onto_transformers_model(ran: Path, tiny_model: Path, trial: str) -> None:
    """The policies of both backends agree, and differ from the base."""
    rows = read_rows(ran / "dpo.parquet")
    found = []
    for backend in ("unsloth", "transformers"):
        start = [ran / backend / "float32-sft" / "adapter"] if trial == "float32-dpo" else []
        model = merge_adapters(load_base(tiny_model, "float32", "none"), start)
        policy = attach_adapter(model, ran / backend / trial / "adapter")
        found.append([row["chosen_logp"] for row in pair_logps(policy, rows)])
    assert found[0] == pytest.approx(found[1], abs=1e-2)
    base = load_base(tiny_model, "float32", "none")
    before = [row["chosen_logp"] for row in pair_logps(base, rows)]
    assert found[0] != pytest.approx(before, abs=0.1)


def test_train_json_says_what_ran(ran: Path) -> None:
    for trial in TRIALS:
        ours, theirs = (
            read_json(ran / backend / trial / "train.json")
            for backend in ("unsloth", "transformers")
        )
        assert (ours["backend"], theirs["backend"]) == ("unsloth", "transformers")
        assert set(ours["versions"]) - set(theirs["versions"]) == {"unsloth", "unsloth_zoo"}
        for key in (
            "precision",
            "autocast",
            "adapter_precision",
            "trainable_parameters",
            "tokens",
            "steps",
        ):
            assert ours[key] == theirs[key], key
        assert ours["adapter_precision"] == "float32"
    # On a CPU, Unsloth replaces the 8-bit optimizer.
    name = "bfloat16-sft/train.json"
    asked = [
        read_json(ran / backend / name)["optimizer"] for backend in ("transformers", "unsloth")
    ]
    assert asked == ["bitsandbytes.optim.adamw.AdamW", "torch.optim.adamw.AdamW (fused)"]


def test_its_files_are_those_of_every_trial_and_no_more(ran: Path) -> None:
    assert list((ran / "cwd").rglob("*")) == []
    for trial in [*TRIALS, "float32-overwritten"]:
        ours, theirs = (
            sorted(path.relative_to(ran / backend / trial) for path in
                   (ran / backend / trial).rglob("*"))
            for backend in ("unsloth", "transformers")
        )  # fmt: skip
        assert ours == theirs
        configs = [
            read_json(ran / backend / trial / "adapter" / "adapter_config.json")
            for backend in ("unsloth", "transformers")
        ]
        assert configs[0] == configs[1]
