"""Measure time and memory of TRL's trainers and this project's, in turn, on a CPU and a GPU.

    python -m benchmarks.fast_path [--only a,b] [--pairs 5] [--out docs/benchmarks.md]

Each measurement is saved in results/benchmarks/ right away, with the machine, versions and code it
was made under. A stopped run resumes where it was; what was made under other conditions is measured
again. The page shows every case that was ever measured on this machine, and says which are old.
"""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import gpu, rendering, summary
from benchmarks.cases import CASES, GPU_CASES, Case
from benchmarks.contestants import BASE, measure, packages_of, prepare
from benchmarks.corpora import REAL_ROWS, hub_folder
from benchmarks.gpu_check import run_apart
from benchmarks.ledger import Ledger, conditions
from benchmarks.summary import Turns
from benchmarks.sweep import measure_sweep
from scripts.common.cli import BadInput, run
from scripts.common.files import write_text

Part = dict[str, Any]

Done = tuple[Case, Turns]

NOT_MEASURED = "not measured"
RESULTS, PAGE = Path("results/benchmarks"), Path("docs/benchmarks.md")
ONE_THREAD = {
    "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1",
}  # fmt: skip


def chosen(only: str | None) -> list[Case]:
    """Return the cases with these letters, or all cases.

    Raises
    ------
    BadInput
        If no case has one of the letters.
    """
    known = sorted({case.letter for case in CASES})
    letters = only.split(",") if only else known
    if unknown := [letter for letter in letters if letter not in known]:
        raise BadInput(f"--only: found {', '.join(unknown)}; allowed: {', '.join(known)}")
    return [case for case in CASES if case.letter in letters]


def lacking(case: Case, contestant: str, folder: Path, hub: Path) -> str | None:
    """Return what a measurement needs that is not there, and how to get it."""
    if case.real and not BASE.is_dir():
        return "the model is not there; `make base` makes it"
    if case.real and not REAL_ROWS[case.corpus].path(hub).is_file():
        command = REAL_ROWS[case.corpus].command(hub)
        return f"the rows are not there; get them with `{command}`"
    if not all(packages.is_dir() for packages in packages_of(contestant, folder)):
        return f"{contestant.partition(', ')[0]} is not there; `make bench` installs it"
    return None


def measure_all(cases: list[Case], pairs: int, folder: Path, ledger: Ledger) -> None:
    """Measure what the ledger does not have yet."""
    for case in cases:
        ready = [name for name in case.contestants if not lacking(case, name, folder, hub_folder())]
        for turn in range(min(pairs, 1) if case.once else pairs):
            for contestant in ready:
                if ledger.find(case, contestant, turn) is None:
                    metrics = _measured(case, contestant, turn, folder)
                    ledger.keep(case, contestant, turn, metrics)


def measured(cases: list[Case], ledger: Ledger) -> list[Done]:
    """Return the cases that can be compared, each with the turns that its contestants all had."""
    found = []
    for case in cases:
        turns = {name: ledger.shown(case, name) for name in case.contestants}
        turns = {name: metrics for name, metrics in turns.items() if metrics}
        if len(turns) > 1 and summary.own(case) in turns:
            count = min(map(len, turns.values()))
            kept = {name: metrics[:count] for name, metrics in turns.items()}
            found.append((replace(case, contestants=tuple(kept)), kept))
    return found


def not_measured(done: list[Done], folder: Path) -> list[str]:
    """Return a line for each case that lacks contestants, with the reason."""
    had = {case.name: case.contestants for case, _ in done}
    lines = []
    for case in CASES:
        names = [name for name in case.contestants if name not in had.get(case.name, ())]
        reasons = [lacking(case, name, folder, hub_folder()) or NOT_MEASURED for name in names]
        for reason in dict.fromkeys(reasons):
            who = [name for name, why in zip(names, reasons, strict=True) if why == reason]
            named = f" ({'; '.join(who)})" if len(who) < len(case.contestants) else ""
            lines.append(f"{case.name}{named}: {reason}")
    return lines


def _measured(case: Case, contestant: str, turn: int, folder: Path) -> Part:
    start = time.monotonic()
    if case.task == "sweep":
        # It starts its own processes.
        metrics = measure_sweep(case, contestant, folder)
    else:
        metrics = apart(folder, measure, case, contestant, folder, gpu=case.gpu)
    took = f"{time.monotonic() - start:.0f} s"
    print(f"{case.letter}. {case.name}: {contestant}, turn {turn + 1}, {took}", file=sys.stderr)
    return metrics


def apart(folder: Path, function: Callable[..., Any], *arguments: Any, gpu: bool = False) -> Any:
    """Call a function in a fresh process with its output sent to a file; return its result."""
    return run_apart(_quietly, folder / "last.log", gpu, function, *arguments)


def _quietly(log: Path, gpu: bool, function: Callable[..., Any], *arguments: Any) -> Any:
    with open(log, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if not gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    return function(*arguments)


def measure_cpu(cases: list[Case], pairs: int, folder: Path) -> Ledger:
    """Measure the CPU cases; return the ledger."""
    hub = hub_folder()
    ready = [
        case for case in cases if any(not lacking(case, it, folder, hub) for it in case.contestants)
    ]
    shapes = list(dict.fromkeys(case.shape for case in ready))
    source = apart(folder, prepare, shapes, folder, hub)
    ledger = Ledger(folder / "fast_path.json", apart(folder, conditions, source["titles"]))
    measure_all(ready, pairs, folder, ledger)
    return ledger


def measure_gpu(pairs: int, folder: Path) -> list[str]:
    """Return the GPU paragraphs; without a GPU, one that says so."""
    if not apart(folder, gpu.available, gpu=True):
        return [gpu.NOT_RUN]
    shapes = [case.shape for case in GPU_CASES]
    source = apart(folder, prepare, shapes, folder, hub_folder(), gpu=True)
    under = apart(folder, gpu.conditions_of, source["titles"], gpu=True)
    ledger = Ledger(folder / "gpu.json", under)
    measure_all(GPU_CASES, pairs, folder, ledger)
    table = apart(folder, gpu.attention_table, gpu=True)
    done = measured(GPU_CASES, ledger)
    return [rendering.gpu_head(under["gpu"]), *rendering.sections(done, ledger), table]


def main(argv: list[str] | None = None) -> int:
    """Write the page; return 1 if the losses of two contestants differ."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fast_path", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--only", metavar="LETTERS", help="only these cases, such as a,d")
    parser.add_argument(
        "--pairs",
        type=int,
        default=5,
        help="turns of each case (default 5); 0 only writes the page",
    )
    parser.add_argument("--gpu", action="store_true", help="measure on a GPU too")
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of measurements")
    arguments = parser.parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    cases = chosen(arguments.only)
    os.environ |= ONE_THREAD
    folder = arguments.results.resolve()
    folder.mkdir(parents=True, exist_ok=True)

    ledger = measure_cpu(cases, arguments.pairs, folder)
    done = measured(CASES, ledger)
    on_gpu = measure_gpu(arguments.pairs, folder) if arguments.gpu else [gpu.NOT_RUN]
    command = shlex.join(["python", "-m", "benchmarks.fast_path", *words])
    absent = not_measured(done, folder)
    write_text(arguments.out, rendering.page(command, ledger, done, absent, on_gpu))
    for line in absent:
        if not line.endswith(NOT_MEASURED):
            print(line, file=sys.stderr)
    differing = [case.name for case, turns in done if not summary.same_losses(case, turns)]
    for name in differing:
        print(f"{name}: the contestants' losses are not the same", file=sys.stderr)
    return int(bool(differing))


if __name__ == "__main__":
    run(main)
