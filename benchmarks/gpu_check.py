"""Check on a GPU that the published trials train and resume: shapes of the real models, random
weights, nothing downloaded.

Each case runs in its own process. It loads a model from a snapshot on disk as a trial does, takes
two optimizer steps with this project's trainer and a checkpoint in between, then resumes from the
checkpoint with a new trainer and takes the second step again. A case that fails gets a row with the
reason, and the exit code is 1.

    python -m benchmarks.gpu_check [--shapes tinyllama] [--out gpu.json]
"""

import argparse
import gc
import json
import math
import multiprocessing
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import Row, write_json

if TYPE_CHECKING:
    import torch
    from rich.table import Table as Grid
    from transformers import Trainer

Part = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
QWEN = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
SHAPES: dict[str, Part] = {
    "qwen-14b": QWEN | {
        "hidden_size": 5120, "intermediate_size": 13824, "num_hidden_layers": 48,
        "num_attention_heads": 40, "num_key_value_heads": 8, "vocab_size": 152064,
        "rope_theta": 1e6,
    },
    "tinyllama": LLAMA | {
        "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
        "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 32000,
    },
    "tiny": LLAMA | {
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 300,
    },
}  # fmt: skip
"""The sizes in each model's config.json, and a tiny one that is fast on a CPU."""
LENGTHS = {"titles-dpo": (75, 12), "sft-1": (100, 412), "dpo-1": (43, 150)}
"""Tokens of prompt and completion by trial of config.yaml: medians, or the padded length."""
BACKENDS = ("transformers", "unsloth")
SHARD = 5 * 10**9
STEPS = 2
LOSS_TOLERANCE = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 1e-2}
"""Allowed difference in the loss of the second step from rounding, for losses of about ten."""
ADAPTER_TOLERANCE = 0.05
"""Allowed difference in the adapter, as a share of how far it has moved. This catches a lost
optimizer state. An adapter that has not moved at all proves nothing, and fails."""


@dataclass(frozen=True)
class Case:
    """One check: a trial of config.yaml on a model of some shape."""

    shape: str
    trial: str
    backend: str
    precision: str
    quantization: str

    @property
    def label(self) -> str:
        """Return the case's name on the command line."""
        return "/".join(asdict(self).values())


def cases_of(shape: str) -> list[Case]:
    """Return the cases of a shape: the 14B model in NF4, smaller ones in 16 bit as well."""
    if shape == "tiny":
        return [
            Case(shape, trial, "transformers", precision, quantization)
            for trial, precision, quantization in (
                ("sft-1", "float32", "none"), ("dpo-1", "bfloat16", "none"),
                ("sft-1", "bfloat16", "nf4"), ("dpo-1", "float32", "nf4"),
            )
        ]  # fmt: skip
    found = []
    for backend in BACKENDS:
        for precision in ("bfloat16", "float16"):
            if shape == "qwen-14b":
                found.append(Case(shape, "titles-dpo", backend, precision, "nf4"))
            else:
                found += [Case(shape, t, backend, precision, "none") for t in ("sft-1", "dpo-1")]
        if shape != "qwen-14b":
            found.append(Case(shape, "sft-1", backend, "bfloat16", "nf4"))
    return found


def write_snapshot(shape: str, folder: Path) -> Path:
    """Write a model of a shape with random bfloat16 weights, and return its manifest.

    Weights are made on the GPU if there is one and written shard by shard, so that only one shard
    is in memory at a time.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    from scripts.models.demo import train_tokenizer
    from scripts.models.manifest import write_manifest

    snapshot = folder / "snapshot"
    snapshot.mkdir(parents=True)
    settings = SHAPES[shape] | {"tie_word_embeddings": False, "max_position_embeddings": 2048}
    config = AutoConfig.for_model(**settings, dtype="bfloat16", eos_token_id=2, bos_token_id=1)
    config.save_pretrained(snapshot)
    tokenizer = train_tokenizer(["Every byte is in the alphabet."], 300)
    tokenizer.save_pretrained(snapshot)
    with torch.device("meta"):
        shapes = {
            name: weight.shape
            for name, weight in AutoModelForCausalLM.from_config(config).state_dict().items()
        }
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    place: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    for name, size in shapes.items():
        shard[name] = _random_weight(name, size, device)
        last = name == list(shapes)[-1]
        if last or sum(weight.nbytes for weight in shard.values()) >= SHARD:
            file = f"model-{len(set(place.values())) + 1:05}.safetensors"
            save_file(shard, snapshot / file, {"format": "pt"})
            place |= dict.fromkeys(shard, file)
            shard = {}
    index = {"metadata": {}, "weight_map": place}
    write_json(snapshot / "model.safetensors.index.json", index)
    write_manifest(folder / "manifest.json", snapshot, {"source": "random"})
    return folder / "manifest.json"


def _random_weight(name: str, shape: "torch.Size", device: str) -> "torch.Tensor":
    """Return an untrained weight: 1 for norms, 0 for biases, otherwise normal."""
    import torch

    weight = torch.empty(shape, dtype=torch.bfloat16, device=device)
    if name.endswith(".bias"):
        return weight.zero_()
    return weight.fill_(1) if weight.ndim == 1 else weight.normal_(0, 0.02)


def trial_of(case: Case) -> Part:
    """Return the trial of config.yaml, changed to train for the two steps of this check.

    The learning rate is above 0 from the first step on; otherwise resuming would restore nothing.
    """
    from scripts.config.check import load
    from scripts.config.plan import make_plan
    from scripts.train.estimate.probe import first_steps

    runs = make_plan(load([ROOT / "config.yaml"])).runs
    training = runs[f"trials/{case.trial}/seed-42"].training
    trial = first_steps(training.as_json(), STEPS)
    trial["trainer"] |= {"logging_steps": 1, "warmup_steps": 0}
    return trial | {
        "backend": case.backend,
        "precision": case.precision,
        "quantization": case.quantization,
        "base": case.shape,
        "revision": None,
    }


def token_rows(case: Case, count: int) -> list[Row]:
    """Return rows of random tokens with the lengths of the published data."""
    chosen = random.Random(0)
    prompt, completion = LENGTHS[case.trial]

    def tokens(length: int) -> list[int]:
        return [chosen.randrange(10, 300) for _ in range(length)]

    columns = ("completion_ids",) if case.trial == "sft-1" else ("chosen_ids", "rejected_ids")
    return [
        {"id": str(i), "prompt_ids": tokens(prompt), **{c: tokens(completion) for c in columns}}
        for i in range(count)
    ]


def check(case: Case, manifest: Path) -> Part:
    """Return a case's results: two steps, then the second one again from a checkpoint."""
    from scripts.train.estimate.probe import trainer_of

    trial = trial_of(case)
    trainer = trial["trainer"]
    window = trainer["per_device_train_batch_size"] * trainer["gradient_accumulation_steps"]
    rows = token_rows(case, STEPS * window)
    with tempfile.TemporaryDirectory() as work:
        whole = trainer_of(trial, manifest, rows, Path(work))

        from transformers import PrinterCallback

        from scripts.train.costs import Stopwatch
        from scripts.train.run import train

        _save_every_step(whole)
        watch = Stopwatch()
        watch.watch(whole)
        result = train(whole, trial)
        loss, adapter = _last_loss(whole), _adapter(whole)
        whole = None
        _free()
        resumed = trainer_of(trial, manifest, rows, Path(work))
        resumed.remove_callback(PrinterCallback)
        resumed.train(resume_from_checkpoint=str(Path(work, "checkpoint-1")))
        again, difference = _last_loss(resumed), _distance(adapter, _adapter(resumed))
    seconds, _, tokens = watch.steps()[-1]
    moved = _distance(adapter)
    close = abs(loss - again) <= LOSS_TOLERANCE[result["precision"]] * max(1, abs(loss))
    return {
        "failed": None,
        "step_seconds": seconds,
        "tokens_per_second": tokens / seconds,
        "peak_memory_gb": result["peak_memory_mb"] / 1024,
        "loss": loss,
        "resumed_loss": again,
        "adapter_moved": moved,
        "adapter_difference": difference,
        "resume_ok": bool(moved and close and difference <= ADAPTER_TOLERANCE * moved),
    }


def _save_every_step(trainer: "Trainer") -> None:
    from transformers.trainer_utils import SaveStrategy

    trainer.args.save_strategy = SaveStrategy.STEPS
    trainer.args.save_steps = 1
    trainer.args.save_total_limit = None


def _last_loss(trainer: "Trainer") -> float:
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry][-1]


def _adapter(trainer: "Trainer") -> dict[str, "torch.Tensor"]:
    """Return the half of the adapter that starts at 0: it shows how far the adapter moved."""
    return {
        name: weight.detach().cpu().clone()
        for name, weight in trainer.model.named_parameters()
        if weight.requires_grad and "lora_B" in name
    }


def _distance(
    one: dict[str, "torch.Tensor"], other: dict[str, "torch.Tensor"] | None = None
) -> float:
    """Return the Euclidean distance of two adapters, or of one from its start at 0."""
    return math.hypot(*(float((w - other[name] if other else w).norm()) for name, w in one.items()))


def _free() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def run_apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a fresh process; return its result or raise its error.

    Raises
    ------
    BrokenProcessPool
        If the process was killed.
    """
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=fresh) as pool:
        return pool.submit(function, *arguments).result()


def row_of(case: Case, manifest: Path) -> Part:
    """Return a case's row; if the case fails, the row says why."""
    try:
        metrics = run_apart(attempt, case, manifest)
    except BrokenProcessPool:
        metrics = {"failed": "its process was killed, perhaps for want of memory"}
    return {**asdict(case), **metrics}


def attempt(case: Case, manifest: Path) -> Part:
    """Return a case's results, or its error as text: not every exception can be pickled."""
    try:
        return check(case, manifest)
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines()
        return {"failed": f"{type(error).__name__}: {lines[0] if lines else 'no message'}"}


def machine() -> Part:
    """Return the GPU, its memory and driver, and the versions of the training packages."""
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from scripts.lm.devices import device_name

    packages = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "triton",
                "unsloth", "unsloth_zoo")  # fmt: skip
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    gpu = torch.cuda.is_available()
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30 if gpu else None
    return {
        "device": device_name(),
        "gpu": gpu,
        "memory_gb": memory,
        "cuda": torch.version.cuda,
        "driver": driver(),
        "python": sys.version.split()[0],
        "versions": found,
    }


def driver() -> str | None:
    """Return the version of NVIDIA's driver, or None without one."""
    if not shutil.which("nvidia-smi"):
        return None
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    return answer.stdout.strip().splitlines()[0] if answer.stdout.strip() else None


COLUMNS = ("shape", "trial", "backend", "precision", "quantization")
FIGURES = ("step s", "tokens/s", "peak GB", "resume")


def grid(rows: list[Part]) -> "Grid":
    """Return the table of all cases; a failed one says so in place of its results."""
    from rich import box
    from rich.table import Table as Grid

    table = Grid(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), collapse_padding=True)
    for name in COLUMNS:
        table.add_column("quant." if name == "quantization" else name, no_wrap=True)
    for name in FIGURES:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        case = [row[name] for name in COLUMNS]
        if row["failed"]:
            table.add_row(*case, "failed", "–", "–", "–")
            continue
        table.add_row(
            *case, f"{row['step_seconds']:.2f}", f"{row['tokens_per_second']:,.0f}",
            f"{row['peak_memory_gb']:.2f}", _verdict(row),
        )  # fmt: skip
    return table


def _verdict(row: Part) -> str:
    if row["resume_ok"]:
        return "ok"
    return "differs" if row["adapter_moved"] else "no step"


def select(shapes: list[str], labels: list[str] | None) -> list[Case]:
    """Return the cases of the shapes, or only those named in `labels`.

    Raises
    ------
    BadInput
        If a label names no case.
    """
    cases = [case for shape in shapes for case in cases_of(shape)]
    if labels is None:
        return cases
    known = {case.label: case for case in cases}
    if unknown := [label for label in labels if label not in known]:
        raise BadInput(f"--cases: found {', '.join(unknown)}; allowed: {', '.join(known)}")
    return [known[label] for label in labels]


def main(argv: list[str] | None = None) -> int:
    """Print the table; return 1 if a case failed or resumed with other numbers.

    Without the GPU that a shape needs, say so and return 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_check", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["tinyllama", "qwen-14b"])
    parser.add_argument(
        "--cases", nargs="+", metavar="LABEL", help="only these, as named by --list"
    )
    parser.add_argument("--list", action="store_true", help="print the cases and exit")
    parser.add_argument("--work", type=Path, help="folder for snapshots: 30 GB for qwen-14b")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    arguments = parser.parse_args(argv)
    cases = select(arguments.shapes, arguments.cases)
    if arguments.list:
        print(*(case.label for case in cases), sep="\n")
        return 0

    from rich.console import Console

    console = Console()
    here = run_apart(machine)
    if not here["gpu"] and any(case.shape != "tiny" for case in cases):
        reason = "torch.cuda.is_available() is false; --shapes tiny runs on a CPU"
        print(f"skipped {len(cases)} cases, no GPU: {reason}")
        return 0
    console.print(f"{here['device']}, driver {here['driver']}, CUDA {here['cuda']}", soft_wrap=True)
    console.print(json.dumps(here["versions"]), soft_wrap=True)
    rows = check_all(cases, arguments.work)
    console.print(grid(rows))
    for row in rows:
        if row["failed"]:
            console.print(f"{Case(*(row[n] for n in COLUMNS)).label}: {row['failed']}",
                          soft_wrap=True, markup=False)  # fmt: skip
    if arguments.out:
        write_json(arguments.out, {"machine": here, "cases": rows})
    return int(any(row["failed"] or not row["resume_ok"] for row in rows))


def check_all(cases: list[Case], work: Path | None) -> list[Part]:
    """Return the rows of all cases. Write each shape's snapshot once, and remove it after use."""
    rows = []
    for shape in dict.fromkeys(case.shape for case in cases):
        with tempfile.TemporaryDirectory(dir=work) as folder:
            manifest = run_apart(write_snapshot, shape, Path(folder, shape))
            rows += [row_of(case, manifest) for case in cases if case.shape == shape]
    return rows


if __name__ == "__main__":
    run(main)
