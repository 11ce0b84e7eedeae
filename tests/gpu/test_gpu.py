"""The check of a GPU, and the same code on a CPU with a tiny model."""

import os
import shutil
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import gpu_check
from benchmarks.gpu_check import Case, cases_of
from scripts.common.cli import BadInput
from scripts.common.files import read_json
from tests.conftest import ROOT

GPU_CASES = [case.label for shape in ("tinyllama", "qwen-14b") for case in cases_of(shape)]


def original_environment() -> dict[str, str]:
    """Return the environment with the GPUs that pytest was started with; its own hides them."""
    environment = dict(os.environ)
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    started = Path("/proc/self/environ")
    for entry in started.read_bytes().split(b"\0") if started.exists() else []:
        name, _, value = entry.decode(errors="surrogateescape").partition("=")
        if name == "CUDA_VISIBLE_DEVICES":
            environment[name] = value
    return environment


@pytest.fixture(scope="session")
def gpu() -> dict[str, str]:
    """Return an environment with a GPU, or skip the test."""
    environment = original_environment()
    if environment.get("CUDA_VISIBLE_DEVICES") == "":
        pytest.skip("no GPU: CUDA_VISIBLE_DEVICES hides every one")
    if not shutil.which("nvidia-smi"):
        pytest.skip("no GPU: this machine has no nvidia-smi")
    asked = [sys.executable, "-c", "import sys, torch; sys.exit(not torch.cuda.is_available())"]
    if subprocess.run(asked, env=environment, timeout=120).returncode:
        pytest.skip("no GPU: torch.cuda.is_available() is false")
    return environment


@pytest.mark.gpu
@pytest.mark.parametrize("label", GPU_CASES)
def test_a_published_trial_trains_and_resumes(
    gpu: dict[str, str], label: str, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--cases", label,
               "--work", str(tmp_path), "--out", str(tmp_path / "gpu.json")]  # fmt: skip
    done = subprocess.run(command, env=gpu, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_json(tmp_path / "gpu.json")["cases"]
    assert row["resume_ok"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpu_check.write_snapshot("tiny", tmp_path_factory.mktemp("shape"))


@pytest.mark.parametrize("case", cases_of("tiny"), ids=lambda case: case.label)
def test_a_cpu_trains_and_resumes_a_tiny_shape(case: Case, tiny: Path) -> None:
    row = gpu_check.check(case, tiny)
    assert row["resumed_loss"] == row["loss"]
    assert row["adapter_difference"] == 0
    assert row["adapter_moved"] > 0
    assert row["resume_ok"]
    assert row["tokens_per_second"] > 0
    assert row["peak_memory_gb"] > 0


@pytest.mark.all
@pytest.mark.skipif(not find_spec("unsloth"), reason="unsloth is not installed")
def test_unsloth_trains_and_resumes_in_a_process_of_its_own(tiny: Path) -> None:
    row = gpu_check.row_of(Case("tiny", "dpo-1", "unsloth", "bfloat16", "none"), tiny)
    assert row["failed"] is None
    assert row["resume_ok"]


def test_a_lost_optimizer_is_found(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Trainer

    monkeypatch.setattr(Trainer, "_load_optimizer_and_scheduler", lambda *_: None)
    row = gpu_check.check(cases_of("tiny")[0], tiny)
    assert not row["resume_ok"]
    assert row["adapter_difference"] > gpu_check.ADAPTER_TOLERANCE * row["adapter_moved"] > 0


def test_a_case_that_fails_is_a_row_that_says_why(tiny: Path) -> None:
    case = Case("tiny", "sft-1", "transformers", "float16", "none")
    row = gpu_check.row_of(case, tiny)
    assert row["failed"].startswith("BadInput: precision float16 needs a GPU")
    assert "failed" in {cell for column in gpu_check.grid([row]).columns for cell in column.cells}


def test_a_killed_process_is_a_row_too(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(gpu_check, "run_apart", killed)
    assert "was killed" in gpu_check.row_of(cases_of("tiny")[0], tiny)["failed"]


def test_a_snapshot_in_shards_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scripts.lm.snapshots import load_base

    monkeypatch.setattr(gpu_check, "SHARD", 50_000)
    manifest = gpu_check.write_snapshot("tiny", tmp_path)
    files = [file["name"] for file in read_json(manifest)["files"]]
    assert sum(name.endswith(".safetensors") for name in files) > 1
    model = load_base(manifest, "float32", "none")
    assert model.model.norm.weight.eq(1).all()
    assert float(model.lm_head.weight.std()) == pytest.approx(0.02, rel=0.1)


def test_unknown_cases_are_named(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(BadInput, match="--cases: found x; allowed: tiny/sft-1"):
        gpu_check.select(["tiny"], ["x"])
    assert gpu_check.main(["--list"]) == 0
    assert capsys.readouterr().out.splitlines() == GPU_CASES


def test_without_a_gpu_its_cases_are_skipped_with_a_reason(capsys: pytest.CaptureFixture) -> None:
    assert gpu_check.main(["--shapes", "tinyllama"]) == 0
    assert capsys.readouterr().out.startswith("skipped 10 cases, no GPU: ")


def test_shapes_are_those_of_the_real_models(hub: Path) -> None:
    for shape, path in (("qwen-14b", "Qwen/Qwen2.5-14B-Instruct"),
                        ("tinyllama", "TinyLlama/TinyLlama-1.1B-Chat-v1.0")):  # fmt: skip
        real = read_json(hub / "models" / path / "config.json")
        assert gpu_check.SHAPES[shape].items() <= real.items()
        assert not real["tie_word_embeddings"]
