"""TRL's stock trainers and this project's with the same model, seed and rows."""

import copy
import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Qwen2Config,
    Trainer,
    TrainerCallback,
)
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer

from scripts.common.files import Row
from scripts.lm.adapters import lora_config
from scripts.lm.pairs import pair_logps
from scripts.models.demo import train_tokenizer
from scripts.train.kto import TokenKTOTrainer
from scripts.train.layouts import BATCHES, Layout
from scripts.train.run import make_reproducible, trainer_arguments
from scripts.train.unpaired import unpaired
from tests.conftest import TEXTS
from tests.train.conftest import resolved, trainer_of

Settings = dict[str, Any]

VOCABULARY = 300
SIZES = {
    "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "vocab_size": VOCABULARY,
    # Large enough that log-probs depend on the tokens before.
    "initializer_range": 0.08,
}  # fmt: skip
SHAPES = {
    "llama": LlamaConfig(**SIZES, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SIZES, tie_word_embeddings=True),
}
STEPS = 20


@dataclass(frozen=True)
class Run:
    """The results of a training run."""

    log: list[dict[str, float]]
    """Log entries, one for each step and each evaluation."""
    adapter: dict[str, torch.Tensor]
    steps: list[list[tuple[int, ...]]]
    """The token sequences of each step, in the order of their batches."""
    layout: Layout | None
    """Set for this project's trainers only."""

    @property
    def losses(self) -> list[float]:
        """Return the loss of each step."""
        return [entry["loss"] for entry in self.log if "loss" in entry]


def sequence(seed: int, length: int) -> list[int]:
    """Return random tokens; a shorter sequence of the same seed is a prefix of a longer one."""
    generator = random.Random(seed)
    return [generator.randrange(5, VOCABULARY) for _ in range(length)]


@cache
def pairs() -> list[Row]:
    """Return pairs of unequal lengths, not a multiple of a window or micro-batch in number.

    Each prompt is shared by several. The first five pairs are odd ones: a completion of one token,
    identical completions, one that is a prefix of the other, and two that differ only late.
    """
    prompts = [sequence(prompt, 6 + 3 * prompt) for prompt in range(6)]
    rows = [
        (prompts[0], sequence(90, 5), [7]),
        (prompts[1], sequence(91, 6), sequence(91, 6)),
        (prompts[2], sequence(92, 4), sequence(92, 9)),
        (prompts[3], sequence(93, 9), sequence(93, 2)),
        (prompts[4], [*sequence(94, 6), 8, 9], [*sequence(94, 6), 10]),
    ]
    for place in range(18):
        chosen, rejected = 1 + (7 * place) % 12, 1 + (5 * place) % 11
        completions = sequence(200 + place, chosen), sequence(300 + place, rejected)
        rows.append((prompts[place % 6], *completions))
    return [
        {"id": f"train-{place}", "prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": other}
        for place, (prompt, chosen, other) in enumerate(rows)
    ]


@cache
def demonstrations() -> list[Row]:
    """Return prompts and completions of unequal lengths, some many times longer than others."""
    rows = [(row["prompt_ids"], row["chosen_ids"]) for row in pairs()]
    for place in (3, 11, 12):
        rows[place] = sequence(400 + place, 30), sequence(500 + place, 40)
    return [
        {"id": f"train-{place}", "prompt_ids": prompt, "completion_ids": completion}
        for place, (prompt, completion) in enumerate(rows)
    ]


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    """Return the tokenizer that trainers require; they only pad with it."""
    return train_tokenizer(TEXTS, VOCABULARY)


@cache
def _base(shape: str, started: bool) -> PreTrainedModel:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(SHAPES[shape], attn_implementation="sdpa").eval()
    if not started:
        return model
    # As after a supervised trial: an adapter that is no longer zero, merged.
    model = get_peft_model(model, lora_config(model, resolved("sft")["lora"]))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return model.merge_and_unload()


def base(shape: str, started: bool = False) -> PreTrainedModel:
    """Return a random model of a shape to train, optionally with a supervised adapter merged."""
    return copy.deepcopy(_base(shape, started))


def adapted(model: PreTrainedModel, settings: Settings) -> PeftModel:
    """Return a model with the fresh adapter of a trial."""
    config = lora_config(model, settings["lora"])
    make_reproducible(settings["seed"])
    return get_peft_model(model, config)


def trial(method: str, window: str, **trainer: Any) -> Settings:
    """Return a resolved trial in the shared layout that logs each of its steps.

    Parameters
    ----------
    window
        Rows of a micro-batch times micro-batches of a step, such as 4x4.
    """
    rows, batches = map(int, window.split("x"))
    settings = {"max_steps": STEPS, "logging_steps": 1, "learning_rate": 1e-3}
    # Adam's first step is the learning rate for every weight with a gradient above 1e-8, even if
    # that gradient is only rounding error. So warm up.
    settings |= {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 4}
    settings |= {"per_device_train_batch_size": rows, "gradient_accumulation_steps": batches}
    return resolved(method, **settings | trainer) | {"layout": "shared"}


class StockDPOTrainer(DPOTrainer):
    """TRL's trainer on tokens; each step computes the reference with the adapter off."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def stock_dpo(
    settings: Settings, model: PreTrainedModel, work: Path, rows: list[Row] | None = None
) -> DPOTrainer:
    """Return TRL's DPOTrainer, which wraps the model itself; it trains on `pairs` by default."""
    dataset = Dataset.from_list(rows or pairs())
    arguments = trainer_arguments(settings, work, "float32")
    adapter = lora_config(model, settings["lora"])
    make_reproducible(settings["seed"])
    return StockDPOTrainer(
        model=model,
        peft_config=adapter,
        args=DPOConfig(**arguments),
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=tokenizer(),
    )


def our_dpo(settings: Settings, model: PreTrainedModel, work: Path) -> Trainer:
    """Return this project's trainer, given the reference's log-probs."""
    logps = pair_logps(model, pairs())
    model = adapted(model, settings)
    return trainer_of(settings, model, tokenizer(), pairs(), logps, work, evaluate=True)


class StockKTOTrainer(KTOTrainer):
    """TRL's trainer on tokens; each step computes the reference with the adapter off."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        return dataset


def single_rows(settings: Settings) -> list[Row]:
    """Return the rows of `pairs` that a trial by KTO learns, in their order."""
    return unpaired(pairs(), settings["seed"], settings["trainer"]["per_device_train_batch_size"])


def stock_kto(settings: Settings, model: PreTrainedModel, work: Path) -> KTOTrainer:
    """Return TRL's KTOTrainer, which wraps the model itself, on the rows in their order."""
    columns = ("prompt_ids", "completion_ids", "label")
    dataset = Dataset.from_list(
        [
            {name: row[name] for name in columns} | {"KL_completion_ids": row["partner_ids"]}
            for row in single_rows(settings)
        ]
    )
    arguments = trainer_arguments(settings, work, "float32")
    del arguments["padding_free"]
    adapter = lora_config(model, settings["lora"])
    make_reproducible(settings["seed"])
    return StockKTOTrainer(
        model=model,
        peft_config=adapter,
        args=KTOConfig(**arguments),
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=tokenizer(),
    )


def our_kto(settings: Settings, model: PreTrainedModel, work: Path) -> Trainer:
    """Return this project's trainer, given the reference's log-probs of rows and partners."""
    logps = TokenKTOTrainer.reference_of(model, settings, pairs())
    model = adapted(model, settings)
    return trainer_of(settings, model, tokenizer(), pairs(), logps, work, evaluate=True)


def stock_sft(settings: Settings, model: PreTrainedModel, work: Path) -> SFTTrainer:
    """Return TRL's SFTTrainer, which wraps the model and makes the labels itself."""
    dataset = Dataset.from_list(
        [
            {
                "input_ids": row["prompt_ids"] + row["completion_ids"],
                "completion_mask": [0] * len(row["prompt_ids"]) + [1] * len(row["completion_ids"]),
            }
            for row in demonstrations()
        ]
    )
    arguments = trainer_arguments(settings, work, "float32")
    adapter = lora_config(model, settings["lora"])
    make_reproducible(settings["seed"])
    return SFTTrainer(
        model=model,
        peft_config=adapter,
        args=SFTConfig(**arguments),
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=tokenizer(),
    )


def our_sft(settings: Settings, model: PreTrainedModel, work: Path) -> Trainer:
    """Return this project's supervised trainer."""
    model = adapted(model, settings)
    return trainer_of(settings, model, tokenizer(), demonstrations(), None, work, evaluate=True)


def stock_reference_free(
    kind: type[Trainer], config: type[Any], settings: Settings, model: PreTrainedModel, work: Path,
    **more: Any,
) -> Trainer:  # fmt: skip
    """Return one of TRL's trainers without a reference, which pads with its own collator."""

    class Stock(kind):  # type: ignore[misc, valid-type]
        @staticmethod
        def tokenize_row(row: Row, model: Any = None) -> Row:
            made: Row = {"prompt": "", "chosen": "", "rejected": ""}
            for side in ("chosen", "rejected"):
                ids = row["prompt_ids"] + row[f"{side}_ids"]
                labels = [-100] * len(row["prompt_ids"]) + row[f"{side}_ids"]
                made |= {f"{side}_input_ids": ids, f"{side}_labels": labels}
                made[f"{side}_attention_mask"] = [1] * len(ids)
            return made | {"prompt_input_ids": row["prompt_ids"]}

    dataset = Dataset.from_list(pairs())
    arguments = trainer_arguments(settings, work, "float32") | {"max_length": 256, **more}
    del arguments["padding_free"]
    adapter = lora_config(model, settings["lora"])
    make_reproducible(settings["seed"])
    return Stock(
        model=model,
        peft_config=adapter,
        args=config(**arguments),
        train_dataset=dataset,
        eval_dataset=dataset,
        processing_class=tokenizer(),
    )


def our_reference_free(settings: Settings, model: PreTrainedModel, work: Path) -> Trainer:
    """Return this project's trainer of pairs without a reference."""
    model = adapted(model, settings)
    return trainer_of(settings, model, tokenizer(), pairs(), None, work, evaluate=True)


OURS = {"dpo": our_dpo, "kto": our_kto, "sft": our_sft} | dict.fromkeys(
    ("orpo", "cpo", "simpo"), our_reference_free
)
STOCK = {
    "dpo": stock_dpo,
    "kto": stock_kto,
    "sft": stock_sft,
    "orpo": partial(stock_reference_free, ORPOTrainer, ORPOConfig),
    "cpo": partial(stock_reference_free, CPOTrainer, CPOConfig),
    "simpo": partial(stock_reference_free, CPOTrainer, CPOConfig, loss_type="simpo", cpo_alpha=0.0),
}


def our_run(settings: Settings, shape: str, started: bool = False) -> Run:
    """Train with this project's trainer; return the run."""
    return _run(OURS[settings["method"]], settings, shape, started)


def stock_run(
    settings: Settings, shape: str, started: bool = False, multiple: int | None = None
) -> Run:
    """Train with TRL's trainer; return the run, cached for other tests that compare with it.

    Parameters
    ----------
    multiple
        Pad batches to a multiple of this, which changes rounding; by default to their longest row.
    """
    return _stock_run(json.dumps(settings), shape, started, multiple)


@cache
def _stock_run(settings: str, shape: str, started: bool, multiple: int | None) -> Run:
    def make(*arguments: Any) -> Trainer:
        trainer = STOCK[trial["method"]](*arguments)
        trainer.data_collator.pad_to_multiple_of = multiple
        return trainer

    trial = json.loads(settings)
    return _run(make, trial, shape, started)


def _run(make: Callable[..., Trainer], settings: Settings, shape: str, started: bool) -> Run:
    with tempfile.TemporaryDirectory() as work:
        trainer = make(settings, base(shape, started), Path(work))
        recorder = _Recorder(trainer)
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    adapter = {
        name: weight.detach()
        for name, weight in trainer.model.named_parameters()
        if weight.requires_grad
    }
    return Run(trainer.state.log_history, adapter, recorder.steps, getattr(trainer, "layout", None))


class _Recorder(TrainerCallback):
    """Record the token sequences of the batches that a trainer trains on, step by step."""

    def __init__(self, trainer: Trainer) -> None:
        self.steps: list[list[tuple[int, ...]]] = []
        self.step: list[tuple[int, ...]] = []
        self.inner = trainer.training_step
        trainer.training_step = self.training_step
        trainer.add_callback(self)

    def training_step(self, model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        for batch in inputs.get(BATCHES, [inputs]):
            # TRL's older trainers have chosen and rejected sequences apart.
            for side in ("",) if "input_ids" in batch else ("chosen_", "rejected_"):
                lengths = batch[f"{side}attention_mask"].sum(1).tolist()
                ids = batch[f"{side}input_ids"].tolist()
                self.step += [tuple(row[:end]) for row, end in zip(ids, lengths, strict=True)]
        return self.inner(model, inputs, *rest, **more)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.steps.append(self.step)
        self.step = []
