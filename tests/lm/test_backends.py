"""Backends: each is tried separately, and refused in one line if it cannot run."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.lm.backends import BACKENDS, start_backend
from scripts.lm.devices import device_name

ROOT = Path(__file__).resolve().parents[2]


def check(names: list[str], out: Path, first: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run the check in `out`'s folder; packages in the folder `first` hide the installed ones."""
    command = [sys.executable, "-m", "scripts.lm.backends", *names, "--out", str(out)]
    paths = os.pathsep.join(map(str, (first, ROOT)))
    return subprocess.run(
        command, cwd=out.parent, env=os.environ | {"PYTHONPATH": paths}, text=True,
        capture_output=True, timeout=120,
    )  # fmt: skip


def broken(package: str, folder: Path) -> Path:
    """Return a folder that holds a package whose import fails."""
    path = folder / "broken" / package / "__init__.py"
    path.parent.mkdir(parents=True)
    path.write_text("raise ImportError('built for\\nanother machine')\n", encoding="utf-8")
    return folder / "broken"


def test_an_unknown_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="found tensorflow; allowed are transformers, unsloth"):
        start_backend("tensorflow", tmp_path)


def test_versions_and_device_of_what_runs_here(tmp_path: Path) -> None:
    from importlib.metadata import version

    done = check(["transformers"], tmp_path / "backends.json")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    found = read_json(tmp_path / "backends.json")
    assert list(found) == ["transformers"]
    assert found["transformers"]["device"] == device_name()
    assert found["transformers"]["versions"]["trl"] == version("trl")
    assert "unsloth" not in found["transformers"]["versions"]


@pytest.mark.parametrize(
    ("name", "package", "other"),
    [("unsloth", "unsloth", "transformers"), ("transformers", "peft", "unsloth")],
)
def test_what_cannot_be_imported_is_one_line_and_no_file(
    tmp_path: Path, name: str, package: str, other: str
) -> None:
    done = check([name], tmp_path / "backends.json", broken(package, tmp_path))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"error: backend {name} cannot run here: ImportError: built for another machine; "
        f"use backend: {other} instead"
    )
    assert not (tmp_path / "backends.json").exists()


def test_unsloth_after_transformers_is_refused(tmp_path: Path) -> None:
    import transformers  # noqa: F401

    assert "unsloth" not in sys.modules
    with pytest.raises(BadInput, match="transformers was imported first"):
        start_backend("unsloth", tmp_path)


def test_unsloth_has_no_float32_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(BadInput, match="found float32; on a GPU, backend unsloth computes in 16"):
        BACKENDS["unsloth"].load("manifest.json", "float32", "none")


@pytest.mark.all
@pytest.mark.skipif(not find_spec("unsloth"), reason="unsloth is not installed")
def test_unsloth_runs_here_beside_transformers(tmp_path: Path) -> None:
    done = check(["transformers", "unsloth"], tmp_path / "backends.json")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    found = read_json(tmp_path / "backends.json")
    for name in found:
        assert set(found[name]["versions"]) == set(BACKENDS[name].packages)
    # Only this file: what Unsloth writes goes elsewhere.
    assert [path.name for path in tmp_path.iterdir()] == ["backends.json"]
