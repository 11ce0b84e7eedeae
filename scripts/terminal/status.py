"""What `prefmake status` prints: how far each run is, read from the files that it leaves."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.files import Row
from scripts.common.methods import METHODS
from scripts.common.metrics import METRICS
from scripts.common.signs import said
from scripts.common.states import (
    DONE,
    FAILED,
    NOT_RUN,
    RUNNING,
    STALE,
    State,
    read_if_there,
    states_of,
)
from scripts.terminal.console import grid, number, terminal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console, RenderableType

    from scripts.config.plan.evaluation import Run

EVERY = 2.0
"""Seconds between two looks."""
COLORS = {DONE: "green", RUNNING: "bold cyan", STALE: "yellow", FAILED: "bold red", NOT_RUN: "dim"}
NOTED = {False: "yellow", True: "dim"}
"""Colors of warnings and notes."""
LABELS = {NOT_RUN: "queued"}
"""What a state is called while a sweep is watched."""
LOGGED = {"train_loss": ".4f", "preference_accuracy": ".2f"}
"""Metrics of the last logged steps of training."""
WORDS = ("experiment", "method", "trial")
COLUMNS = (
    *WORDS, "seed", "state", "step",
    *(METRICS[name].label.lower().replace(" ", "\n", 1) for name in LOGGED), "left", "seconds",
)  # fmt: skip


@dataclass(frozen=True)
class Status:
    """How far a run is. What is not known is None.

    Attributes
    ----------
    step, steps
        Optimizer steps that are done, and all of them.
    loss, accuracy
        Of the last logged step; the accuracy is the share of its pairs whose chosen completion has
        the larger reward.
    left, seconds
        Seconds to the last step at the pace so far, and seconds that the run took: training, and
        scoring once that is done.
    signs
        The signs of a training that goes wrong: those that hold, or held at its end.
    """

    experiment: str
    method: str
    trial: str
    seed: int
    state: State
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    left: float | None = None
    seconds: float | None = None
    signs: tuple[Row, ...] = ()

    @property
    def color(self) -> str:
        """The color of its state."""
        return COLORS[self.state.word]


def statuses_of(results: Path, runs: "Mapping[str, Run]", now: float) -> list[Status]:
    """Return how far each run of a plan is, in the plan's order.

    Parameters
    ----------
    results
        The folder of the results.
    runs
        The plan's runs by folder.
    now
        Seconds since 1970.
    """
    trained = {folder: run.training.as_json() for folder, run in runs.items()}
    return [
        Status(
            run.experiment, run.method, run.name, run.seed, state,
            **_progress(results / run.folder, state, now),
        )
        for run, state in zip(
            runs.values(), states_of(results, trained, now).values(), strict=True
        )
    ]  # fmt: skip


def _progress(folder: Path, state: State, now: float) -> dict[str, Any]:
    if state.word == DONE:
        # Either may disappear at any moment, when the trial is trained again.
        train, score = (read_if_there(folder / name) for name in ("train.json", "score.json"))
        return {
            "step": train.get("steps"),
            "steps": train.get("steps"),
            "loss": train.get("last_loss"),
            "accuracy": train.get("last_accuracy"),
            "seconds": train["seconds"] + score.get("seconds", 0) if train else None,
            "signs": tuple(train.get("signs", ())),
        }
    found = state.progress
    if not found:
        return {}
    # The pace is that of this attempt, which may have resumed from a checkpoint.
    taken = found["updated"] - found["started"]
    first, earlier = found.get("first", 0), found.get("earlier", 0.0)
    spent, left = taken, None
    if state.word == RUNNING:
        spent = now - found["started"]
        if found["steps"] and found["step"] > first:
            whole = taken / (found["step"] - first) * (found["steps"] - first)
            left = max(0.0, whole - spent)
    return {
        **{key: found[key] for key in ("step", "steps", "loss", "accuracy")},
        "left": left,
        "seconds": earlier + max(0.0, spent),
        "signs": tuple(found.get("signs", ())),
    }


def page(statuses: list[Status]) -> "RenderableType":
    """Return all that is shown: sums, the runs, why some failed or are stale, and signs."""
    from rich.console import Group
    from rich.text import Text

    table = grid(COLUMNS, WORDS)
    for it in statuses:
        steps = "–" if it.step is None else f"{it.step:,}/{number(it.steps, ',')}"
        left = "–" if it.left is None else str(timedelta(seconds=round(it.left)))
        table.add_row(
            it.experiment, METHODS[it.method].label, it.trial, str(it.seed),
            LABELS.get(it.state.word, it.state.word), steps,
            *map(number, (it.loss, it.accuracy), LOGGED.values()), left, number(it.seconds, ",.0f"),
            style=it.color,
        )  # fmt: skip
    reasons = [
        Text(f"{it.trial}, seed {it.seed}: {it.state.reason}", style=it.color)
        for it in statuses
        if it.state.reason
    ]
    signs = [
        Text(f"{it.trial}, seed {it.seed}: {said(found)}", style=NOTED[found["note"]])
        for it in statuses
        for found in it.signs
    ]
    return Group(Text(summary(statuses)), table, *reasons, *signs)


def summary(statuses: list[Status]) -> str:
    """Return how many runs are in each state, and the seconds that all took."""
    words = [it.state.word for it in statuses]
    counts = [f"{words.count(word)} {LABELS.get(word, word)}" for word in COLORS if word in words]
    taken = sum(it.seconds or 0 for it in statuses)
    warned = sum(any(not found["note"] for found in it.signs) for it in statuses)
    line = f"{len(statuses)} runs: {', '.join(counts) or 'none'}; {taken:,.0f} seconds so far"
    return f"{line}; {warned} with warnings" if warned else line


def show(results: Path, runs: "Mapping[str, Run]", once: bool = False) -> None:
    """Show how far the runs are: in a terminal until all are done or Ctrl-C, else once."""
    console = terminal()

    def look() -> list[Status]:
        return statuses_of(results, runs, time.time())

    if once or not console.is_terminal:
        console.print(page(look()))
        return
    watch(console, look, time.sleep)


def watch(
    console: "Console", look: Callable[[], list[Status]], wait: Callable[[float], None]
) -> None:
    """Show what `look` finds, again and again, until all runs are done or Ctrl-C is pressed."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                statuses = look()
                live.update(page(statuses), refresh=True)
                if all(it.state.word == DONE for it in statuses):
                    return
                wait(EVERY)
        except KeyboardInterrupt:
            return
