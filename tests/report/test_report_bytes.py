"""Same input, same bytes: whoever makes the report again gets the files that are in the paper."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLES = (
    "sft", "dpo", "summary", "results", "metrics", "seeds", "differences", "examples", "comparison",
)  # fmt: skip
FIGURES = (
    "curves", "accuracy", "before_after", "forest", "power", "sensitivity", "reliability", "length",
    "quality",
)  # fmt: skip
FORMS = dict.fromkeys(TABLES, ("csv", "md", "tex")) | dict.fromkeys(FIGURES, ("pdf", "png", "md"))


EXTRA = {"comparison": ["--claims", "paper/claims.yaml"]}


def run(name: str, arguments: list[str], seed: int) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a process of its own, with its own order of sets."""
    return subprocess.run(
        [sys.executable, "-m", f"scripts.report.{name}", *arguments, *EXTRA.get(name, [])],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", FORMS)
def test_two_processes_write_the_same_bytes(name, results, tmp_path):
    written = []
    for seed in (1, 2):
        paths = [tmp_path / str(seed) / f"{name}.{form}" for form in FORMS[name]]
        done = run(name, results.arguments(*paths), seed)
        assert done.returncode == 0, done.stderr
        written.append([path.read_bytes() for path in paths])
    assert written[0] == written[1]


@pytest.mark.parametrize("name", ["sft", "curves"])
def test_a_missing_file_is_one_line_and_an_exit_code(name, results, tmp_path):
    for path in (results.root / "trials/sft_1/seed-0").iterdir():
        path.unlink()
    paths = [tmp_path / f"{name}.{form}" for form in FORMS[name]]
    done = run(name, results.arguments(*paths), 0)
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "trials/sft_1/seed-0/" in line
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("name", FORMS)
def test_help(name):
    done = run(name, ["--help"], 0)
    assert done.returncode == 0
    assert "--plan" in done.stdout
