"""Shows how far a sweep is: each trial of a configuration, told from the files that it leaves.

python -m scripts.terminal.status [--config config.yaml …] [--once]
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.common.cli import BadInput, run
from scripts.common.files import Row
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
from scripts.report.render import count, decimals, shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table as Grid

    from scripts.config.plan.evaluation import Run

EVERY = 2.0
"""Seconds between two looks."""
STYLES = {DONE: "green", RUNNING: "bold cyan", STALE: "yellow", FAILED: "bold red", NOT_RUN: "dim"}
WORDS = {NOT_RUN: "queued"}
"""What a trial that waits is called while a sweep is watched."""
LEFT = ("experiment", "trial", "state")
"""The columns of words."""
BOUNDLESS = 10_000
"""Columns of letters that no table takes."""
GIVEN_UP = ("experiment", "accuracy", "loss", "seconds", "eta", "seed")
"""The columns that a narrow terminal does without, the first one first."""


@dataclass(frozen=True)
class Status:
    """How far a trial is. What is not known, or is no longer to be said, is None."""

    experiment: str
    trial: str
    seed: int
    state: State
    step: int | None = None
    steps: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    """The share of the last logged pairs whose chosen completion has the larger reward."""
    eta: float | None = None
    """Seconds to its last step, at the pace so far."""
    seconds: float | None = None
    """What it has taken: training, and scoring once that is done."""


def statuses_of(results: Path, trials: "dict[str, Run]", now: float) -> list[Status]:
    """Returns how far each trial of a plan is, in the plan's order.

    Parameters
    ----------
    now
        Seconds since 1970.
    """
    states = states_of(results, trials, now)
    return [
        status_of(results / folder, trial, states[folder], now) for folder, trial in trials.items()
    ]


def status_of(folder: Path, trial: "Run", state: State, now: float) -> Status:
    """Returns how far a trial is that is in a state."""
    named = (trial.experiment, trial.name, trial.seed, state)
    if state.word == DONE:
        return Status(*named, **_finished(folder))
    if not state.progress:
        return Status(*named)
    return Status(*named, **_under_way(state.progress, now if state.word == RUNNING else None))


def _finished(folder: Path) -> Row:
    # Both may go any moment, when the trial is made anew.
    train, score = (read_if_there(folder / name) for name in ("train.json", "score.json"))
    return {
        "step": train.get("steps"),
        "steps": train.get("steps"),
        "loss": train.get("last_loss"),
        "accuracy": train.get("last_accuracy"),
        "seconds": train["seconds"] + score.get("seconds", 0) if train else None,
    }


def _under_way(found: Row, now: float | None) -> Row:
    """Returns what progress.json tells; `now` where the trial goes on."""
    taken = found["updated"] - found["started"]
    # The pace is that of this attempt, which may have gone on from a checkpoint.
    first, earlier = found.get("first", 0), found.get("earlier", 0.0)
    known = now is not None and found["step"] > first and found["steps"]
    whole = taken / (found["step"] - first) * (found["steps"] - first) if known else None
    spent = taken if now is None else now - found["started"]
    return {
        **{key: found[key] for key in ("step", "steps", "loss", "accuracy")},
        "eta": None if whole is None else max(0.0, whole - spent),
        "seconds": earlier + max(0.0, spent),
    }


# ------------------------------------------------------------------------------------ what is shown


def page(console: "Console", statuses: list[Status]) -> "RenderableType":
    """Returns all that is shown: a line of sums, the trials, and why some failed or are stale."""
    from rich.console import Group
    from rich.text import Text

    reasons = [
        Text(f"{it.trial}, seed {it.seed}: {it.state.reason}", style=STYLES[it.state.word])
        for it in statuses
        if it.state.reason
    ]
    return Group(Text(summary(statuses)), fitting(console, statuses), *reasons)


def summary(statuses: list[Status]) -> str:
    """Returns how many trials are in each state, and what all have taken."""
    words = [it.state.word for it in statuses]
    counts = [f"{words.count(word)} {WORDS.get(word, word)}" for word in STYLES if word in words]
    taken = sum(it.seconds for it in statuses if it.seconds is not None)
    return f"{len(statuses)} trials: {', '.join(counts) or 'none'}; {taken:,.0f} seconds so far"


def fitting(console: "Console", statuses: list[Status]) -> "Grid":
    """Returns the table of as many columns as the terminal has room for."""
    from rich.measure import Measurement

    # Given its real width, a terminal says of any table that it fits.
    boundless = console.options.update(max_width=BOUNDLESS)
    for given_up in range(len(GIVEN_UP) + 1):
        table = grid(statuses, GIVEN_UP[:given_up])
        if Measurement.get(console, boundless, table).maximum <= console.width:
            break
    return table


def grid(statuses: list[Status], without: tuple[str, ...] = ()) -> "Grid":
    """Returns one row a trial and seed, without some columns."""
    from rich import box
    from rich.table import Table as Grid

    rows = [cells(it) for it in statuses]
    names = [name for name in cells(EMPTY) if name not in without]
    table = Grid(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for name in names:
        table.add_column(name, justify="left" if name in LEFT else "right", no_wrap=True)
    for it, row in zip(statuses, rows, strict=True):
        table.add_row(*(row[name] for name in names), style=STYLES[it.state.word])
    return table


EMPTY = Status("", "", 0, State(NOT_RUN))


def cells(status: Status) -> dict[str, str]:
    """Returns a row's cells by the names of the columns."""
    step, steps = shown(status.step, count), shown(status.steps, count)
    return {
        "experiment": status.experiment,
        "trial": status.trial,
        "seed": str(status.seed),
        "state": WORDS.get(status.state.word, status.state.word),
        "step": shown(None, str) if status.step is None else f"{step}/{steps}",
        "loss": shown(status.loss, decimals(4)),
        "accuracy": shown(status.accuracy, decimals(2)),
        "eta": shown(status.eta, lambda eta: str(timedelta(seconds=round(eta)))),
        "seconds": shown(status.seconds, decimals(0)),
    }


# -------------------------------------------------------------------------------- the command line


def watch(
    console: "Console", look: Callable[[], list[Status]], wait: Callable[[float], None]
) -> None:
    """Shows what `look` finds, again and again, until all trials are done or Ctrl-C is pressed."""
    from rich.live import Live

    with Live(console=console, auto_refresh=False) as live:
        try:
            while True:
                statuses = look()
                live.update(page(console, statuses), refresh=True)
                if all(it.state.word == DONE for it in statuses):
                    return
                wait(EVERY)
        except KeyboardInterrupt:
            return


def sweep_of(files: list[Path]) -> "tuple[Path, dict[str, Run]]":
    """Returns the results folder and the trials of config files, read as the Snakefile does.

    Raises BadInput with what is wrong in them.
    """
    from scripts.config.check import load
    from scripts.config.files import ConfigError
    from scripts.config.plan import make_plan

    try:
        config = load(files)
        return Path(config.pathvars.get("results", "results")), make_plan(config).runs
    except (ConfigError, ValueError) as error:
        raise BadInput(f"the configuration has mistakes\n{error}") from None


def main(argv: list[str] | None = None) -> int:
    """Shows; returns 0. Output that goes into a file is one table, as with --once."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.terminal.status",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[Path("config.yaml")], help="later over earlier"
    )
    parser.add_argument("--once", action="store_true", help="one table, and no more")
    arguments = parser.parse_args(argv)
    results, trials = sweep_of(arguments.config)

    from scripts.terminal.console import terminal

    console = terminal(highlight=False)

    def look() -> list[Status]:
        return statuses_of(results, trials, time.time())

    if arguments.once or not console.is_terminal:
        console.print(page(console, look()))
    else:
        watch(console, look, time.sleep)
    return 0


if __name__ == "__main__":
    run(main)
