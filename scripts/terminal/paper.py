"""What `prefmake publish` and `prefmake paper` do: keep what reports of a run read; make them."""

import time
from dataclasses import replace
from pathlib import Path

from scripts.common.cli import BadInput
from scripts.common.files import shortest
from scripts.config.plan import reported_files, unfinished
from scripts.provenance.publish import (
    RUNS,
    Run,
    check_published,
    lacking,
    named,
    publish,
    published_in,
    read_runs,
    show,
)
from scripts.terminal.workflow import Sweep

RULES = ("table", "figure", "page", "all")
"""What may run to make reports of a published run; nothing is trained, scored or measured."""


def keep(sweep: Sweep, results: Path, metrics: Path | None) -> None:
    """Publish the experiments of a run that are finished; name the others, which stay as they were.

    Raise BadInput where none is finished, with a line for all that is missing.
    """
    run, folder = _place(sweep, metrics)
    files, states = reported_files(sweep.plan), unfinished(results, sweep.plan, time.time())
    earlier = published_in(folder) or []
    lacks = lacking(files, results, {it: state.word for it, state in states.items()})
    if len(lacks) == len(files):
        lines = list(dict.fromkeys(line for those in lacks.values() for line in those))
        raise BadInput("\n".join([f"{results}: no experiment is finished; it lacks", *lines]))
    finished = {name: those for name, those in files.items() if name not in lacks}
    sizes = publish(finished, results, folder, run.megabytes if run else None)
    for name in files:
        if name in lacks:
            kept = "as it was published before" if name in earlier else "not published"
            print(f"{name}: {kept}; it lacks {len(lacks[name])}, such as {lacks[name][0]}")
        else:
            print(f"{name}: published")
    print(f"{folder}: {len(sizes)} files, {sum(sizes.values()):,} bytes")


def remake(sweep: Sweep, metrics: Path | None = None, report: Path | None = None) -> None:
    """Make tables, figures and page of a published run, and its part of docs/ if it has one."""
    run, folder = _place(sweep, metrics)
    report = report or Path("results", "paper", folder.name)
    paths = {
        "results": shortest(report),
        "logs": str(Path("logs", "paper", folder.name)),
        "metrics": shortest(folder),
    }
    sweep = replace(sweep, values={"pathvars": paths})
    files = reported_files(sweep.plan)
    check_published(files, folder)
    # A run may be going on meanwhile, and hold the lock.
    sweep.snakemake("--cores", "all", "--nolock", "--allowed-rules", *RULES)
    absent = [name for name in files if name not in (published_in(folder) or [])]
    print(f"{folder.name}: {shortest(report)}/: tables, figures and report.html")
    if absent:
        print(f"{folder.name}: not published yet: {', '.join(absent)}")
    if run and run.docs and metrics is None:
        show(report, run.docs)
        print(f"{folder.name}: {run.docs}/: the same tables and figures, to read")


def remake_all() -> None:
    """Make the reports of every run that is published; say which is not."""
    runs = read_runs(RUNS)
    published = [name for name in runs if published_in(RUNS.parent / name) is not None]
    for name, run in runs.items():
        if name not in published:
            words = " ".join(f"--config {file}" for file in run.config)
            print(f"{name}: not published yet (prefmake publish {words} fills paper/{name}/)")
    if not published:
        raise BadInput(f"{shortest(RUNS.parent)}: no run is published here")
    for name in published:
        remake(Sweep(runs[name].config))


def _place(sweep: Sweep, metrics: Path | None) -> tuple[Run | None, Path]:
    """Return what paper/runs.yaml says of a run, if it is there, and where it is published."""
    runs = read_runs(RUNS)
    name = named(sweep.files, runs)
    if name is None and metrics is None:
        raise BadInput(
            f"{shortest(RUNS)}: no run has config: {', '.join(map(str, sweep.files))}; add it "
            "there, or name a folder with --metrics"
        )
    return runs.get(name or ""), metrics or Path(shortest(RUNS.parent / str(name)))
