"""What is installed is compared with an env's lock."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.provenance import environment
from tests.conftest import ROOT

LOCK = """\
#!/bin/sh
uv pip install --no-deps --require-hashes -r - <<'LOCK'
charset-normalizer==3.4 \\
    --hash=sha256:00
numpy==2.4 ; python_full_version < '3' \\
    --hash=sha256:00
numpy==2.5 ; python_full_version >= '3' \\
    --hash=sha256:00
pywin32==1.0 ; sys_platform == 'win32' and sys_platform == 'linux' \\
    --hash=sha256:00
{torch}LOCK
"""
CUDA = """\
torch==2.13.0 \\
    --hash=sha256:00
triton==3.7.1 ; python_full_version >= '3' \\
    --hash=sha256:00
"""
CPU = """\
torch==2.13.0 ; sys_platform == 'none' \\
    --hash=sha256:00
torch==2.13.0+cpu ; sys_platform != 'none' \\
    --hash=sha256:00
"""
INSTALLED = {
    "charset_normalizer": "3.4",
    "numpy": "2.5",
    "torch": "2.13.0+cpu",
    "of_another_lock": "1.0",
}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of installed packages that are those of the env `train`, in its CPU form."""
    envs = tmp_path / "envs"
    envs.mkdir()
    for form, torch in (("train", CUDA), ("train.cpu", CPU), ("data", "")):
        (envs / f"{form}.yaml").write_text("", encoding="utf-8")
        (envs / f"{form}.post-deploy.sh").write_text(LOCK.format(torch=torch), encoding="utf-8")
    folder = tmp_path / "site-packages"
    for name, version in INSTALLED.items():
        (folder / f"{name}-{version}.dist-info").mkdir(parents=True)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    # It evaluates markers, and is not among these packages.
    import packaging.markers  # noqa: F401

    monkeypatch.setattr(sys, "path", [str(tmp_path / "no folder"), str(folder)])
    monkeypatch.setattr(sys, "platform", "linux")
    return folder


def renamed(packages: Path, old: str, new: str | None) -> None:
    folder = packages / f"{old}.dist-info"
    folder.rename(packages / f"{new}.dist-info") if new else folder.rmdir()


def test_what_is_as_locked_has_no_difference(packages: Path) -> None:
    assert environment.drift("train", "cpu") == []


def test_a_package_that_an_old_pip_installed_without_a_wheel_counts(packages: Path) -> None:
    for folder in list(packages.iterdir()):
        folder.rename(packages / f"{folder.name.removesuffix('.dist-info')}-py3.11.egg-info")
    assert environment.drift("train", "cpu") == []


def test_an_env_without_torch_has_one_form(packages: Path) -> None:
    assert environment.form("data", "cpu") == environment.form("data", "cuda") == "data"
    assert environment.drift("data", "cpu") == environment.drift("data", "cuda") == []
    assert environment.form("train", "cpu") == "train.cpu"
    with pytest.raises(FileNotFoundError):
        environment.form("none", "cpu")


def test_an_env_digest_covers_the_lock(packages: Path) -> None:
    before = environment.env_digest("train", "cpu")
    assert before != environment.env_digest("train", "cuda")
    with open(packages.parent / "envs" / "train.cpu.post-deploy.sh", "a") as lock:
        lock.write("#")
    assert environment.env_digest("train", "cpu") != before
    with pytest.raises(FileNotFoundError):
        environment.env_digest("none", "cpu")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("numpy-2.5", "numpy-2.4", "numpy: 2.5 is locked, 2.4 is installed"),
        ("numpy-2.5", None, "numpy: 2.5 is locked, is missing"),
        (
            "charset_normalizer-3.4",
            "Charset.Normalizer-3.5",
            "charset-normalizer: 3.4 is locked, 3.5 is installed",
        ),
        (
            "torch-2.13.0+cpu",
            "torch-2.12.1",
            "torch: 2.13.0+cpu (CPU build) is locked, 2.12.1 (CUDA build) is installed",
        ),
    ],
)
def test_each_difference_is_a_line(old: str, new: str | None, line: str, packages: Path) -> None:
    renamed(packages, old, new)
    assert environment.drift("train", "cpu") == [line]


@pytest.mark.parametrize("build", ["torch-2.13.0", "torch-2.13.0+cu126"])
def test_a_cuda_build_is_no_difference_on_a_cpu(build: str, packages: Path) -> None:
    renamed(packages, "torch-2.13.0+cpu", build)
    assert environment.drift("train", "cpu") == []


def test_the_first_of_two_on_the_path_counts(
    packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "before" / "numpy-2.6.dist-info").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "before"), *sys.path])
    assert environment.drift("train", "cpu") == ["numpy: 2.5 is locked, 2.6 is installed"]


def test_the_other_form_is_suggested_if_it_is_installed(packages: Path) -> None:
    with pytest.raises(BadInput) as caught:
        environment.main(["--env", "train", "--accelerator", "cuda"])
    assert str(caught.value).splitlines() == [
        "2 packages differ from envs/train.post-deploy.sh:",
        "  torch: 2.13.0 (CUDA build) is locked, 2.13.0+cpu (CPU build) is installed",
        "  triton: 3.7.1 is locked, is missing",
        "  (choose the form that is installed here with --config accelerator=cpu; or make the "
        "launcher environment again with make setup; or run with --sdm conda; or run anyway and "
        "have the results marked with --config allow_env_drift=true)",
    ]
    renamed(packages, "numpy-2.5", "numpy-2.4")
    with pytest.raises(BadInput) as caught:
        environment.main(["--env", "train", "--accelerator", "cuda"])
    assert "accelerator=" not in str(caught.value)


def test_comparing_imports_only_the_package_for_markers() -> None:
    """It runs before every job, so it must be fast."""
    code = (
        "import sys; from scripts.provenance.environment import drift; drift('train', 'cpu');"
        "print(*{name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    loaded = {*done.stdout.split()}
    assert "packaging" in loaded, done.stderr
    assert {"torch", "transformers", "numpy", "pydantic"}.isdisjoint(loaded)
