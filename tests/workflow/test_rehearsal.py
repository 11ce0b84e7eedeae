"""A rehearsal of the paper: its whole DAG with tiny base models and few rows, otherwise unchanged.

What these tests assert also holds for the full run, unless it depends on models or rows.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.common.files import read_json, read_rows
from scripts.config.check import load
from scripts.config.plan import Plan, make_plan
from tests.conftest import ROOT
from tests.rehearsal.__main__ import FILES
from tests.rehearsal.differences import MODEL, differences

PAPER = make_plan(load(FILES[:1]))
# `make rehearse` runs everything; the tests leave out the corrected experiments, which the same
# rules make, to save five minutes.
OFF = {"enabled": False}
LEFT_OUT = {"experiments": {"titles-by-idea": OFF, "tinyllama-corrected": OFF}}
PUBLISHED = make_plan(load(FILES[:1], LEFT_OUT))


def rehearsed(overrides: dict[str, object] | None = None) -> Plan:
    return make_plan(load(FILES, overrides))


def test_only_base_models_and_rows_differ() -> None:
    assert differences(PAPER, rehearsed()) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"experiments": {"tinyllama": {"max_length": 300}}}, "runs.trials/sft-1/seed-42"),
        ({"experiments": {"titles": {"seeds": [1]}}}, "runs.trials/titles-dpo/seed-42"),
        ({"experiments": {"titles-speed": {"enabled": False}}}, "bases.titles-speed"),
        ({"models": {"qwen-14b": {"quantization": "none"}}}, "models.qwen-14b.quantization"),
        (
            {"datasets": {"youtube-titles": {"splits": {"test": "train[90:99]"}}}},
            "datasets.youtube-titles.rows.splits.test",
        ),
        (
            {"datasets": {"youtube-titles-by-idea": {"splits": {"seed": 7}}}},
            "datasets.youtube-titles-by-idea.rows.splits.seed",
        ),
        ({"datasets": {"hh-rlhf": {"min_characters": 1}}}, "datasets.hh-rlhf.rows.min_characters"),
        (
            {"experiments": {"tinyllama": {"generate": {"gsm8k": {"max_new_tokens": 8}}}}},
            "bases.tinyllama.evaluation.prompts.gsm8k.settings.max_new_tokens",
        ),
    ],
)
def test_anything_else_is_found(change: dict[str, object], place: str) -> None:
    assert any(line.startswith(place) for line in differences(PAPER, rehearsed(change)))


LEFT_OUT_PROTOCOLS = ("split by idea", "corrected protocol")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of a rehearsal in a temporary folder."""
    folder = tmp_path_factory.mktemp("rehearsal")
    done = subprocess.run(
        [sys.executable, "-m", "tests.rehearsal", "--directory", str(folder),
         "--config", f"experiments={json.dumps(LEFT_OUT['experiments'])}"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return folder / "results" / "rehearsal"


def runs() -> Iterator[tuple[str, dict[str, object]]]:
    for folder, run in PUBLISHED.runs.items():
        yield folder, run.training.as_json()


@pytest.mark.all
def test_every_trial_was_trained_as_the_paper_says(results: Path) -> None:
    count = 0
    for folder, training in runs():
        trained = read_json(results / folder / "trial.json")
        assert {key for key in training if trained[key] != training[key]} <= MODEL
        count += 1
    assert count == 18


@pytest.mark.all
def test_the_backend_that_a_trial_names_trained_it(results: Path) -> None:
    for folder, training in runs():
        run = read_json(results / folder / "train.json")
        assert run["backend"] == training["backend"]
        assert ("unsloth" in run["versions"]) == (training["backend"] == "unsloth")


OPTIMIZERS = {
    ("transformers", "adamw_torch"): "torch.optim.adamw.AdamW",
    ("transformers", "paged_adamw_8bit"): "bitsandbytes.optim.adamw.AdamW",
    # On a CPU there is nothing to page, so Unsloth replaces the optimizer.
    ("unsloth", "paged_adamw_8bit"): "torch.optim.adamw.AdamW (fused)",
}


@pytest.mark.all
def test_the_optimizer_that_a_trial_names_trained_it(results: Path) -> None:
    for folder, training in runs():
        wanted = OPTIMIZERS[training["backend"], training["trainer"]["optim"]]
        assert read_json(results / folder / "train.json")["optimizer"] == wanted


@pytest.mark.all
def test_dpo_starts_from_its_reference_unless_its_start_was_overwritten(results: Path) -> None:
    for folder, training in runs():
        if training["method"] == "dpo":
            found = read_json(results / folder / "train.json")["step_zero"]
            assert found["gate"] == (training["start_as"] == "merged")
            if found["gate"]:
                assert abs(found["margin"]) < 1e-3
                assert found["loss"] == pytest.approx(0.6931, abs=1e-3)


@pytest.mark.all
def test_items_that_stand_in_the_sft_rows_are_left_out(results: Path) -> None:
    (name,) = PUBLISHED.overlaps
    overlap = {row["id"] for row in read_rows(results / "overlaps" / f"{name}.parquet")}
    answers = read_json(results / "trials/sft-1/seed-42/metrics.json")["sets"]["gsm8k"]
    assert answers["left_out"] == len(overlap)
    assert answers["metrics"]["exact_match"]["n"] == 6 - len(overlap)


@pytest.mark.parametrize(
    "table",
    [
        "comparison", "cost", "differences", "dpo", "examples", "metrics", "objectives",
        "seeds", "sft", "summary",
    ],
)  # fmt: skip
@pytest.mark.all
def test_every_table_says_that_it_is_a_rehearsal(results: Path, table: str) -> None:
    for form in ("csv", "md", "tex"):
        text = (results / "tables" / f"{table}.{form}").read_text(encoding="utf-8")
        assert "Rehearsal" in text


@pytest.mark.parametrize("figure", ["accuracy", "before_after", "curves", "forest", "power"])
@pytest.mark.all
def test_every_figure_is_made(results: Path, figure: str) -> None:
    assert (results / "figures" / f"{figure}.pdf").stat().st_size > 1000
    assert (results / "figures" / f"{figure}.png").stat().st_size > 1000


@pytest.mark.all
def test_every_claim_has_ours_beside_it(results: Path) -> None:
    with open(results / "tables" / "comparison.csv", encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["experiment"] for row in rows} == {"titles", "tinyllama"}
    assert len({(row["metric"], row["trial"]) for row in rows}) == 47
    assert all(row["ours"] for row in rows if row["protocol"] not in LEFT_OUT_PROTOCOLS)
    assert not any(row["ours"] for row in rows if row["protocol"] in LEFT_OUT_PROTOCOLS)
