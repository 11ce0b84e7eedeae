"""How far a sweep is, from files written by hand, with a clock that stands still."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scripts.common.files import read_json, write_json
from scripts.common.states import NOT_RUN, State, progress
from scripts.config.plan.evaluation import Run
from scripts.terminal import signs
from scripts.terminal.status import Status, page, statuses_of, summary, watch
from tests.config.parts import run_of

NOW = 1_700_000_000.0
NAMES = ("sft-done", "sft-failed", "sft-running", "sft-waits", "dpo-stale", "dpo-of-failed")


def trial(name: str) -> Run:
    start = "trials/sft-failed/seed-7" if name == "dpo-of-failed" else None
    return replace(run_of(f"trials/{name}/seed-7", start), experiment="tutor", method=name[:3])


TRIALS = {f"trials/{name}/seed-7": trial(name) for name in NAMES}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """One trial of each kind."""

    def write(name: str, file: str, content: dict[str, Any]) -> None:
        write_json(tmp_path / "trials" / name / "seed-7" / file, content)

    def at_work(name: str, *values: Any, **more: Any) -> None:
        found = progress(*values, **more) | {"host": "node1", "pid": 17}
        write(name, "work/progress.json", found)

    train = {"steps": 150, "last_loss": 0.25, "last_accuracy": None, "seconds": 12.0}
    write("sft-done", "train.json", train)
    write("sft-done", "trial.json", trial("sft-done").training.as_json())
    write("sft-done", "score.json", {"seconds": 3.5})
    at_work("sft-failed", 3, 150, NOW - 5000, NOW - 4991, loss=None)
    write("sft-failed", "work/failed.json", {"reason": "ValueError: nan\nmore", "traceback": ""})
    # 40 of 1,200 steps in 80 seconds, of which the last news are 4 seconds old.
    at_work("sft-running", 40, 1200, NOW - 84, NOW - 4, loss=0.51239)
    at_work("dpo-stale", 10, 50, NOW - 1000, NOW - 600, loss=0.6, accuracy=0.875)
    return tmp_path


def test_a_trial_of_each_kind(results: Path) -> None:
    found = {it.trial: it for it in statuses_of(results, TRIALS, NOW)}
    assert list(found) == list(NAMES)
    numbers = {
        name: (it.state.word, it.step, it.steps, it.loss, it.accuracy, it.left, it.seconds)
        for name, it in found.items()
    }
    assert numbers == {
        "sft-done": ("done", 150, 150, 0.25, None, None, 15.5),
        "sft-failed": ("failed", 3, 150, None, None, None, 9.0),
        # Two seconds a step: 2,400 in all, and 84 are gone.
        "sft-running": ("running", 40, 1200, 0.51239, None, 2316.0, 84.0),
        "sft-waits": ("not run", None, None, None, None, None, None),
        "dpo-stale": ("stale", 10, 50, 0.6, 0.875, None, 400.0),
        "dpo-of-failed": ("failed", None, None, None, None, None, None),
    }
    assert found["dpo-of-failed"].state.reason == "its start sft-failed, seed 7, failed"


def test_a_trial_that_has_only_begun_has_no_time_left(results: Path) -> None:
    path = results / "trials/sft-running/seed-7/work/progress.json"
    for begun in (progress(0, None, NOW, NOW), progress(0, 1200, NOW - 1, NOW)):
        write_json(path, begun)
        it = statuses_of(results, TRIALS, NOW)[2]
        assert (it.state.word, it.step, it.left) == ("running", 0, None)


def recorded(width: int, statuses: list[Status]) -> list[str]:
    """Return the lines of a terminal of this width, one space between words."""
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(page(statuses))
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines() if line.strip()]


def test_the_page(results: Path) -> None:
    lines = recorded(100, statuses_of(results, TRIALS, NOW))
    assert [line for line in lines if "───" not in line] == [
        "6 runs: 1 done, 1 running, 1 stale, 2 failed, 1 queued; 508 seconds so far",
        "train preference",
        "experiment method trial seed state step loss accuracy left seconds",
        "tutor SFT sft-done 7 done 150/150 0.2500 – – 16",
        "tutor SFT sft-failed 7 failed 3/150 – – – 9",
        "tutor SFT sft-running 7 running 40/1,200 0.5124 – 0:38:36 84",
        "tutor SFT sft-waits 7 queued – – – – –",
        "tutor DPO dpo-stale 7 stale 10/50 0.6000 0.88 – 400",
        "tutor DPO dpo-of-failed 7 failed – – – – –",
        "sft-failed, seed 7: ValueError: nan",
        "dpo-stale, seed 7: no news for 10 minutes from process 17 on node1",
        "dpo-of-failed, seed 7: its start sft-failed, seed 7, failed",
    ]


def test_signs_are_shown_of_what_runs_and_of_what_is_done(results: Path) -> None:
    fall = {"sign": "chosen_free_fall", "note": False, "text": "it fell", "step": 40}
    little = {"sign": "adapter_hardly_moved", "note": True, "text": "it stood", "step": 150}
    for path, found in (("sft-done/seed-7/train", [fall, little]),
                        ("sft-running/seed-7/work/progress", [fall])):  # fmt: skip
        file = results / "trials" / f"{path}.json"
        write_json(file, read_json(file) | {"signs": found})
    lines = recorded(100, statuses_of(results, TRIALS, NOW))
    assert lines[0].endswith("seconds so far; 2 with warnings")
    assert lines[-3:] == [
        "sft-done, seed 7: warning: chosen_free_fall: it fell (since step 40)",
        "sft-done, seed 7: note: adapter_hardly_moved: it stood (since step 150)",
        "sft-running, seed 7: warning: chosen_free_fall: it fell (since step 40)",
    ]


def test_names_are_folded_and_numbers_are_not(results: Path) -> None:
    (row,) = (line for line in recorded(76, statuses_of(results, TRIALS, NOW)) if "0:38:36" in line)
    assert "7 running 40/1,200 0.5124 – 0:38:36 84" in row


def test_it_watches_until_all_is_done(results: Path) -> None:
    statuses = statuses_of(results, TRIALS, NOW)
    looks = iter([statuses, statuses, statuses[:1]])
    waits: list[float] = []
    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system=None)
    watch(console, lambda: next(looks), waits.append)
    assert waits == [2.0, 2.0]
    assert "1 runs: 1 done; 16 seconds so far" in console.file.getvalue()


def test_ctrl_c_ends_it_quietly(results: Path) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    console = Console(width=100, file=io.StringIO(), force_terminal=True, color_system=None)
    watch(console, lambda: statuses_of(results, TRIALS, NOW), interrupted)
    assert "sft-running" in console.file.getvalue()


def test_nothing_at_all() -> None:
    assert summary([]) == "0 runs: none; 0 seconds so far"
    assert recorded(100, [Status("e", "sft", "t", 0, State(NOT_RUN))])


def test_the_page_of_signs_is_the_codes() -> None:
    """`python -m scripts.terminal.signs > docs/signs.md` writes it."""
    path = Path(__file__).parents[2] / "docs" / "signs.md"
    assert path.read_text(encoding="utf-8") == signs.page()
