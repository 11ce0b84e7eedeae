"""Each step of the container recipe runs, without a container engine.

docs/environments.md says what that cannot show.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from envs import lock
from scripts.provenance.environment import STAGES, form, form_files
from tests.conda import stand_in
from tests.conftest import ROOT

RECIPE = ROOT / "envs" / "Containerfile"
SMALL = ("markupsafe", "jinja2")


def steps(arguments: dict[str, str]) -> list[tuple[str, str]]:
    """Return the recipe's instructions with their words, build arguments filled in."""
    text = RECIPE.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"^([A-Z]+) (.+)$", text, re.MULTILINE)
    return [
        (kind, re.sub(r"\"?\$\{?(\w+)\}?\"?", lambda it: arguments[it[1]], words))
        for kind, words in found
        if kind != "ARG"
    ]


def build(root: Path, context: Path, variables: dict[str, str], accelerator: str) -> None:
    """Follow the recipe on this machine, with absolute paths below `root`."""
    for kind, words in steps({"ACCELERATOR": accelerator, "MINIFORGE": "none"}):
        words = re.sub(r"(?<= )/(?=\w)", f"{root}/", words)
        if kind == "COPY":
            *patterns, target = words.split()
            Path(target).mkdir(parents=True, exist_ok=True)
            for pattern in patterns:
                files = sorted(context.glob(pattern))
                assert files, f"COPY {pattern}: no such file"
                for file in files:
                    shutil.copy2(file, target)
        elif kind == "RUN":
            done = subprocess.run(
                ["sh", "-c", words], cwd=root, env=variables, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
        else:
            assert kind in ("FROM", "ENV"), kind


@pytest.fixture(scope="module")
def conda(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment in which the stand-in for conda is found."""
    return stand_in(tmp_path_factory.mktemp("conda") / "root")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return a copy of envs/ in which each lock is cut down to a few small packages."""
    shutil.copytree(ROOT / "envs", tmp_path / "context" / "envs")
    shutil.copytree(ROOT / "rules", tmp_path / "context" / "rules")
    for path in (tmp_path / "context" / "envs").glob("*.post-deploy.sh"):
        text = path.read_text(encoding="utf-8")
        content = lock.lock_of(text)
        few = [
            block for line, block in lock.packages(content).items() if lock.name_of(line) in SMALL
        ]
        assert len(few) == len(SMALL)
        path.write_text(text.replace(content, "".join(few)), encoding="utf-8")
    return tmp_path / "context"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="the envs' interpreter is Python 3.11")
@pytest.mark.parametrize("accelerator", ["cpu", pytest.param("cuda", marks=pytest.mark.all)])
def test_its_envs_lie_where_snakemake_looks_for_them_in_an_image(
    accelerator: str, context: Path, conda: dict[str, str], tmp_path: Path
) -> None:
    root = tmp_path / "image"
    root.mkdir()
    build(root, context, conda, accelerator)
    made = {path.name for path in (root / "conda-envs").iterdir()}
    assert made == set(looked_for(context, conda, accelerator))
    for name in made:
        code = "import jinja2, sys; print(sys.prefix)"
        python = root / "conda-envs" / name / "bin" / "python"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str(root / "conda-envs" / name)


def looked_for(context: Path, conda: dict[str, str], accelerator: str) -> list[str]:
    """Return the names that Snakemake gives to the envs' folders in an image."""
    lines = [
        f'rule {stage}:\n    output: "{stage}"\n    conda: "envs/{form(stage, accelerator)}.yaml"\n'
        '    shell: "touch {output}"\n'
        for stage in STAGES
    ]
    (context / "Snakefile").write_text(
        "\n".join([f"rule all:\n    input: {list(STAGES)}\n", *lines]), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--containerize"],
        cwd=context, env=conda, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return re.findall(r"^#   prefix: /conda-envs/(\w+)$", done.stdout, re.MULTILINE)


def test_an_unknown_accelerator_is_refused(tmp_path: Path) -> None:
    command = ["sh", str(ROOT / "envs" / "install.sh"), "train", "rocm", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "accelerator: found rocm; allowed: cuda, cpu\n"
    assert list(tmp_path.iterdir()) == []


def test_the_recipe_installs_every_stage(tmp_path: Path) -> None:
    run = [
        words for kind, words in steps({"ACCELERATOR": "cpu", "MINIFORGE": "1"}) if kind == "RUN"
    ]
    assert {words.split()[2] for words in run} == set(STAGES)
    # What Snakemake's own recipe leaves out: the script that installs the packages.
    assert all(path.is_file() for stage in STAGES for path in form_files(stage, "cpu"))
