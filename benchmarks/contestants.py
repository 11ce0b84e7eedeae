"""The contestants: TRL's trainers as a user runs them, and this project's, one per process.

Each contestant gets the same token rows, base model, seed and settings. TRL's trainers are given
token columns, which DPOTrainer does not take, so its data preparation is skipped. The model that
they get is loaded as TRL loads one.
"""

import importlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.cases import NEWER, OWN, REAL, TRL, Case
from benchmarks.corpora import REAL_ROWS, dialogues, problems, real_tokens
from benchmarks.gpu_check import run_apart
from scripts.common.files import Row, read_json, read_rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer
    from trl import DPOTrainer

    from benchmarks.meter import Meter

Part = dict[str, Any]

ROOT = Path(__file__).resolve().parents[1]
BASE = ROOT / "pilot" / "base"
PUBLISHED = {"titles": "trials/titles-dpo/seed-42", "dialogues": "trials/dpo-1/seed-42",
             "problems": "trials/sft-1/seed-42", "hh-rlhf": "trials/dpo-4-corrected/seed-42",
             "gsm8k": "trials/sft-1-corrected/seed-42"}  # fmt: skip
PUBLISHED_LENGTH = 512
MEMORY = ("peak_mb", "growth_mb", "gpu_peak_mb")


def measure(case: Case, contestant: str, folder: Path) -> Part:
    """Return the measurements of a contestant on a case. Call it in a fresh process.

    Parameters
    ----------
    folder
        Holds models/{shape} and titles/, as `prepare` wrote them, and the newer TRL.
    """
    maker, _, how = contestant.partition(", ")
    sys.path[:0] = map(str, packages_of(contestant, folder))

    from scripts.lm.backends import start_backend

    trial = trial_of(case, contestant)
    with tempfile.TemporaryDirectory() as work:
        backend = start_backend(trial["backend"], Path(work))

        from benchmarks.meter import Meter, matmul_flops
        from scripts.lm.tokenizers import load_tokenizer
        from scripts.train.run import make_reproducible

        make_reproducible(trial["seed"])
        manifest = folder / "models" / case.shape / "manifest.json"
        stock = maker in (TRL, NEWER)
        base = (_load if stock else backend.load)(
            manifest, trial["precision"], trial["quantization"]
        )
        tokenizer = load_tokenizer(manifest)
        race = Race(case, trial, backend, manifest, base, tokenizer, Meter(base), Path(work))
        by_trl: dict[str, Callable[[Race, list[Row]], Part]] = {
            "": stock_dpo, "precomputed": precomputed_dpo, "reference pass": stock_scores,
            "padded to 512": padded_sft, "dynamic padding": dynamic_sft,
            "padding-free": flattened_sft, "packed": packed_sft,
        }  # fmt: skip
        others = {"Unsloth": {"": unsloth_dpo, "dynamic padding": unsloth_sft},
                  OWN: {"": own_training, "reference pass": own_scores}}  # fmt: skip
        metrics = (by_trl if stock else others[maker])[how](race, rows_of(case, folder))
        if stock:
            _require_version(maker)
        metrics["process_seconds"] = {"cpu": time.process_time() + metrics.pop("before_cpu", 0.0)}
    return metrics | {"matmul_flops": matmul_flops()}


def packages_of(contestant: str, folder: Path) -> list[Path]:
    """Return the folders of packages that come before the launcher's."""
    return [folder / "trl-1.16.0"] if contestant.startswith(NEWER) else []


def _require_version(maker: str) -> None:
    """Raise RuntimeError if another TRL ran than the contestant is named after."""
    from trl import __version__

    if maker != f"TRL {__version__}":
        raise RuntimeError(f"{maker}: TRL {__version__} was imported")


def _load(manifest: Path, precision: str, quantization: str) -> "PreTrainedModel":
    """Return the base model as a user of TRL gets it; in 4 bit as this project loads it."""
    import torch
    from transformers import AutoModelForCausalLM

    from scripts.lm.snapshots import load_base
    from scripts.lm.tokenizers import snapshot_folder

    if quantization != "none":
        return load_base(manifest, precision, quantization)
    return AutoModelForCausalLM.from_pretrained(
        snapshot_folder(manifest), dtype=getattr(torch, precision)
    )


class Race:
    """What a contestant is given."""

    def __init__(
        self, case: Case, trial: Part, backend: Any, manifest: Path, base: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase", meter: "Meter", work: Path,
    ) -> None:  # fmt: skip
        self.case, self.trial, self.backend, self.manifest = case, trial, backend, manifest
        self.base, self.tokenizer, self.meter, self.work = base, tokenizer, meter, work

    def adapter(self) -> Any:
        """Return the configuration of the adapter."""
        from scripts.lm.adapters import lora_config

        return lora_config(self.base, self.trial["lora"])

    def attached(self) -> Any:
        """Return the model with its adapter, as the backend makes it."""
        return self.backend.attach(self.base, self.adapter(), self.trial["seed"], False)

    def arguments(self) -> Part:
        """Return the arguments of TRL's configs."""
        from scripts.train.run import trainer_arguments

        dtype = str(self.base.dtype).removeprefix("torch.")
        return trainer_arguments(self.trial, self.work, dtype)


def rows_of(case: Case, folder: Path) -> list[Row]:
    """Return the token rows of a case: titles drawn from all ideas, or those of the first few.

    Real rows of other corpora, whose lengths differ more, are of all lengths.
    """
    import random

    if case.real:
        found = read_rows(folder / "models" / case.shape / f"{case.corpus}.parquet")
        if case.corpus != "titles":
            found = of_all_lengths(found, case.rows)
        return random.Random(0).sample(found, case.rows)
    if case.corpus == "titles":
        rows = read_rows(folder / "titles" / "tokens.parquet")
        if case.task == "score":
            prompts = list(dict.fromkeys(tuple(row["prompt_ids"]) for row in rows))
            kept = set(prompts[: case.ideas])
            return [row for row in rows if tuple(row["prompt_ids"]) in kept]
        return random.Random(0).sample(rows, case.rows)
    return {"dialogues": dialogues, "problems": problems}[case.corpus](case.rows)


def of_all_lengths(rows: list[Row], count: int) -> list[Row]:
    """Return a few rows that stand for all: those at even distances if sorted by length.

    In a random draw of so few, the mean length may be a quarter off.
    """
    ordered = sorted(rows, key=lambda row: sum(len(row[name]) for name in row if name != "id"))
    return [ordered[(2 * place + 1) * len(rows) // (2 * count)] for place in range(count)]


def trial_of(case: Case, contestant: str) -> Part:
    """Return the published trial with the case's few steps and its settings."""
    from scripts.config.check import load
    from scripts.config.plan import make_plan
    from scripts.train.estimate.probe import first_steps

    runs = make_plan(load([ROOT / "config.yaml"])).runs
    trial = first_steps(runs[PUBLISHED[case.corpus]].training.as_json(), case.steps)
    if not case.real:
        trial["lora"] = {
            "r": case.rank, "lora_alpha": 2 * case.rank, "lora_dropout": 0.0,
            "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                               "down_proj"],
            "init_lora_weights": True,
        }  # fmt: skip
    trial["trainer"] |= {
        "learning_rate": 2e-4, "lr_scheduler_type": "constant", "warmup_steps": 0,
        "per_device_train_batch_size": case.batch,
        "gradient_accumulation_steps": case.accumulation,
        "optim": "adamw_torch", "weight_decay": 0.0, "gradient_checkpointing": False,
        "logging_steps": 1,
    }  # fmt: skip
    if trial["rows"] == "demonstrations":
        trial["trainer"]["completion_only_loss"] = case.completion_only
    return trial | {
        "backend": "unsloth" if contestant.startswith("Unsloth") else "transformers",
        "precision": case.precision,
        "quantization": case.quantization,
        "base": case.shape,
        "revision": None,
        "layout": "auto",
        "processes": 1,
    }


# ------------------------------------------------------------------------------------------- DPO


def stock_trainer(race: Race, rows: list[Row], **settings: Any) -> "DPOTrainer":
    """Return TRL's DPOTrainer, which makes its own adapter; its reference is the base model."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    class Stock(DPOTrainer):
        def _prepare_dataset(self, dataset: Any, *_: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, *args: Any) -> Any:
            with race.meter.reference():
                return super()._precompute_ref_logps(*args)

    own = settings.pop("model", None)
    return Stock(
        model=own or race.base,
        peft_config=None if own else race.adapter(),
        args=DPOConfig(**race.arguments(), **settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=race.tokenizer,
    )


def stock_dpo(race: Race, rows: list[Row]) -> Part:
    """Train as a user does by default: the reference runs beside the policy in every step."""
    return _stock(race, stock_trainer(race, rows))


def precomputed_dpo(race: Race, rows: list[Row]) -> Part:
    """Train with TRL's own reference pass before it."""
    return _stock(race, stock_trainer(race, rows, precompute_ref_log_probs=True))


def unsloth_dpo(race: Race, rows: list[Row]) -> Part:
    """Train the model that Unsloth made, through TRL's DPOTrainer as Unsloth patched it."""
    return _stock(race, stock_trainer(race, rows, model=race.attached()))


def _stock(race: Race, trainer: "Trainer", kind: str = "paired") -> Part:
    from benchmarks import meter

    race.meter.watch(trainer, getattr(meter, kind))
    trainer.train()
    return race.meter.metrics() | {"losses": _losses(trainer)}


def own_training(race: Race, rows: list[Row]) -> Part:
    """Train as this project does, with reference log-probs from a separate process."""
    before = None
    if race.trial.get("reference"):
        before = run_apart(reference_pass, race.trial, race.manifest, rows)
    metrics = _own(race, rows, before and before["rows"])
    if before is None:
        return metrics
    measured = {key: before[key] for key in ("reference_seconds", "reference_tokens")}
    peaks = {key: max(metrics[key], before[key]) for key in MEMORY if metrics[key] is not None}
    return metrics | measured | peaks | {"before_cpu": before["cpu"]}


def reference_pass(trial: Part, manifest: Path, rows: list[Row]) -> Part:
    """Return the reference log-probs of rows, computed as by rule `reference`, and their cost.

    Call it in a fresh process.
    """
    from scripts.lm.backends import start_backend

    with tempfile.TemporaryDirectory() as work:
        backend = start_backend(trial["backend"], Path(work))

        from benchmarks.meter import Meter
        from scripts.train.run import make_reproducible

        make_reproducible(trial["seed"])
        base = backend.load(manifest, trial["precision"], trial["quantization"])
        meter = Meter(base)
        reference = _reference(base, meter, rows)
    return {
        "rows": reference,
        "reference_seconds": meter.reference_seconds,
        "reference_tokens": meter.reference_tokens,
        "cpu": time.process_time(),
        **meter.memory(),
    }


def _own(race: Race, rows: list[Row], reference: list[Row] | None) -> Part:
    from scripts.train.run import make_trainer, train

    kind = importlib.import_module(f"scripts.train.{race.trial['method']}").TRAINER
    dataset = kind.make_dataset(race.trial, rows, reference)
    model = race.attached()
    trainer = make_trainer(kind, race.trial, model, race.tokenizer, dataset, None, race.work)
    race.meter.watch(trainer)
    result = train(trainer, race.trial)
    return race.meter.metrics() | {"losses": _losses(trainer), "layout": result.get("layout")}


def _reference(base: "PreTrainedModel", meter: "Meter", rows: list[Row]) -> list[Row]:
    from scripts.lm.pairs import pair_logps

    with meter.reference():
        return pair_logps(base, rows)


def _losses(trainer: "Trainer") -> list[float]:
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


# ------------------------------------------------------------------------------------------- SFT


def sft_stock_trainer(race: Race, rows: list[Row], **settings: Any) -> "Trainer":
    """Return TRL's SFTTrainer on tokens and labels; it makes its own adapter."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    arguments = race.arguments()
    only = arguments.pop("completion_only_loss")
    own = settings.pop("model", None)
    packs = settings.get("packing", False)
    options = {} if packs else {"dataset_kwargs": {"skip_prepare_dataset": True}}
    return SFTTrainer(
        model=own or race.base,
        peft_config=None if own else race.adapter(),
        args=SFTConfig(**(arguments | options | settings)),
        train_dataset=Dataset.from_list([labelled(row, only) for row in rows]),
        processing_class=race.tokenizer,
    )


def labelled(row: Row, completion_only: bool) -> Row:
    """Return a token row as input ids and labels."""
    prompt, completion = row["prompt_ids"], row["completion_ids"]
    head = [-100] * len(prompt) if completion_only else prompt
    return {"input_ids": prompt + completion, "labels": head + completion}


def padded_sft(race: Race, rows: list[Row]) -> Part:
    """Train with every row padded to 512 tokens, as published."""
    trainer = sft_stock_trainer(race, rows, pad_to_multiple_of=PUBLISHED_LENGTH)
    return _stock(race, trainer, "single")


def dynamic_sft(race: Race, rows: list[Row]) -> Part:
    """Train with every batch padded to its longest row, TRL's default."""
    return _stock(race, sft_stock_trainer(race, rows), "single")


def flattened_sft(race: Race, rows: list[Row]) -> Part:
    """Train with every batch flattened into one row, TRL's padding_free."""
    return _stock(race, sft_stock_trainer(race, rows, padding_free=True), "packed")


def packed_sft(race: Race, rows: list[Row]) -> Part:
    """Train on TRL's packs of 512 tokens, with about as many rows per step as the others.

    Its steps hold different rows, so its loss is different too.
    """
    from statistics import mean

    a_pack = PUBLISHED_LENGTH / mean(len(r["prompt_ids"] + r["completion_ids"]) for r in rows)
    race.trial["trainer"] |= {
        "per_device_train_batch_size": max(1, round(race.case.batch / a_pack)),
        "max_steps": -1,
        "num_train_epochs": 1,
    }
    settings = {"packing": True, "max_length": PUBLISHED_LENGTH}
    return _stock(race, sft_stock_trainer(race, rows, **settings), "packed")


def unsloth_sft(race: Race, rows: list[Row]) -> Part:
    """Train the model that Unsloth made, through TRL's SFTTrainer as Unsloth patched it."""
    return _stock(race, sft_stock_trainer(race, rows, model=race.attached()), "single")


# --------------------------------------------------------------------------------------- scoring


def stock_scores(race: Race, rows: list[Row]) -> Part:
    """Score pairs as TRL precomputes its reference log-probs."""
    trainer = stock_trainer(race, rows, precompute_ref_log_probs=True)
    columns = zip(
        trainer.train_dataset["ref_chosen_logps"], trainer.train_dataset["ref_rejected_logps"],
        strict=True,
    )  # fmt: skip
    return _scored(race, rows, [logp for pair in columns for logp in pair])


def own_scores(race: Race, rows: list[Row]) -> Part:
    """Score pairs as this project's reference rule does."""
    found = _reference(race.base, race.meter, rows)
    return _scored(race, rows, [row[f"{name}_logp"] for row in found
                                for name in ("chosen", "rejected")])  # fmt: skip


def _scored(race: Race, rows: list[Row], logps: list[float]) -> Part:
    from benchmarks.meter import needed_by

    groups = [[r["prompt_ids"] + r[f"{n}_ids"] for n in ("chosen", "rejected")] for r in rows]
    predicted = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in rows)
    return {
        "reference_seconds": race.meter.reference_seconds,
        "reference_tokens": race.meter.reference_tokens,
        "needed": [needed_by([(groups, predicted)])],
        "losses": [float(logp) for logp in logps],
        **race.meter.memory(),
    }


# ------------------------------------------------------------------------------------ beforehand


def prepare(shapes: list[str], folder: Path, hub: Path) -> Part:
    """Write the rows and models that do not exist yet; return which toy titles were used."""
    import shutil

    from benchmarks.corpora import write_titles
    from benchmarks.gpu_check import SHAPES, write_snapshot
    from benchmarks.shapes import write_small

    titles = folder / "titles"
    if not (titles / "source.json").is_file():
        shutil.rmtree(titles, ignore_errors=True)
        write_titles(titles, hub)
    for shape in shapes:
        model = folder / "models" / shape
        if (model / "manifest.json").is_file():
            continue
        shutil.rmtree(model, ignore_errors=True)
        if shape == REAL:
            write_real(model, BASE, hub)
        elif shape in SHAPES:
            write_snapshot(shape, model)
        else:
            write_small(shape, titles / "tokenizer", model)
    return read_json(titles / "source.json")


def write_real(folder: Path, base: Path, hub: Path) -> None:
    """Write real rows as a base model's tokens, titles as texts too, and last its manifest."""
    from benchmarks.corpora import real_messages
    from scripts.common.files import write_jsonl, write_rows
    from scripts.config.check import load
    from scripts.config.plan import make_plan
    from scripts.data.tokenize import SCHEMAS
    from scripts.models.manifest import write_manifest

    plan = make_plan(load([ROOT / "config.yaml"]))
    for corpus in REAL_ROWS:
        tokens = plan.tokens[plan.runs[PUBLISHED[corpus]].training.tokens]
        rows = real_tokens(corpus, plan.datasets[REAL_ROWS[corpus].dataset], tokens, base, hub)
        write_rows(folder / f"{corpus}.parquet", rows, SCHEMAS[tokens.rows])
    texts = real_messages("titles", plan.datasets["youtube-titles"], hub)
    columns = ("prompt", "chosen", "rejected")
    write_jsonl(folder / "titles.jsonl", [{name: row[name] for name in columns} for row in texts])
    write_manifest(folder / "manifest.json", base, {"source": "folder"})
