"""Same input, same bytes: whoever makes the report again gets the files that are in the paper."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLES = (
    "sft", "dpo", "summary", "metrics", "seeds", "differences", "examples", "comparison",
)  # fmt: skip
FORMS = dict.fromkeys(TABLES, ("csv", "md", "tex"))


EXTRA = {"comparison": ["--claims", "paper/claims.yaml"]}
EVERY = """
import json, sys
from importlib import import_module
for name, words in json.load(sys.stdin).items():
    assert import_module(f"scripts.report.{name}").main(words) == 0, name
"""
"""Makes all of them in one process: each alone would spend its time on imports."""


def run(name: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs a command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"scripts.report.{name}", *arguments, *EXTRA.get(name, [])],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def written(results, tmp_path) -> list[Path]:
    """Two folders with every table and figure, by processes that order sets differently."""
    folders = [tmp_path / seed for seed in ("1", "2")]
    processes = []
    for folder in folders:
        words = {
            name: [
                *results.arguments(*(folder / f"{name}.{form}" for form in forms)),
                *EXTRA.get(name, []),
            ]
            for name, forms in FORMS.items()
        }
        process = subprocess.Popen(
            [sys.executable, "-c", EVERY],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": folder.name},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append((process, json.dumps(words)))
    for process, words in processes:
        _, said = process.communicate(words)
        assert process.returncode == 0, said
    return folders


def test_two_processes_write_the_same_bytes(written):
    names = [f"{name}.{form}" for name, forms in FORMS.items() for form in forms]
    first, second = written
    assert sorted(names) == sorted(path.name for path in first.iterdir())
    differing = [it for it in names if (first / it).read_bytes() != (second / it).read_bytes()]
    assert differing == []


@pytest.mark.parametrize("name", ["sft"])
def test_a_missing_file_is_one_line_and_an_exit_code(name, results, tmp_path):
    for path in (results.root / "trials/sft_1/seed-0").iterdir():
        path.unlink()
    paths = [tmp_path / f"{name}.{form}" for form in FORMS[name]]
    done = run(name, results.arguments(*paths))
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "trials/sft_1/seed-0/" in line
    assert not any(path.exists() for path in paths)


@pytest.mark.parametrize("name", FORMS)
def test_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        import_module(f"scripts.report.{name}").main(["--help"])
    assert ended.value.code == 0
    assert "--plan" in capsys.readouterr().out
