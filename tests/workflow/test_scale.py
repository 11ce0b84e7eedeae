"""What a sweep of very many trials takes, once all of them are measured."""

import json
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from scripts.common.files import Row
from scripts.common.metrics import comparison_rules
from scripts.evaluate import compare
from tests.workflow.conftest import Project
from tests.workflow.sweep import many

TABLES = {
    "sft": ("base", "sft"),
    "dpo": ("dpo", "lookup"),
    "summary": ("base", "sft", "dpo", "lookup"),
    "metrics": ("base", "sft", "dpo", "lookup"),
    "seeds": ("sft", "dpo"),
    "differences": ("base", "sft", "dpo"),
    "cost": ("base", "sft", "dpo"),
}
"""Each table, and what stands in it."""
NOTHING = {"base": None, "lookup": None}
SECONDS_A_TABLE = 20
COMPARING = 60
IMPORTS = {"tables": 2, "compare": 8}
"""What comes on top, however few trials there are."""


def cpu_seconds(main: Callable[[list[str]], int], words: list[str]) -> float:
    """Returns what a job takes, less the start of its process."""
    start = time.process_time()
    assert main(words) == 0
    return time.process_time() - start


def compared(root: Path, plan: Row) -> float:
    """Compares all trials, and returns what that takes."""
    asked = {key: plan[key] for key in ("experiment", "base", "trials")}
    asked["metrics"] = comparison_rules()
    out = root / "comparisons" / f"{plan['experiment']}.json"
    words = ["--root", str(root), "--plan", json.dumps(asked), "--out", str(out)]
    return cpu_seconds(compare.main, words)


def tabled(root: Path, plan: Row) -> dict[str, float]:
    """Makes every table, and returns what each takes."""
    taken = {}
    for name, methods in TABLES.items():
        part = plan | {key: none for key, none in NOTHING.items() if key not in methods}
        part["trials"] = {key: runs for key, runs in plan["trials"].items() if key in methods}
        words = ["--root", str(root), "--plan", json.dumps([part])]
        for form in ("csv", "md", "tex", "json"):
            words += [f"--{form}", str(root / "tables" / f"{name}.{form}")]
        taken[name] = cpu_seconds(import_module(f"scripts.report.tables.{name}").main, words)
    return taken


@pytest.mark.parametrize("trials", [60, pytest.param(1000, marks=pytest.mark.all)])
def test_tables_of_very_many_trials(
    finished: Project, slowness: float, tmp_path: Path, trials: int
) -> None:
    """A table of a thousand trials takes twenty seconds at most, and of fewer as much less; a
    slower machine has as much more time."""
    plan = many(finished.folder / "results" / "demo", "tutor", tmp_path, trials)
    slower = max(1.0, slowness)
    share = trials / 1000
    assert compared(tmp_path, plan) < slower * (COMPARING * share + IMPORTS["compare"])
    slow = {
        name: seconds
        for name, seconds in tabled(tmp_path, plan).items()
        if seconds > slower * (SECONDS_A_TABLE * share + IMPORTS["tables"])
    }
    assert slow == {}
    # People get as many rows as they can read, and machines get all.
    lines = (tmp_path / "tables" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    rows = json.loads((tmp_path / "tables" / "metrics.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == min(len(lines) - 1, 5_000)
    assert (len(lines) > 5_001) == (trials == 1000)
