"""Estimate what a sweep will cost before it runs: steps, tokens, memory, disk, hours.

Nothing is trained and no weight is loaded. Memory is counted from configurations and token lengths
(see sizes.py); hours come from a probe of a trial of the same speed, if there is one.

    python -m scripts.config.check show config.yaml | \\
    python -m scripts.train.estimate.sweep --trials - \\
        --models demo=results/models/demo/tokenizer/manifest.json \\
        --tokens titles.demo.chat.128=results/tokens/titles.demo.chat.128 --out plan.json
"""

import argparse
import json
import random
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json, read_table, write_json
from scripts.common.methods import METHODS
from scripts.provenance.record import SUFFIX
from scripts.train.estimate.pace import pace_of
from scripts.train.estimate.sizes import (
    FLOAT32,
    PACKED_CHUNK,
    STOCK_CHUNK,
    Batch,
    Layout,
    activation_bytes,
    block_bytes,
    check_architecture,
    layout,
    logit_bytes,
    optimizer_bytes,
    optimizer_steps,
    weight_bytes,
)
from scripts.train.starts import start_of

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Part = dict[str, Any]

GIB = 2**30
CONTEXT = GIB
"""An allowance, not measured: for CUDA, cuBLAS and their kernels."""
FRAGMENTATION = 0.05
"""An allowance, not measured: unused memory between tensors, as a share of their bytes."""
CHECKPOINTS = 2
"""Checkpoints on disk at once: the best or last one, and the one that is being written."""
COMPLETIONS = {
    "demonstrations": ("completion_ids",),
    "preferences": ("chosen_ids", "rejected_ids"),
    "unpaired": ("completion_ids",),
}
"""By kind of rows, the columns of the completions that are trained on. Of pairs, unpaired rows are
both."""
NOTES = (
    "Memory is a trial's peak: a batch of the longest row. The total contains the larger of "
    "`logits` and `block`, which are not in use at once.",
    "`overhead` is an allowance: 1 GiB for CUDA, 5 % for fragmentation. All else is counted.",
    "Memory with the backend unsloth is counted as with transformers, not as Unsloth needs it.",
    "Padding is that of another shuffle than the trainer's: padded tokens are an estimate; real "
    "tokens are exact if every epoch is whole.",
    "Hours are those of optimizer steps only, without loading, losses on the validation split, "
    "reference log-probs and evaluation.",
)


@dataclass(frozen=True)
class Model:
    """A base model: its configuration, the size of its snapshot, and what is to be downloaded."""

    config: "PreTrainedConfig"
    snapshot_bytes: int
    download_bytes: int


@dataclass(frozen=True)
class Gpu:
    """The GPU that trials must fit into."""

    name: str | None
    """None if only the size is known."""
    memory: int
    """In bytes."""


def read_model(manifest: Path) -> Model:
    """Return a model from the manifest of its snapshot, or only of its config and tokenizer.

    The latter has `snapshot_bytes`, the size of the whole snapshot. A snapshot on the hub has to be
    downloaded unless its own manifest, one folder up, is there.
    """
    from scripts.lm.checks import read_config
    from scripts.lm.tokenizers import snapshot_folder

    content = read_json(manifest)
    here = sum(file["bytes"] for file in content["files"])
    config = read_config(snapshot_folder(manifest))
    check_architecture(config)
    size = content.get("snapshot_bytes", here)
    elsewhere = "snapshot_bytes" in content and content["source"] == "hub"
    download = elsewhere and not _is_fetched(manifest.parent.parent / "manifest.json", content)
    return Model(config, size, size if download else 0)


def _is_fetched(snapshot: Path, tokenizer: Part) -> bool:
    """Return True if the manifest of a whole snapshot is there and has the tokenizer's commit."""
    whole = read_json(snapshot) if snapshot.is_file() else {}
    return all(whole.get(key) == tokenizer[key] for key in ("repository", "commit"))


def rows_of(trial: Part) -> str:
    """Return the kind of rows that a trial learns: pairs may be two rows each."""
    rows: str = trial["rows"]
    return "unpaired" if METHODS[trial["method"]].has_partners else rows


def read_lengths(path: Path, rows: str) -> list[tuple[int, ...]]:
    """Return the number of tokens of each row's sequences: one, or the two of a pair.

    Of a file of pairs, unpaired rows are two for each pair.

    Raises
    ------
    BadInput
        When the file does not hold this kind of rows.
    """
    table = read_table(path)
    found = table.column_names
    if rows == "unpaired" and "chosen_ids" in found:
        return [(length,) for pair in read_lengths(path, "preferences") for length in pair]
    names = COMPLETIONS[rows]
    if missing := [name for name in ("prompt_ids", *names) if name not in found]:
        raise BadInput(f"{path}: has no {', '.join(missing)}; columns: {', '.join(found)}")
    columns = [
        table[name].combine_chunks().value_lengths().to_pylist() for name in ("prompt_ids", *names)
    ]
    return [
        tuple(prompt + completion for completion in completions)
        for prompt, *completions in zip(*columns, strict=True)
    ]


def batches(lengths: list[tuple[int, ...]], trainer: Part) -> Iterator[list[tuple[int, ...]]]:
    """Yield the batches of a run, step by step; each epoch is shuffled again."""
    size, window = trainer["per_device_train_batch_size"], trainer["gradient_accumulation_steps"]
    shuffled = random.Random(0)
    steps = optimizer_steps(len(lengths), trainer)
    while steps > 0:
        order = shuffled.sample(lengths, len(lengths))
        epoch = [order[start : start + size] for start in range(0, len(order), size)]
        if trainer["dataloader_drop_last"] and len(epoch[-1]) < size and len(epoch) > 1:
            del epoch[-1]
        for start in range(0, len(epoch), window):
            if steps > 0:
                yield from epoch[start : start + window]
            steps -= 1


def count_tokens(lengths: list[tuple[int, ...]], trainer: Part) -> tuple[int, int]:
    """Return the tokens of a run without and with the padding of its batches."""
    real = padded = 0
    for batch in batches(lengths, trainer):
        real += sum(map(sum, batch))
        padded += max(map(max, batch)) * sum(map(len, batch))
    return real, padded


def memory_parts(trial: Part, model: "PreTrainedConfig", weights: Layout, longest: int) -> Part:
    """Return the bytes of GPU memory that a trial needs at its peak, by part and in total.

    It is that of the stock layout, which needs the most and which `auto` falls back to, except for
    a supervised trial that asks for packed rows.

    Parameters
    ----------
    trial
        The resolved trial, with the adapter that is trained.
    model
        The base's configuration.
    weights
        The base's and the adapter's weights.
    longest
        Tokens of the longest sequence.
    """
    trainer, chunk = trial["trainer"], None
    learned = rows_of(trial)
    sequences = trainer["per_device_train_batch_size"] * len(COMPLETIONS[learned])
    if learned == "demonstrations":
        chunk = STOCK_CHUNK
        if trial["layout"] == "shared":
            # One row without padding and mask, shorter than a batch unless that has one row.
            sequences, longest, chunk = 1, sequences * longest, PACKED_CHUNK
    batch = Batch(
        sequences=sequences,
        longest=longest,
        itemsize=FLOAT32 if trial["precision"] == "float32" else 2,
        quantized=trial["quantization"] != "none",
        checkpointing=trainer["gradient_checkpointing"],
        dropout=trial["lora"]["lora_dropout"] > 0 and not trainer.get("disable_dropout", False),
    )
    parts = {
        "weights": weight_bytes(weights, batch.itemsize, trial["quantization"]),
        "adapter": weights.trainable * FLOAT32,
        "gradients": weights.trainable * FLOAT32,
        "optimizer": optimizer_bytes(weights, trainer["optim"]),
        "activations": activation_bytes(model, weights, batch),
        "logits": logit_bytes(model.vocab_size, chunk, batch),
        "block": block_bytes(model, weights, batch),
    }
    tensors = sum(parts.values()) - min(parts["logits"], parts["block"])
    overhead = CONTEXT + int(FRAGMENTATION * tensors)
    return {**parts, "overhead": overhead, "total": tensors + overhead}


def find_gpu(gigabytes: float | None) -> Gpu:
    """Return a GPU of the given size, or this machine's, or one of 80 GB."""
    import torch

    if gigabytes is None and torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return Gpu(found.name, found.total_memory)
    return Gpu(None, int((80 if gigabytes is None else gigabytes) * GIB))


def hours_of(trial: Part, padded: int, probes: list[Part]) -> float | None:
    """Return a trial's hours at the speed of the last probe of its pace, or None."""
    pace = pace_of(trial)
    alike = [probe for probe in probes if probe["for"] == pace]
    return padded / alike[-1]["padded_tokens_per_second"] / 3600 if alike else None


class Estimator:
    """Estimates trials; files and counts that many of them share are read and made once."""

    def __init__(
        self, models: dict[str, Path], tokens: dict[str, Path], probes: list[Part],
        trials: list[Part],
    ):  # fmt: skip
        self.models = {name: read_model(path) for name, path in models.items()}
        self.tokens, self.probes = tokens, probes
        self.trials = {f"trials/{trial['name']}/seed-{trial['seed']}": trial for trial in trials}
        self.lengths = cache(read_lengths)
        self._layout = cache(lambda name, lora: layout(self.model(name).config, json.loads(lora)))
        self._count = cache(
            lambda path, rows, trainer: count_tokens(self.lengths(path, rows), json.loads(trainer))
        )

    def model(self, name: str) -> Model:
        """Return a model. Raise BadInput if it was not given."""
        return _given(self.models, "--models", name)

    def lora(self, trial: Part) -> Part:
        """Return the adapter that a trial trains: its own, and what is left of its start's.

        Raises
        ------
        BadInput
            When the trial that it starts from is needed and is not among the trials.
        """
        start = start_of(trial)
        if not start.keeps_modules:
            return trial["lora"]
        if trial["start"] not in self.trials:
            raise BadInput(
                f"--trials: has no {trial['start']}, whose adapter {trial['name']} trains on"
            )
        other = self.trials[trial["start"]]
        modules = self._layout(other["model"], json.dumps(other["lora"])).modules
        return start.lora(trial["lora"], other["lora"], modules)

    def estimate(self, trial: Part) -> Part:
        """Return the estimate of one trial and seed.

        Raises
        ------
        BadInput
            When its model, its tokens or a trial that it needs were not given, or its split has no
            rows.
        """
        model = self.model(trial["model"])
        path = _given(self.tokens, "--tokens", trial["tokens"]) / f"{trial['train']}.parquet"
        if not path.is_file():
            raise BadInput(f"{path}: no such file; {trial['name']} trains on it")
        rows = self.lengths(path, rows_of(trial))
        if not rows:
            raise BadInput(f"{path}: has no rows; {trial['name']} trains on it")
        lora = self.lora(trial)
        weights = self._layout(trial["model"], json.dumps(lora))
        # What batches depend on, so that trials that differ in the learning rate share a count.
        keys = ("max_steps", "num_train_epochs", "per_device_train_batch_size",
                "gradient_accumulation_steps", "dataloader_drop_last")  # fmt: skip
        trainer = {key: trial["trainer"][key] for key in keys}
        real, padded = self._count(path, rows_of(trial), json.dumps(trainer))
        longest = max(map(max, rows))
        adapter = weights.trainable * FLOAT32
        return {
            **{key: trial[key] for key in ("name", "seed", "method", "model", "tokens")},
            "backend": trial["backend"],
            "precision": trial["precision"],
            "quantization": trial["quantization"],
            "rows": len(rows),
            "longest": longest,
            "batch": trainer["per_device_train_batch_size"],
            "accumulation": trainer["gradient_accumulation_steps"],
            "gradient_checkpointing": trial["trainer"]["gradient_checkpointing"],
            "steps": optimizer_steps(len(rows), trainer),
            "real_tokens": real,
            "padded_tokens": padded,
            "trainable_parameters": weights.trainable,
            "trainable_share": weights.trainable / (weights.parameters + weights.trainable),
            "memory": memory_parts(trial | {"lora": lora}, model.config, weights, longest),
            "disk": {
                "adapter": adapter,
                "checkpoints": CHECKPOINTS
                * (adapter + optimizer_bytes(weights, trial["trainer"]["optim"])),
            },
            "hours": hours_of(trial, padded, self.probes),
        }


def _given(found: Part, option: str, name: str) -> Any:
    if name not in found:
        raise BadInput(f"{option}: has no {name}; given: {', '.join(found) or 'nothing'}")
    return found[name]


def totals(trials: list[Part], models: dict[str, Model], tokens: Iterable[Path]) -> Part:
    """Return the sums over a sweep: hours of the trials with a probe, and how many have none.

    Checkpoints are removed when a trial is done, so only the largest trial's are counted.
    """
    used = {trial["model"] for trial in trials}
    timed = [trial["hours"] for trial in trials if trial["hours"] is not None]
    disk = {
        "snapshots": sum(models[name].snapshot_bytes for name in used),
        "tokens": sum(
            file.stat().st_size for folder in tokens for file in folder.glob("*.parquet")
        ),
        "adapters": sum(trial["disk"]["adapter"] for trial in trials),
        "checkpoints": max((trial["disk"]["checkpoints"] for trial in trials), default=0),
    }
    return {
        "trials": len(trials),
        **{key: sum(t[key] for t in trials) for key in ("steps", "real_tokens", "padded_tokens")},
        "hours": sum(timed) if timed else None,
        "trials_without_hours": len(trials) - len(timed),
        "download": sum(models[name].download_bytes for name in used),
        "disk": {**disk, "total": sum(disk.values())},
    }


def make_estimate(
    trials: list[Part], models: dict[str, Path], tokens: dict[str, Path], probes: list[Part],
    gpu: Gpu,
) -> Part:  # fmt: skip
    """Return the estimate: the GPU, each trial, the totals, and what does not fit.

    Raises
    ------
    BadInput
        When a model, tokens, a module or a start that a trial needs are not there.
    """
    estimator = Estimator(models, tokens, probes, trials)
    estimates = [estimator.estimate(trial) for trial in trials]
    for estimate in estimates:
        estimate["fits"] = estimate["memory"]["total"] <= gpu.memory
    used = {trial["tokens"] for trial in trials}
    return {
        "gpu": {"name": gpu.name, "memory": gpu.memory},
        "trials": estimates,
        "totals": totals(estimates, estimator.models, [tokens[name] for name in sorted(used)]),
        "does_not_fit": [
            {"name": e["name"], "seed": e["seed"], "total": e["memory"]["total"]}
            for e in estimates
            if not e["fits"]
        ],
        "notes": [*NOTES, *dict.fromkeys(filter(None, (start_of(t).note for t in trials)))],
    }


def read_trials(path: str) -> list[Part]:
    """Return the resolved trials in a JSON file, or on standard input for `-`.

    Raises
    ------
    BadInput
        When the file holds something else.
    """
    try:
        content = json.load(sys.stdin) if path == "-" else read_json(path)
    except json.JSONDecodeError as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(content, list) or not all("training" in entry for entry in content):
        raise BadInput(f"{path}: not a list of trials as scripts.config.check show prints it")
    return [entry["training"] for entry in content]


def read_probes(paths: list[Path], gpu: Gpu) -> list[Part]:
    """Return the probes; if this machine's GPU is known, only those from the same model of GPU.

    Parameters
    ----------
    paths
        Probes, or folders of them, which need not exist.
    """
    probes = [read_json(file) for path in paths for file in _probe_files(path)]
    return [probe for probe in probes if gpu.name in (None, probe["device"])]


def _probe_files(path: Path) -> list[Path]:
    if path.suffix == ".json":
        return [path]
    return sorted(file for file in path.glob("*.json") if not file.name.endswith(SUFFIX))


def named_path(text: str) -> tuple[str, Path]:
    """Return the two sides of NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"not NAME=PATH: {text}")
    return name, Path(path)


def main(argv: list[str] | None = None) -> int:
    """Write the estimate; return 0."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train.estimate.sweep",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "--trials",
        required=True,
        help="JSON as `python -m scripts.config.check show` prints it: a file, or - for stdin",
    )
    parser.add_argument(
        "--models",
        type=named_path,
        nargs="+",
        required=True,
        metavar="NAME=MANIFEST",
        help="manifest.json of a snapshot, or only of its config and tokenizer",
    )
    parser.add_argument(
        "--tokens",
        type=named_path,
        nargs="+",
        required=True,
        metavar="NAME=FOLDER",
        help="token splits",
    )
    parser.add_argument(
        "--probes",
        type=Path,
        nargs="*",
        default=[],
        metavar="PATH",
        help="probes, or folders of them",
    )
    parser.add_argument(
        "--gpu-gb",
        type=float,
        help="GPU memory that trials must fit into (default: this machine's GPU's, or 80)",
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args(argv)
    gpu = find_gpu(arguments.gpu_gb)
    plan = make_estimate(
        read_trials(arguments.trials), dict(arguments.models), dict(arguments.tokens),
        read_probes(arguments.probes, gpu), gpu,
    )  # fmt: skip
    write_json(arguments.out, plan)
    return 0


if __name__ == "__main__":
    run(main)
