"""The whole demo: the methods must work, within the time and memory that the README promises."""

import csv
import time
from pathlib import Path

import pytest

from scripts.common.files import read_json
from tests.workflow.conftest import Project, copied
from tests.workflow.test_demo import warnings

pytestmark = [pytest.mark.all, pytest.mark.timed, pytest.mark.timeout(3600)]
DEMO = ("--workflow-profile", "profiles/demo")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, float]:
    """Return a copy in which the whole demo ran, and the seconds that it took."""
    project = copied(tmp_path_factory.mktemp("demo") / "project")
    start = time.monotonic()
    project.run(*DEMO)
    return project, time.monotonic() - start


def figure(project: Project, folder: str, name: str) -> dict[str, object]:
    metrics = read_json(project.folder / "results" / "demo" / folder / "metrics.json")
    return (metrics["metrics"] | metrics["sets"].get("problems", {"metrics": {}})["metrics"])[name]


@pytest.mark.parametrize("trial", ["sft-r16", "sft-r4"])
def test_supervised_tuning_lowers_the_loss_and_raises_exact_match(
    demo: tuple[Project, float], trial: str
) -> None:
    project, _ = demo
    for name, interval, better in (
        ("held_out_loss", "group bootstrap", lambda tuned, base: tuned[1] < base[0]),
        ("exact_match", "wilson", lambda tuned, base: tuned[0] > base[1]),
    ):
        tuned = figure(project, f"trials/{trial}/seed-0", name)
        base = figure(project, "bases/tutor", name)
        assert better(tuned["intervals"][interval], base["intervals"][interval]), name


@pytest.mark.parametrize("trial", ["dpo-r16", "dpo-r8", "titles-r16"])
def test_preference_tuning_lifts_accuracy_above_one_half(
    demo: tuple[Project, float], trial: str
) -> None:
    accuracy = figure(demo[0], f"trials/{trial}/seed-0", "preference_accuracy")
    for low, _ in accuracy["intervals"].values():
        assert low > 0.5


def test_no_trial_went_wrong(demo: tuple[Project, float]) -> None:
    assert warnings(demo[0].folder / "results" / "demo") == {}


def test_rows_that_were_left_out_have_a_reason(demo: tuple[Project, float]) -> None:
    from scripts.common.files import read_rows

    folder = demo[0].folder / "results" / "demo" / "data"
    reasons = {
        row["reason"] for path in folder.glob("*/dropped.parquet") for row in read_rows(path)
    }
    assert reasons == {"empty completion", "identical completions", "no assistant turn"}


def test_it_takes_at_most_five_minutes_and_three_gigabytes(
    demo: tuple[Project, float], slowness: float
) -> None:
    project, seconds = demo
    assert seconds < 300 * max(1.0, slowness)
    # The profile's `gpu` allows two jobs at once.
    assert 2 * max(memory(path) for path in (project.folder / "logs").rglob("*.tsv")) < 3000


def memory(path: Path) -> float:
    """Return a job's peak resident size in MB; 0 for one too short to be sampled."""
    with open(path, encoding="utf-8", newline="") as lines:
        sizes = [row["max_rss"] for row in csv.DictReader(lines, delimiter="\t")]
    return max(0.0 if size in ("NA", "-") else float(size) for size in sizes)


def test_a_second_run_has_nothing_to_do(demo: tuple[Project, float]) -> None:
    assert demo[0].jobs(*DEMO) == []
