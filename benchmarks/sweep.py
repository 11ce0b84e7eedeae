"""Five trials that differ in learning rate and beta: a script with TRL five times, or one DAG.

Both start from the same texts in the same folder and the same local model. Everything that the
commands do counts: imports, tokenization, Snakemake, and every process that they start.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cases import OWN, Case
from benchmarks.contestants import packages_of
from scripts.common.files import read_json, read_jsonl, write_jsonl
from scripts.lm.tokenizers import snapshot_folder

Part = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
TRIALS = ((1e-4, 0.1), (2e-4, 0.1), (5e-4, 0.1), (2e-4, 0.05), (2e-4, 0.3))
"""Learning rate and beta."""
SEED = 42
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def measure_sweep(case: Case, contestant: str, folder: Path) -> Part:
    """Return CPU seconds and memory of a contestant's whole sweep."""
    work, model = folder / "sweep", folder / "models" / case.shape
    shutil.rmtree(work, ignore_errors=True)
    write_data(case, model / "titles.jsonl", work / "data")
    try:
        if contestant == OWN:
            return own_sweep(case, snapshot_folder(model / "manifest.json"), work)
        return stock_sweep(case, contestant, folder, work)
    finally:
        shutil.rmtree(work / "data", ignore_errors=True)


def write_data(case: Case, texts: Path, data: Path) -> None:
    """Write a sweep's pairs as texts, drawn from all titles, and a few others as a test split."""
    rows = random.Random(0).sample(read_jsonl(texts), case.rows + 16)
    write_jsonl(data / "train.jsonl", rows[: case.rows])
    write_jsonl(data / "test.jsonl", rows[case.rows :])


def stock_sweep(case: Case, contestant: str, folder: Path, work: Path) -> Part:
    """Run TRL once per trial; what a trial leaves in the cache of datasets, the next one finds."""
    model = snapshot_folder(folder / "models" / case.shape / "manifest.json")
    runs = []
    for number in range(len(TRIALS)):
        trial = stock_trial(case, contestant, number, model, work)
        command = [sys.executable, "-m", "benchmarks.stock_trial", json.dumps(trial)]
        run = run_counted(command, work, *packages_of(contestant, folder), ROOT)
        said = [line for line in run.pop("output").splitlines() if line.startswith('{"')]
        runs.append(run | json.loads(said[-1]))
    return {
        "process_seconds": {key: sum(run[key] for run in runs) for key in ("cpu", "wall")},
        "runs": [run["cpu"] for run in runs],
        "reference_batches": [run["reference_batches"] for run in runs],
        "peak_mb": max(run["peak_mb"] for run in runs),
        "last_losses": [run["losses"][-1] for run in runs],
        "steps": [len(run["losses"]) for run in runs],
    }


def stock_trial(case: Case, contestant: str, number: int, model: Path, work: Path) -> Part:
    """Return what `benchmarks.stock_trial` is told: the settings of the other contestant.

    With a limit of length, TRL filters rows with a function that refers to all of a trial's
    settings, and so does the name under which it caches references. Without one, trials that differ
    in learning rate or beta share them, if their adapters start the same.
    """
    rate, beta = TRIALS[number]
    cached = contestant.endswith("cached references")
    return {
        "data": str(work / "data"),
        "model": str(model),
        "lora": {"r": case.rank, "lora_alpha": 2 * case.rank, "lora_dropout": 0.0,
                 "target_modules": PROJECTIONS, "task_type": "CAUSAL_LM"},
        "arguments": {
            "learning_rate": rate, "beta": beta, "lr_scheduler_type": "constant",
            "num_train_epochs": 1, "per_device_train_batch_size": case.batch,
            "gradient_accumulation_steps": case.accumulation, "optim": "adamw_torch",
            "gradient_checkpointing": False, "bf16": case.precision == "bfloat16",
            "use_cpu": True, "max_length": None if cached else 1024,
            "precompute_ref_log_probs": cached, "logging_steps": 1, "seed": SEED,
            "report_to": "none", "save_strategy": "no",
            "model_init_kwargs": {"dtype": case.precision},
            "output_dir": str(work / f"trl-{number}"),
        },
    }  # fmt: skip


def own_sweep(case: Case, model: Path, work: Path) -> Part:
    """Run Snakemake for the five adapters."""
    config, results = work / "sweep.yaml", work / "own"
    names = [f"trial-{number}" for number in range(len(TRIALS))]
    config.write_text(json.dumps(own_config(case, model, work / "data")), encoding="utf-8")
    targets = [f"results/trials/{name}/seed-{SEED}/train.json" for name in names]
    results.mkdir()
    run = run_counted(
        ["snakemake", *targets, "--snakefile", str(ROOT / "Snakefile"), "-d", str(results),
         "--cores", "1", "--resources", "gpu=1", "--configfile", str(config)],
        work,
    )  # fmt: skip
    run.pop("output")
    found = [read_json(results / target) for target in targets]
    parts = benchmarks_of(results / "logs" / "benchmarks")
    return {
        "process_seconds": {key: run[key] for key in ("cpu", "wall")},
        "jobs": parts,
        "peak_mb": run["peak_mb"],
        "last_losses": [trial["last_loss"] for trial in found],
        "steps": [trial["steps"] for trial in found],
        "layout": [trial.get("layout") for trial in found],
    }


def own_config(case: Case, model: Path, data: Path) -> Part:
    """Return a configuration with the five trials; it is written as JSON, which is YAML too."""
    defaults = {
        "lora": {"r": case.rank, "lora_alpha": 2 * case.rank, "target_modules": PROJECTIONS},
        "lr_scheduler_type": "constant",
        "num_train_epochs": 1,
        "per_device_train_batch_size": case.batch,
        "gradient_accumulation_steps": case.accumulation,
        "logging_steps": 1,
    }
    trials = [
        {"name": f"trial-{number}", "learning_rate": rate, "beta": beta}
        for number, (rate, beta) in enumerate(TRIALS)
    ]
    files = {"train": str(data / "train.jsonl"), "test": str(data / "test.jsonl")}
    return {
        "accelerator": "cpu",
        "models": {"small": {"precision": case.precision, "source": {"folder": str(model)}}},
        "datasets": {
            "titles": {
                "format": "messages",
                "source": {"file": files},
                "splits": {"by": "source", "train": "train", "test": "test"},
            }
        },
        "experiments": {
            "sweep": {
                "model": "small",
                "seeds": [SEED],
                "preference": {"dataset": "titles", "defaults": defaults, "trials": trials},
            }
        },
    }


def benchmarks_of(folder: Path) -> Part:
    """Return the CPU seconds of each job from Snakemake's benchmark files."""
    found = {}
    for path in sorted(folder.rglob("*.tsv")):
        names, values = (line.split("\t") for line in path.read_text().splitlines()[:2])
        seconds = dict(zip(names, values, strict=True)).get("cpu_time", "")
        name = path.relative_to(folder).with_suffix("").as_posix()
        found[name] = float(seconds) if re.fullmatch(r"[\d.]+", seconds) else None
    return found


def run_counted(command: list[str], work: Path, *packages: Path) -> Part:
    """Run a command, which imports from `packages` first; return CPU seconds and memory.

    Those of its child processes are included.

    Raises
    ------
    RuntimeError
        If it fails; the message has the end of its output.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Each sweep has its own cache, so it cannot reuse what another one left.
    environment = {**os.environ, "PATH": programs, "HF_HOME": str(work / "cache"),
                   "PYTHONPATH": os.pathsep.join(map(str, packages))}  # fmt: skip
    output = work / "output.log"
    start = time.perf_counter()
    with open(output, "wb") as log:
        process = subprocess.Popen(
            command, cwd=work, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    text = output.read_text(encoding="utf-8", errors="replace")
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}:\n{text[-3000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "cpu": used.ru_utime + used.ru_stime,
        "wall": wall,
        "peak_mb": used.ru_maxrss * unit / 2**20,
        "output": text,
    }
