"""Estimates what a sweep will take, before a GPU is spent: steps, tokens, memory, disk, hours.

Nothing is trained and no weight is loaded. Memory is counted from configurations and token lengths
(scripts/lm/sizes.py says how); hours come from a probe of a trial that runs alike, or stay open.

    python -m scripts.config.check show config.yaml > trials.json
    python -m scripts.train.estimate --trials trials.json \\
        --models demo=results/models/demo/tokenizer/manifest.json \\
        --tokens titles.demo.chat.128=results/tokens/titles.demo.chat.128 --out plan.json
"""

import argparse
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts.common.cli import BadInput, run
from scripts.common.files import read_json, write_json
from scripts.lm.sizes import (
    FLOAT32,
    Batch,
    Layout,
    activation_bytes,
    block_bytes,
    check_architecture,
    layout,
    logit_bytes,
    optimizer_bytes,
    optimizer_steps,
    overwriting_lora,
    weight_bytes,
)
from scripts.provenance.record import SUFFIX
from scripts.train.pace import probed_pace

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Part = dict[str, Any]

GIB = 2**30
CONTEXT = GIB
"""An allowance, not measured: what CUDA, cuBLAS and their kernels take for themselves."""
FRAGMENTATION = 0.05
"""An allowance, not measured: the share of all tensors' bytes that lies between them unused."""
CHECKPOINTS = 2
"""Checkpoints on disk at once: the best or last one, and the one that is being written."""
COMPLETIONS = {"sft": ("completion_ids",), "dpo": ("chosen_ids", "rejected_ids")}
NOTES = (
    "Memory is what a trial needs at its worst moment: a batch of the longest row. The total "
    "holds the larger of `logits` and `block`, which are never there at once.",
    "`overhead` is an allowance: 1 GiB for CUDA, 5 % for fragmentation. All else is counted.",
    "Memory under the backend unsloth is counted as under transformers, not as Unsloth has it.",
    "Padding comes from a shuffle of its own, not the trainer's: padded tokens are an estimate, "
    "real tokens are exact where every epoch is whole.",
    "Hours are those of optimizer steps alone: loading, losses on the validation split, reference "
    "log-probs and evaluation come on top.",
)
OVERWRITTEN_NOTE = (
    "A trial that overwrites its start trains its own modules and those that only the start has: "
    "all are counted. Its hours are those of a probe that leaves the latter out, so at least these."
)


@dataclass(frozen=True)
class Model:
    """A base model: its configuration, the size of its snapshot, and whether that is here."""

    config: "PreTrainedConfig"
    snapshot_bytes: int
    download_bytes: int


@dataclass(frozen=True)
class Gpu:
    """The GPU that trials must fit into."""

    name: str | None
    """None for a GPU that is not there, of which the size alone is given."""
    memory: int
    """In bytes."""


def read_model(manifest: Path) -> Model:
    """Returns a model from the manifest of its snapshot, or of its config and tokenizer alone.

    The latter has `snapshot_bytes`, what the whole snapshot takes. They are to be downloaded where
    they are on the hub and the snapshot's own manifest, one folder up, does not have them.
    """
    from transformers import AutoConfig

    from scripts.lm.tokenizers import snapshot_folder

    content = read_json(manifest)
    here = sum(file["bytes"] for file in content["files"])
    config = AutoConfig.from_pretrained(
        snapshot_folder(manifest), local_files_only=True, trust_remote_code=False
    )
    check_architecture(config)
    size = content.get("snapshot_bytes", here)
    elsewhere = "snapshot_bytes" in content and content["source"] == "hub"
    download = elsewhere and not _is_fetched(manifest.parent.parent / "manifest.json", content)
    return Model(config, size, size if download else 0)


def _is_fetched(snapshot: Path, tokenizer: Part) -> bool:
    """Says whether the manifest of a whole snapshot is there, and is of the tokenizer's commit."""
    whole = read_json(snapshot) if snapshot.is_file() else {}
    return all(whole.get(key) == tokenizer[key] for key in ("repository", "commit"))


def read_lengths(path: Path, method: str) -> list[tuple[int, ...]]:
    """Returns the tokens of each row's sequences: of one, or of a pair's two.

    Raises
    ------
    BadInput
        When the file has other columns than the method trains on.
    """
    import pyarrow.parquet as pq

    names = COMPLETIONS[method]
    found = pq.read_schema(path).names
    if missing := [name for name in ("prompt_ids", *names) if name not in found]:
        raise BadInput(f"{path}: has no {', '.join(missing)}; columns: {', '.join(found)}")
    table = pq.read_table(path, columns=["prompt_ids", *names])
    columns = [table[name].combine_chunks().value_lengths().to_pylist() for name in
               ("prompt_ids", *names)]  # fmt: skip
    return [
        tuple(prompt + completion for completion in completions)
        for prompt, *completions in zip(*columns, strict=True)
    ]


def batches(lengths: list[tuple[int, ...]], trainer: Part) -> Iterator[list[tuple[int, ...]]]:
    """Yields the batches of a run, step by step; each epoch is shuffled anew."""
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
    """Returns the tokens of a run, and those with the padding of its batches."""
    real = padded = 0
    for batch in batches(lengths, trainer):
        real += sum(map(sum, batch))
        padded += max(map(max, batch)) * sum(map(len, batch))
    return real, padded


def memory_parts(trial: Part, model: "PreTrainedConfig", weights: Layout, longest: int) -> Part:
    """Returns the bytes of GPU memory that a trial needs at its peak, by part and in total.

    Parameters
    ----------
    trial
        As it is trained; its adapter with what is left of a start that it overwrites.
    model
        The base's configuration.
    weights
        The base's and the adapter's weights.
    longest
        Tokens of the longest sequence.
    """
    trainer = trial["trainer"]
    batch = Batch(
        sequences=trainer["per_device_train_batch_size"] * len(COMPLETIONS[trial["method"]]),
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
        "logits": logit_bytes(model.vocab_size, trial["method"], batch),
        "block": block_bytes(model, weights, batch),
    }
    tensors = sum(parts.values()) - min(parts["logits"], parts["block"])
    overhead = CONTEXT + int(FRAGMENTATION * tensors)
    return {**parts, "overhead": overhead, "total": tensors + overhead}


def find_gpu(gigabytes: float | None) -> Gpu:
    """Returns the GPU of the given size, else this machine's, else one of 80 GB."""
    import torch

    if gigabytes is None and torch.cuda.is_available():
        found = torch.cuda.get_device_properties(0)
        return Gpu(found.name, found.total_memory)
    return Gpu(None, int((80 if gigabytes is None else gigabytes) * GIB))


def hours_of(trial: Part, padded: int, probes: list[Part]) -> float | None:
    """Returns a trial's hours at the pace of the last probe that ran alike, or None."""
    pace = probed_pace(trial)
    alike = [probe for probe in probes if probe["for"] == pace]
    return padded / alike[-1]["padded_tokens_per_second"] / 3600 if alike else None


class Estimator:
    """Estimates trials; what many of them share is read and counted once."""

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
            lambda path, method, trainer: count_tokens(
                self.lengths(path, method), json.loads(trainer)
            )
        )

    def model(self, name: str) -> Model:
        """Returns a model. Raises BadInput where it was not given."""
        return _given(self.models, "--models", name)

    def lora(self, trial: Part) -> Part:
        """Returns the adapter that a trial trains: its own, and what it leaves of its start's.

        Raises
        ------
        BadInput
            When the trial whose adapter it overwrites is not among the trials.
        """
        if not overwrites(trial):
            return trial["lora"]
        if trial["start"] not in self.trials:
            raise BadInput(
                f"--trials: has no {trial['start']}, whose adapter {trial['name']} overwrites"
            )
        start = self.trials[trial["start"]]
        modules = self._layout(start["model"], json.dumps(start["lora"])).modules
        return overwriting_lora(trial["lora"], start["lora"], modules)

    def estimate(self, trial: Part) -> Part:
        """Returns the estimate of one trial and seed.

        Raises
        ------
        BadInput
            When its model, its tokens or the trial that it overwrites were not given, or its split
            has no rows.
        """
        model = self.model(trial["model"])
        path = _given(self.tokens, "--tokens", trial["tokens"]) / f"{trial['train']}.parquet"
        if not path.is_file():
            raise BadInput(f"{path}: no such file; {trial['name']} trains on it")
        rows = self.lengths(path, trial["method"])
        if not rows:
            raise BadInput(f"{path}: has no rows; {trial['name']} trains on it")
        lora = self.lora(trial)
        weights = self._layout(trial["model"], json.dumps(lora))
        # What tells batches apart, so that trials that differ in the learning rate share a count.
        keys = ("max_steps", "num_train_epochs", "per_device_train_batch_size",
                "gradient_accumulation_steps", "dataloader_drop_last")  # fmt: skip
        trainer = {key: trial["trainer"][key] for key in keys}
        real, padded = self._count(path, trial["method"], json.dumps(trainer))
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


def overwrites(trial: Part) -> bool:
    """Says whether a trial lays its adapter over its start's."""
    return trial.get("start_as") == "overwritten"


def _given(found: Part, option: str, name: str) -> Any:
    if name not in found:
        raise BadInput(f"{option}: has no {name}; given: {', '.join(found) or 'nothing'}")
    return found[name]


def totals(trials: list[Part], models: dict[str, Model], tokens: Iterable[Path]) -> Part:
    """Returns the sums over a sweep; hours of the trials that have a probe, and how many have not.

    Checkpoints are gone when a trial is done: of those, one trial's are on disk, the largest.
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
    """Returns the whole plan: the GPU, each trial, the totals, and what does not fit.

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
        "notes": [*NOTES, *([OVERWRITTEN_NOTE] if any(map(overwrites, trials)) else [])],
    }


def read_trials(path: Path) -> list[Part]:
    """Returns the trials as they are trained, from what `scripts.config.check show` prints.

    Raises
    ------
    BadInput
        When the file holds something else.
    """
    try:
        content = read_json(path)
    except ValueError as error:
        raise BadInput(f"{path}: not JSON: {error}") from None
    if not isinstance(content, list) or not all("training" in entry for entry in content):
        raise BadInput(f"{path}: not a list of trials as scripts.config.check show prints it")
    return [entry["training"] for entry in content]


def read_probes(paths: list[Path], gpu: Gpu) -> list[Part]:
    """Returns the probes; where this machine's GPU is known, those that were taken on one alike.

    Parameters
    ----------
    paths
        Probes, or folders of them, which may not be there yet.
    """
    probes = [read_json(file) for path in paths for file in _probe_files(path)]
    return [probe for probe in probes if gpu.name in (None, probe["device"])]


def _probe_files(path: Path) -> list[Path]:
    if path.suffix == ".json":
        return [path]
    return sorted(file for file in path.glob("*.json") if not file.name.endswith(SUFFIX))


def named_path(text: str) -> tuple[str, Path]:
    """Returns the two sides of NAME=PATH."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"not NAME=PATH: {text}")
    return name, Path(path)


def main(argv: list[str] | None = None) -> int:
    """Writes the plan."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.train.estimate",
        description=(__doc__ or "").splitlines()[0],
    )
    parser.add_argument(
        "--trials",
        type=Path,
        required=True,
        help="JSON file, as `python -m scripts.config.check show` prints it",
    )
    parser.add_argument(
        "--models",
        type=named_path,
        nargs="+",
        required=True,
        metavar="NAME=MANIFEST",
        help="manifest.json of a snapshot, or of its config and tokenizer alone",
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
        help="what scripts.train.probe wrote, or folders of it",
    )
    parser.add_argument(
        "--gpu-gb",
        type=float,
        help="memory that trials must fit into; else this machine's GPU's, else 80",
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
