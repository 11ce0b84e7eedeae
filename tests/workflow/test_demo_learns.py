"""The whole demo: the methods must work, within the time and memory that the README promises."""

import csv
import time
from itertools import pairwise
from pathlib import Path

import pytest

from scripts.common.files import read_json
from tests.workflow.conftest import Project, copied
from tests.workflow.test_demo import warnings

pytestmark = [pytest.mark.all, pytest.mark.timed, pytest.mark.timeout(3600)]
DEMO = ("--workflow-profile", "profiles/demo")
BASE = "bases/tutor"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, float]:
    """Return a copy in which the whole demo ran, and the seconds that it took."""
    project = copied(tmp_path_factory.mktemp("demo") / "project")
    start = time.monotonic()
    project.run(*DEMO)
    return project, time.monotonic() - start


def interval(project: Project, folder: str, name: str) -> tuple[float, float]:
    """Return the bounds of the widest of a metric's intervals."""
    metrics = read_json(project.folder / "results" / "demo" / folder / "metrics.json")
    found = metrics["metrics"] | metrics["sets"].get("problems", {"metrics": {}})["metrics"]
    bounds = found[name]["intervals"].values()
    return min(low for low, _ in bounds), max(high for _, high in bounds)


PREFERENCES = ("dpo-r16", "dpo-r8", "titles-r16", "titles-kto", "titles-orpo", "titles-cpo",
               "titles-simpo")  # fmt: skip


def check_story(project: Project, seed: int = 0) -> None:
    """Check what the README says that the demo shows; these intervals do not touch."""

    def of(trial: str, name: str) -> tuple[float, float]:
        return interval(project, f"trials/{trial}/seed-{seed}", name)

    def path(name: str) -> list[tuple[float, float]]:
        trials = ("sft-r8-slow", "sft-r4", "sft-r16")
        return [interval(project, BASE, name), *(of(trial, name) for trial in trials)]

    base, slow, small, large = path("exact_match")
    assert base[1] < 0.15
    assert base[1] < slow[0] < slow[1] < small[0]
    assert large[0] > 0.85
    losses = path("held_out_loss")
    assert all(after[1] < before[0] for before, after in pairwise(losses)), losses
    for trial in PREFERENCES:
        assert of(trial, "preference_accuracy")[0] > 0.6, trial


def test_the_methods_work(demo: tuple[Project, float]) -> None:
    check_story(demo[0])


def test_the_lookup_stays_at_one_half(demo: tuple[Project, float]) -> None:
    for dataset in ("dialogues", "titles"):
        low, high = interval(demo[0], f"baselines/{dataset}.train.test", "preference_accuracy")
        assert low < 0.5 < high


ELSEWHERE = {
    "seeds": (
        {},
        {"demo/config.yaml": ("    model: demo\n", "    model: demo\n    seeds: [1, 2, 3, 4]\n")},
    ),
    "bfloat16": ({}, {"demo/config.yaml": ("float32", "bfloat16")}),
    "two threads": ({}, {"scripts/lm/devices.py": ("num_threads(1)", "num_threads(2)")}),
    # What torch computes with where a processor has no AVX-512, and nothing beyond SSE.
    "avx2": ({"ATEN_CPU_CAPABILITY": "avx2"}, {}),
    "sse": ({"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"}, {}),
}
"""Variables and edits with which all that is drawn, or all that is rounded, comes out otherwise."""
RUNS = ("sft-r16", "sft-r4", "sft-r8-slow", *PREFERENCES)


@pytest.mark.parametrize("where", ELSEWHERE)
def test_it_shows_the_same_elsewhere(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With other seeds, in other precision, with more threads, on other processors."""
    variables, edits = ELSEWHERE[where]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    project = copied(tmp_path / "project")
    for file, (old, new) in edits.items():
        project.edit(file, old, new)
    seeds = [1, 2, 3, 4] if where == "seeds" else [0]
    runs = [f"trials/{trial}/seed-{seed}" for trial in RUNS for seed in seeds]
    project.run(*DEMO, *(f"results/demo/{run}/metrics.json" for run in (BASE, *runs)))
    for seed in seeds:
        check_story(project, seed)


def test_no_trial_went_wrong(demo: tuple[Project, float]) -> None:
    assert warnings(demo[0].folder / "results" / "demo") == {}


def test_rows_that_were_left_out_have_a_reason(demo: tuple[Project, float]) -> None:
    from scripts.common.files import read_rows

    folder = demo[0].folder / "results" / "demo" / "data"
    reasons = {
        row["reason"] for path in folder.glob("*/dropped.parquet") for row in read_rows(path)
    }
    assert reasons == {"empty completion", "identical completions", "no assistant turn"}


def test_it_takes_at_most_four_minutes_and_three_gigabytes(
    demo: tuple[Project, float], slowness: float
) -> None:
    project, seconds = demo
    assert seconds < 240 * max(1.0, slowness)
    # The profile's `gpu` allows two jobs at once.
    assert 2 * max(memory(path) for path in (project.folder / "logs").rglob("*.tsv")) < 3000


def memory(path: Path) -> float:
    """Return a job's peak resident size in MB; 0 for one too short to be sampled."""
    with open(path, encoding="utf-8", newline="") as lines:
        sizes = [row["max_rss"] for row in csv.DictReader(lines, delimiter="\t")]
    return max(0.0 if size in ("NA", "-") else float(size) for size in sizes)


def test_a_second_run_has_nothing_to_do(demo: tuple[Project, float]) -> None:
    assert demo[0].jobs(*DEMO) == []
