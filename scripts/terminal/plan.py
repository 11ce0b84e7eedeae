"""What `prefmake plan` prints: what a sweep will cost, before a GPU is spent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.common.cli import BadInput
from scripts.common.files import read_json
from scripts.terminal.console import grid, number, terminal

Part = dict[str, Any]

GIB, GB = 2**30, 10**9
PARTS = {
    "weights": "weights", "adapter": "adapter", "gradients": "grads", "optimizer": "optim",
    "activations": "activ", "logits": "logits", "block": "block", "overhead": "over",
    "total": "total",
}  # fmt: skip
"""The parts of a trial's memory, as the estimate names them and as a narrow table does."""
TRIAL = ("trial", "seed", "shape", "steps", "tokens", "padded", "trained", "GB", "hours")
KEYS = {"gpu", "trials", "totals", "does_not_fit", "notes"}


def show(path: Path) -> None:
    """Print an estimate: one row per run, one per shape (all runs of equal memory), the sums.

    Raise BadInput where the file is not what scripts.train.estimate.sweep wrote.
    """
    estimate = read(path)
    shapes: dict[tuple[Any, ...], str] = {}
    runs, memory = grid(TRIAL, ("trial",)), grid(("shape", "model", *PARTS.values()), ("model",))
    for run in estimate["trials"]:
        parts = [run["memory"][part] for part in PARTS]
        shape = (run["model"], *parts)
        if shape not in shapes:
            shapes[shape] = str(len(shapes) + 1)
            memory.add_row(shapes[shape], run["model"], *map(gigabytes, parts))
        runs.add_row(
            run["name"], str(run["seed"]), shapes[shape], f"{run['steps']:,}",
            counted(run["real_tokens"]), counted(run["padded_tokens"]),
            f"{run['trainable_parameters']:,}",
            gigabytes(run["memory"]["total"]) + ("" if run["fits"] else " !"),
            number(run["hours"], ".2f"),
        )  # fmt: skip
    console = terminal()
    console.print(runs, memory, sep="\n")
    for line in (*sums(estimate), *estimate["notes"]):
        console.print(line)


def read(path: Path) -> Part:
    """Return the estimate in a file. Raise BadInput where there is none."""
    try:
        estimate = read_json(path)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file; scripts.train.estimate.sweep makes it") from None
    if not isinstance(estimate, dict) or not estimate.keys() >= KEYS:
        raise BadInput(f"{path}: not an estimate; one has {', '.join(sorted(KEYS))}")
    return estimate


def sums(estimate: Part) -> Iterator[str]:
    """Yield the sums in words, and what does not fit into the GPU."""
    totals, gpu = estimate["totals"], estimate["gpu"]
    disk = {part: size / GB for part, size in totals["disk"].items()}
    yield (
        f"{totals['trials']} trials, {totals['steps']:,} steps, "
        f"{counted(totals['real_tokens'])} tokens ({counted(totals['padded_tokens'])} padded)"
    )
    time = "unknown" if totals["hours"] is None else f"{totals['hours']:.2f} hours"
    if unknown := totals["trials_without_hours"]:
        time += f"; {unknown} of {totals['trials']} trials have no probe"
    yield f"time: {time}"
    yield f"download: {totals['download'] / GB:.1f} GB"
    yield (
        f"disk: {disk['total']:.1f} GB, of that snapshots {disk['snapshots']:.1f}, "
        f"adapters {disk['adapters']:.2f}, tokens {disk['tokens']:.2f}, "
        f"checkpoints while training {disk['checkpoints']:.2f}"
    )
    room = f"{gpu['memory'] / GIB:.1f} GB"
    room = f"{gpu['name']} ({room})" if gpu["name"] else f"a GPU of {room}"
    large = [
        f"{run['name']} seed {run['seed']} ({gigabytes(run['total'])} GB)"
        for run in estimate["does_not_fit"]
    ]
    if large:
        yield f"does not fit into {room}: {', '.join(large)}"
    else:
        yield f"memory: every trial fits into {room}"


def gigabytes(count: int) -> str:
    """Return bytes of memory in units of 2^30, as GPUs are sold."""
    return f"{count / GIB:.2f}"


def counted(count: int) -> str:
    """Return a count with three significant digits."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= unit:
            return f"{count / unit:.3g} {letter}"
    return str(count)
