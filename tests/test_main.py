"""The command line `prefmake`: help, mistakes, and from which folder it runs what."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.__main__ import app, main
from scripts.terminal import workflow
from scripts.terminal.workflow import Sweep
from tests.conftest import ROOT

COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands}


def test_help_lists_every_command_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    groups = ["Before a run", "While it runs", "After it", "What people prefer", "The paper"]
    places = [out.index(group) for group in groups]
    assert places == sorted(places)
    assert {name for name in COMMANDS if re.search(rf"^│ {name} ", out, re.MULTILINE)} == COMMANDS


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom scripts.__main__ import main\nmain(['plan', '--help'])\n"
        "heavy = {'pandas', 'numpy', 'snakemake', 'torch', 'yaml'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


PAGES = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md"),
                ROOT / "paper/gpu/README.md"})  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_and_options_that_pages_name_exist(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each `prefmake X --option`, and no make target that is gone."""
    text = page.read_text(encoding="utf-8")
    for words in re.findall(r"prefmake ([a-z][^`#\n]*)", re.sub(r"\\\n *", "", text)):
        name = words.split()[0]
        assert main([name, "--help"]) == 0, words
        known = capsys.readouterr().out
        for option in re.findall(r"(?<=\s)--?[a-z][a-z-]*", words):
            assert option in known, words
    rules = re.findall(r"^([a-z][a-z -]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    targets = {target for rule in rules for target in rule.split()}
    named = set(re.findall(r"(?:^|`|\n)make ([a-z-]+)", text))
    assert named <= targets


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["trace"], "Missing argument"),
        (["check", "--nonsense"], "No such option: --nonsense"),
        (["verify", "nowhere"], "nowhere: no provenance"),
        (["status", "-c", "nowhere.yaml"], "nowhere.yaml:1"),
        (["plan", "--profile", "nowhere"], "--profile: found 'nowhere'; allowed: a folder, or de"),
        (["show", "--trial", "nobody"], "--trial: found 'nobody'; allowed: "),
        (["tables", "nowhere"], "no tables; a finished run makes them"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 1
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("error: ")
    assert said in error
    assert error.count("\n") == 1


def test_each_mistake_in_a_configuration_is_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("experiments:\n  tutor: {model: nobody, seedz: [1]}\n")
    assert main(["check", str(ROOT / "demo/config.yaml"), str(over)]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith(f"error: {over}:2: ") for line in lines)


def test_check_show_and_schema(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    demo = os.path.relpath(ROOT / "demo/config.yaml", tmp_path)
    assert main(["check", demo]) == 0
    assert capsys.readouterr().out == "2 experiments, 10 trials, 10 runs: ok\n"
    assert main(["show", demo, "--trial", "dpo-r8"]) == 0
    (trial,) = json.loads(capsys.readouterr().out)
    assert trial["name"] == "dpo-r8"
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["properties"]["experiments"]


@pytest.mark.parametrize("name", ["config.yaml", "demo/config.yaml", "docs/examples/own-data.yaml"])
def test_configurations_name_their_schema_to_editors(name: str) -> None:
    first = (ROOT / name).read_text(encoding="utf-8").splitlines()[0]
    place = first.removeprefix("# yaml-language-server: $schema=")
    assert (ROOT / name).parent.joinpath(place).resolve() == ROOT / "docs/config.schema.json"


def test_status_of_a_profile_in_the_callers_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    work = tmp_path / "results/demo/trials/sft-r4/seed-0/work"
    work.mkdir(parents=True)
    (work / "failed.json").write_text('{"reason": "no room", "traceback": ""}')
    assert main(["status", "--profile", "demo", "--once"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10 runs: 1 failed, 9 queued; 0 seconds so far"
    assert "sft-r4, seed 0: no room" in lines


# ------------------------------------------------------------------------------------ Snakemake


def test_what_snakemake_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> int:
        commands.append(command[command.index("--snakefile") + 1 :])
        return 3

    monkeypatch.setattr(workflow, "run", run)
    # Snakemake's exit code is the command's.
    assert main(["tables-so-far", "--profile", "demo"]) == 3
    assert main(["plan", "-c", "a.yaml", "-c", "b.yaml"]) == 1
    demo = str(ROOT / "demo/config.yaml")
    assert commands == [
        [str(ROOT / "Snakefile"), "--workflow-profile", str(ROOT / "profiles/demo"), "--nolock",
         "--allowed-rules", "all", "table", "figure", "measure", "aggregate", "compare", "lookup",
         "overlap", "--configfile", demo, "--config", "allow_failed=true"],
    ]  # fmt: skip


def test_snakemake_runs_in_the_callers_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Sweep.of(None, "demo").snakemake("--dry-run", "--quiet", "all", target="results/demo/plan.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".snakemake"]


# --------------------------------------------------------------------------- the installed script


def installed(folder: Path) -> Path:
    """Return a checkout with the script as `make setup` installs it, called through a link."""
    programs = folder / "checkout" / ".venv" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(ROOT / "scripts/prefmake.sh", programs / "prefmake")
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for name in ("scripts", "demo", "config.yaml", "profiles"):
        (folder / "checkout" / name).symlink_to(ROOT / name)
    (folder / "link").symlink_to(programs / "prefmake")
    return folder / "link"


def call(program: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    own: dict[str, Any] = {key: it for key, it in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [program, *words], cwd=program.parent, env=own | env, capture_output=True, text=True
    )


def test_the_installed_script_finds_its_checkout(tmp_path: Path) -> None:
    program = installed(tmp_path)
    # A module of the caller's folder is not imported in place of the checkout's.
    (tmp_path / "scripts").mkdir()
    (tmp_path / "typer.py").write_text("raise SystemExit('the wrong typer')")
    done = call(program, "check", "checkout/demo/config.yaml")
    assert (done.stdout, done.stderr) == ("2 experiments, 10 trials, 10 runs: ok\n", "")
    done = call(program, "check", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (1, "")


def test_a_shell_completes_commands(tmp_path: Path) -> None:
    words = {"_PREFMAKE_COMPLETE": "complete_bash", "COMP_WORDS": "prefmake tr", "COMP_CWORD": "1"}
    assert call(installed(tmp_path), **words).stdout.split() == ["trace"]
