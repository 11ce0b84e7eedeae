"""Prints a plan to the terminal: what a sweep will take, before a GPU is spent.

python -m scripts.terminal.plan plan.json
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json

if TYPE_CHECKING:
    from rich.table import Table as Grid

Part = dict[str, Any]

GIB, GB = 2**30, 10**9
PARTS = {
    "weights": "weights", "adapter": "adapter", "gradients": "grads", "optimizer": "optim",
    "activations": "activ", "logits": "logits", "block": "block", "overhead": "over",
    "total": "total",
}  # fmt: skip
"""The parts of a trial's memory, as the plan names them and as a narrow table does."""
KEYS = {"gpu", "trials", "totals", "does_not_fit", "notes"}


def main(argv: list[str] | None = None) -> int:
    """Prints; returns 0. Raises BadInput where the file is no plan."""
    parser = argparse.ArgumentParser(prog="python -m scripts.terminal.plan", description=__doc__)
    parser.add_argument("plan", type=Path, help="what scripts.train.estimate wrote")
    path = parser.parse_args(argv).plan
    plan = read_plan(path)

    from scripts.terminal.console import terminal

    console = terminal()
    console.print(trial_grid(plan))
    console.print(memory_grid(plan))
    for line in (*total_lines(plan), *plan["notes"]):
        console.print(line, highlight=False, markup=False)
    return 0


def read_plan(path: Path) -> Part:
    """Returns the plan. Raises BadInput where the file holds something else, or nothing."""
    try:
        plan = read_json(path)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; scripts.train.estimate makes it") from None
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(plan, dict) or not plan.keys() >= KEYS:
        raise BadInput(f"{path}: not a plan; one has {', '.join(sorted(KEYS))}")
    return plan


def trial_grid(plan: Part) -> "Grid":
    """Returns one row a trial and seed."""
    letters = shapes(plan["trials"])
    rows = [
        (
            trial["name"], str(trial["seed"]), letters[shape_of(trial)], f"{trial['steps']:,}",
            counted(trial["real_tokens"]), counted(trial["padded_tokens"]),
            f"{trial['trainable_parameters']:,}",
            gigabytes(trial["memory"]["total"]) + ("" if trial["fits"] else " !"),
            hours(trial["hours"]),
        )
        for trial in plan["trials"]
    ]  # fmt: skip
    names = ("trial", "seed", "shape", "steps", "tokens", "padded", "trained", "GB", "hours")
    return _grid(names, rows)


def memory_grid(plan: Part) -> "Grid":
    """Returns one row a shape: all trials whose memory is the same, part by part."""
    letters = shapes(plan["trials"])
    first: dict[tuple, Part] = {}
    for trial in plan["trials"]:
        first.setdefault(shape_of(trial), trial)
    rows = [
        (letters[shape], trial["model"], *(gigabytes(trial["memory"][part]) for part in PARTS))
        for shape, trial in first.items()
    ]
    return _grid(("shape", "model", *PARTS.values()), rows, left=2)


def shape_of(trial: Part) -> tuple:
    """Returns what tells one shape from another: the model and each part of its memory."""
    return (trial["model"], *(trial["memory"][part] for part in PARTS))


def shapes(trials: list[Part]) -> dict[tuple, str]:
    """Returns a number for each distinct shape, in the order of the trials."""
    found = dict.fromkeys(map(shape_of, trials))
    return {shape: str(number) for number, shape in enumerate(found, start=1)}


def total_lines(plan: Part) -> list[str]:
    """Returns the sums in words, and what does not fit."""
    totals, gpu = plan["totals"], plan["gpu"]
    disk = totals["disk"]
    unknown = totals["trials_without_hours"]
    time = "unknown" if totals["hours"] is None else f"{hours(totals['hours'])} hours"
    if unknown:
        time += f"; {unknown} of {totals['trials']} trials have no probe"
    lines = [
        f"{totals['trials']} trials, {totals['steps']:,} steps, "
        f"{counted(totals['real_tokens'])} tokens ({counted(totals['padded_tokens'])} padded)",
        f"time: {time}",
        f"download: {totals['download'] / GB:.1f} GB",
        f"disk: {disk['total'] / GB:.1f} GB, of that snapshots {disk['snapshots'] / GB:.1f}, "
        f"adapters {disk['adapters'] / GB:.2f}, tokens {disk['tokens'] / GB:.2f}, "
        f"checkpoints while training {disk['checkpoints'] / GB:.2f}",
    ]
    room = f"{gpu['name']} ({gpu['memory'] / GIB:.1f} GB)" if gpu["name"] else (
        f"a GPU of {gpu['memory'] / GIB:.1f} GB"
    )  # fmt: skip
    if not plan["does_not_fit"]:
        return [*lines, f"memory: every trial fits into {room}"]
    names = (
        f"{one['name']} seed {one['seed']} ({gigabytes(one['total'])} GB)"
        for one in plan["does_not_fit"]
    )
    return [*lines, f"does not fit into {room}: {', '.join(names)}"]


def gigabytes(count: int) -> str:
    """Returns bytes of memory in units of 2^30, as GPUs are sold."""
    return f"{count / GIB:.2f}"


def counted(count: int) -> str:
    """Returns a count with three significant digits."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {letter}"
    return str(count)


def hours(value: float | None) -> str:
    """Returns hours, or a dash where no probe says how many."""
    return "–" if value is None else f"{value:.2f}"


def _grid(names: Iterable[str], rows: Iterable[tuple[str, ...]], left: int = 1) -> "Grid":
    from rich import box
    from rich.table import Table as Grid

    table = Grid(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for number, name in enumerate(names):
        justify = "left" if number < left else "right"
        table.add_column(name, justify=justify, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    run(main)
