"""The cost of tables and comparisons for a sweep of very many measured trials."""

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
    "objectives": ("base", "dpo"),
    "summary": ("base", "sft", "dpo", "lookup"),
    "metrics": ("base", "sft", "dpo", "lookup"),
    "seeds": ("sft", "dpo"),
    "differences": ("base", "sft", "dpo"),
    "cost": ("base", "sft", "dpo"),
}
"""Each table, and what it contains."""
NOTHING = {"base": None, "lookup": None}
SECONDS_A_TABLE = 20
COMPARING = 60
IMPORTS = {"tables": 2, "compare": 8}
"""Fixed CPU seconds, however few trials there are."""


def cpu_seconds(main: Callable[[list[str]], int], words: list[str]) -> float:
    """Return the CPU seconds of a job without the start of its process."""
    start = time.process_time()
    assert main(words) == 0
    return time.process_time() - start


def compared(root: Path, plan: Row) -> float:
    """Compare all trials; return the CPU seconds."""
    asked = {key: plan[key] for key in ("experiment", "base", "trials")}
    asked["metrics"] = comparison_rules()
    out = root / "comparisons" / f"{plan['experiment']}.json"
    words = ["--root", str(root), "--plan", json.dumps(asked), "--out", str(out)]
    return cpu_seconds(compare.main, words)


def tabled(root: Path, plan: Row) -> dict[str, float]:
    """Make every table; return the CPU seconds of each."""
    taken = {}
    for name, methods in TABLES.items():
        part = plan | {key: none for key, none in NOTHING.items() if key not in methods}
        part["trials"] = {key: runs for key, runs in plan["trials"].items() if key in methods}
        words = ["--root", str(root), "--plan", json.dumps([part])]
        for form in ("csv", "md", "tex", "json"):
            words += [f"--{form}", str(root / "tables" / f"{name}.{form}")]
        taken[name] = cpu_seconds(import_module(f"scripts.report.tables.{name}").main, words)
    return taken


@pytest.mark.all
@pytest.mark.timed
@pytest.mark.parametrize("trials", [60, 1000])
def test_tables_of_very_many_trials(
    finished: Project, slowness: float, tmp_path: Path, trials: int
) -> None:
    """A table of 1,000 trials may take 20 seconds, and one of fewer proportionally less.

    A slower machine gets proportionally more time.
    """
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
    # Markdown has as many rows as people can read; the CSV has all.
    lines = (tmp_path / "tables" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    rows = json.loads((tmp_path / "tables" / "metrics.json").read_text(encoding="utf-8"))["rows"]
    assert len(rows) == min(len(lines) - 1, 5_000)
    assert (len(lines) > 5_001) == (trials == 1000)
