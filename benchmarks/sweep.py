"""Five trials that differ in learning rate and beta: TRL's command line five times, or one DAG.

Both start from the same texts in the same folder and the same local model. Everything that the
commands do counts: imports, tokenization, Snakemake, and every process that they start.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cases import Case
from scripts.common.files import read_json, read_jsonl, write_jsonl

Part = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
TRIALS = ((1e-4, 0.1), (2e-4, 0.1), (5e-4, 0.1), (2e-4, 0.05), (2e-4, 0.3))
"""Learning rate and beta."""
SEED = 42
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def measure_sweep(case: Case, contestant: str, folder: Path) -> Part:
    """Return CPU seconds and memory of a contestant's whole sweep."""
    work = folder / "sweep"
    shutil.rmtree(work, ignore_errors=True)
    write_data(case, folder, work / "data")
    run = {"TRL's command line": stock_sweep, "prefmake": own_sweep}[contestant]
    try:
        return run(case, folder / "models" / case.shape / "snapshot", work)
    finally:
        shutil.rmtree(work / "data", ignore_errors=True)


def write_data(case: Case, folder: Path, data: Path) -> None:
    """Write a sweep's pairs as texts, drawn from all titles, and a few others as a test split."""
    import random

    rows = random.Random(0).sample(read_jsonl(folder / "titles" / "train.jsonl"), case.rows + 16)
    write_jsonl(data / "train.jsonl", rows[: case.rows])
    write_jsonl(data / "test.jsonl", rows[case.rows :])


def stock_sweep(case: Case, model: Path, work: Path) -> Part:
    """Run `trl dpo` once per trial."""
    runs, losses, training = [], [], []
    for number in range(len(TRIALS)):
        out = work / f"trl-{number}"
        run = run_counted(stock_command(case, number, model, work / "data", out), work)
        runs.append(run)
        last = max(out.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))
        log = read_json(last / "trainer_state.json")["log_history"]
        losses.append([float(entry["loss"]) for entry in log if "loss" in entry])
        training.append(float(re.findall(r"'train_runtime': '?([\d.e+]+)", run.pop("output"))[-1]))
    return {
        "process_seconds": {key: sum(run[key] for run in runs) for key in ("cpu", "wall")},
        "runs": [run["cpu"] for run in runs],
        "training_wall": sum(training),
        "peak_mb": max(run["peak_mb"] for run in runs),
        "last_losses": [loss[-1] for loss in losses],
        "steps": [len(loss) for loss in losses],
    }


def stock_command(case: Case, number: int, model: Path, data: Path, out: Path) -> list[str]:
    """Return the `trl dpo` command of a trial.

    Settings match the other contestant's: float32, no gradient checkpointing, no truncation at
    max_length.
    """
    rate, beta = TRIALS[number]
    return [
        "trl", "dpo", "--model_name_or_path", str(model), "--dtype", "float32",
        "--dataset_name", str(data), "--learning_rate", str(rate), "--beta", str(beta),
        "--lr_scheduler_type", "constant", "--num_train_epochs", "1",
        "--per_device_train_batch_size", str(case.batch),
        "--gradient_accumulation_steps", str(case.accumulation),
        "--use_peft", "--lora_r", str(case.rank), "--lora_alpha", str(2 * case.rank),
        "--lora_dropout", "0.0", "--lora_target_modules", *PROJECTIONS,
        "--optim", "adamw_torch", "--gradient_checkpointing", "False", "--bf16", "False",
        "--use_cpu", "--max_length", "1024", "--logging_steps", "1", "--seed", str(SEED),
        "--report_to", "none", "--output_dir", str(out),
    ]  # fmt: skip


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
        "training_wall": sum(trial["seconds"] for trial in found),
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
        "models": {"small": {"precision": "float32", "source": {"folder": str(model)}}},
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


def run_counted(command: list[str], work: Path) -> Part:
    """Run a command; return CPU seconds and memory, including those of its child processes.

    Raises
    ------
    RuntimeError
        If it fails; the message has the end of its output.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # Each run has its own cache, so it cannot reuse what another run left.
    environment = {**os.environ, "PATH": programs, "HF_HOME": str(work / "cache"),
                   "ACCELERATE_USE_CPU": "true", "PYTHONPATH": ""}  # fmt: skip
    shutil.rmtree(work / "cache", ignore_errors=True)
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
