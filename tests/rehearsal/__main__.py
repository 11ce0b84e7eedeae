"""Rehearses the paper: its whole DAG on a CPU, with tiny base models and few rows.

    python -m tests.rehearsal [snakemake's targets and options]

A hub on the loopback interface serves the repositories that config.yaml names: the real ones from
the folder PREFMAKE_HUB, where there is one, and otherwise stand-ins of their shape. Results go to
results/rehearsal; with `-d FOLDER`, below that folder.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.config.check import load
from scripts.config.plan import Plan, make_plan
from tests.hub.repositories import real_hub
from tests.hub.server import serve
from tests.rehearsal.differences import differences
from tests.rehearsal.stand_ins import write_stand_ins

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "config.yaml", ROOT / "tests" / "rehearsal" / "config.yaml"]


def commits(plan: Plan) -> dict[str, str]:
    """Return the commits at which the configuration names repositories."""
    sources = [part.source for part in [*plan.models.values(), *plan.datasets.values()]]
    return {
        source["hub"]: source["revision"]
        for source in sources
        if "hub" in source and source["revision"] != "main"
    }


def repositories(plan: Plan) -> list[str]:
    """Return the folders of all repositories that a plan fetches."""
    kinds = {"models": plan.models, "datasets": plan.datasets}
    used = {
        f"{kind}/{part.source['hub']}"
        for kind, parts in kinds.items()
        for part in parts.values()
        if part.is_on_hub
    }
    return sorted(used)


def splits_in(repository: Path) -> set[str]:
    """Return the splits that a dataset repository has data files of."""
    files = [*repository.rglob("*.parquet"), *repository.rglob("*.jsonl.gz")]
    return {re.split(r"[-.]", file.name)[0] for file in files}


def leave_to_real(stand_ins: Path, real: Path) -> None:
    """Delete the stand-ins of datasets that are real here, with all splits."""
    for folder in (stand_ins / "datasets").glob("*/*"):
        if splits_in(folder) <= splits_in(real / folder.relative_to(stand_ins)):
            shutil.rmtree(folder)


def main() -> int:
    """Run the rehearsal; return Snakemake's exit code, or 1 if more differs than may."""
    paper, rehearsal = make_plan(load(FILES[:1])), make_plan(load(FILES))
    wrong = differences(paper, rehearsal)
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    trials = len(rehearsal.runs)
    print(f"{trials} trials differ from config.yaml only in base model, its precision and rows")
    real = real_hub()
    with tempfile.TemporaryDirectory() as folder:
        stand_ins = Path(folder, "hub")
        write_stand_ins(stand_ins, real)
        leave_to_real(stand_ins, real)
        for name in repositories(rehearsal):
            print(f"{name}: {'stand-in' if (stand_ins / name).is_dir() else 'real'}", flush=True)
        programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with serve(stand_ins, real, commits=commits(rehearsal)) as hub:
            # Rules call plain `python`, which is this one.
            environment = {**os.environ, "PATH": programs, "HF_ENDPOINT": hub.url,
                           "HF_HOME": f"{folder}/cache"}  # fmt: skip
            command = [sys.executable, "-m", "snakemake", *sys.argv[1:], "--cores", "2",
                       "--resources", "gpu=2", "--configfile", *map(str, FILES)]  # fmt: skip
            process = subprocess.Popen(command, cwd=ROOT, env=environment)
            try:
                return process.wait()
            except KeyboardInterrupt:
                # Snakemake got it too and ends its jobs, which may still need the hub.
                return process.wait()


if __name__ == "__main__":
    sys.exit(main())
