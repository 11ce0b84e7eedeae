"""A sweep in which a trial fails: its tables so far, and the run after."""

import csv
from pathlib import Path

import pytest

from scripts.__main__ import SO_FAR
from scripts.common.files import read_json
from tests.workflow.conftest import CUT_DOWN, Project

# A trial whose numbers overflow, one that starts from it, and an independent one.
FAILING = """
experiments:
  tutor:
    sft:
      trials:
        - {name: sft-r16, lora: {r: 16, lora_alpha: 32}}
        - {name: sft-r4, lora: {r: 4, lora_alpha: 8}, learning_rate: 1e30}
    preference:
      trials:
        - {name: dpo-r8, lora: {r: 8, lora_alpha: 16}, learning_rate: 6e-4}
        - {name: dpo-r4, lora: {r: 4, lora_alpha: 8}, learning_rate: 5e-4, start: sft-r4}
"""
SWEEP = (*CUT_DOWN, "failing.yaml")
TABLES = ("sft", "dpo", "summary")


# What `prefmake tables-so-far` passes to Snakemake.
WORDS = ("--nolock", "--allowed-rules", *SO_FAR, "--config", "allow_failed=true")


@pytest.fixture
def failed(rerun: Project) -> Project:
    """Return a finished run in which some trials were edited, one of them so that it fails."""
    (rerun.folder / "failing.yaml").write_text(FAILING, encoding="utf-8")
    done = rerun.run(*SWEEP, "--keep-going", check=False)
    assert done.returncode != 0
    return rerun


def rows_of(results: Path, table: str) -> list[dict[str, str]]:
    with open(results / "tables" / f"{table}.csv", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.all
def test_tables_so_far_and_the_run_after(failed: Project) -> None:
    results = failed.folder / "results" / "demo"
    left = results / "trials" / "sft-r4" / "seed-0" / "work" / "failed.json"
    reason = read_json(left)["reason"]
    assert reason.startswith("BadInput: step 2 of 4: found loss nan")
    tried = left.stat().st_mtime_ns
    # An independent trial was still trained and scored.
    trained = results / "trials" / "dpo-r8" / "seed-0"
    assert read_json(trained / "trial.json")["trainer"]["learning_rate"] == 6e-4

    assert set(failed.rules(*SWEEP, *WORDS)) <= {
        "all",
        "table",
        "figure",
        "aggregate",
        "compare",
    }
    failed.run(*SWEEP, *WORDS)
    assert left.stat().st_mtime_ns == tried
    states = {}
    for table in TABLES:
        for row in rows_of(results, table):
            states[row["trial"]] = (row["state"], row["reason"], row["log"])
            assert (row["state"] == "done") == (row["trial"] not in ("sft-r4", "dpo-r4")), row
    log = "logs/demo/trials/sft-r4/seed-0/train.log"
    assert states["sft-r4"] == ("failed", reason, log)
    assert states["dpo-r4"] == ("failed", "its start sft-r4, seed 0, failed", log)
    assert (failed.folder / log).is_file()
    assert {row["trial"] for row in rows_of(results, "sft")} == {"demo", "sft-r16", "sft-r4"}
    for figure in ("accuracy", "before_after", "curves"):
        assert (results / "figures" / f"{figure}.pdf").is_file()
    # There is nothing more to do.
    assert failed.jobs(*SWEEP, *WORDS) == []

    # A plain run tries it again, and waits for it.
    jobs = failed.jobs(*SWEEP)
    assert {output for rule, output in jobs if rule == "train"} == {
        f"results/demo/trials/{trial}/seed-0/adapter/adapter_model.safetensors"
        for trial in ("sft-r4", "dpo-r4")
    }
    done = failed.run(*SWEEP, check=False)
    assert done.returncode != 0
    assert left.stat().st_mtime_ns > tried
    # Its tables are plain again, once nothing fails.
    assert {"table", "figure", "train"} <= set(failed.rules(*CUT_DOWN))
