"""The shared layout against TRL's stock trainers: same losses, adapters, metrics and rows."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import torch
from safetensors.torch import load_file
from transformers import Qwen2Model

from scripts.common.files import Row, read_jsonl, write_rows
from scripts.common.rows import PREFERENCE_TOKENS
from scripts.lm.prefix_tree import Tree
from scripts.lm.snapshots import load_base
from scripts.train import dpo, reference, sft
from scripts.train.layouts import LaidOutTrainer
from tests.train import stock as trainers
from tests.train.conftest import resolved
from tests.train.stock import (
    SHAPES,
    STEPS,
    Run,
    demonstrations,
    our_run,
    stock_run,
    trial,
)

LOSS, ADAPTER = 1e-5, 1e-4
"""Allowed difference from stock: of a loss, in units of max(1, |loss|), and of a tensor of the
adapter, in units of its norm."""

METRIC = 1e-4
"""Allowed difference of a logged metric, in units of max(1, |metric|). The largest metrics are
log-probs of whole completions, near 70, and float32 has six digits; gradient norm and rewards are
computed from them."""

OBJECTIVES = {
    name: {"loss_type": [name]}
    for name in (
        "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard",
        "aot", "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
    )
}  # fmt: skip
OBJECTIVES["exo_pair"]["label_smoothing"] = 0.1
OBJECTIVES["robust"]["label_smoothing"] = 0.1
# Its loss divides margins by 0.05. At the other objectives' beta, padding to another length already
# changes the stock trainer's result by 1e-4, from rounding alone.
OBJECTIVES["discopop"]["beta"] = 0.1
VARIANTS = OBJECTIVES | {
    "sigmoid+sft": {"loss_type": ["sigmoid", "sft"], "loss_weights": [0.8, 0.2]},
    "aot+ipo": {"loss_type": ["aot", "ipo"], "loss_weights": [0.7, 0.3]},
    "wpo": {"use_weighting": True},
    "ld-dpo": {"ld_alpha": 0.5},
    "forward_kl": {"f_divergence_type": "forward_kl"},
    "js_divergence": {"f_divergence_type": "js_divergence"},
    "alpha_divergence": {"f_divergence_type": "alpha_divergence"},
}
FAST = ("sigmoid", "ipo", "aot_unpaired", "sigmoid+sft", "wpo", "ld-dpo", "forward_kl")
"""One of each kind: as published, bounded, by rank, mixed, weighted, another divergence."""
# Rows per micro-batch x micro-batches per step; the number of rows is a multiple of none of them.
DPO_WINDOWS, SFT_WINDOWS = ["1x16", "4x4", "16x1"], ["1x8", "2x4", "8x1"]
SFT_CUT = [
    ("llama", "1x8", True, False),
    ("qwen2", "1x8", False, True),
    ("llama", "2x4", False, True),
]


def cases() -> list[Any]:
    """Return variant, shape, window, checkpointing and whether it starts from an adapter.

    The fast selection has each variant of FAST once. Of two in a row, one has checkpointing; every
    second two use the other shape and the other start. Micro-batches of one row take twice as long,
    so only every eighth case has them.
    """
    found = []
    for number, variant in enumerate(VARIANTS):
        shape = "llama" if number % 4 < 2 else "qwen2"
        cut = (shape, "4x4" if number % 8 else "1x16", bool(number % 2))
        for case in product(SHAPES, DPO_WINDOWS, (False, True)):
            started = case[2] == (number % 4 < 2)
            marks = [] if case == cut and variant in FAST else pytest.mark.all
            found.append(pytest.param(variant, *case, started, marks=marks))
    return found


@dataclass(frozen=True)
class Distance:
    """How far two runs are apart."""

    loss: float
    adapter: float

    @property
    def equal(self) -> bool:
        """Return True if losses and adapters are equal up to rounding."""
        return self.loss <= LOSS and self.adapter <= ADAPTER


def distance(run: Run, stock: Run) -> Distance:
    """Return how far a run is from a stock run, at its worst step and its worst tensor."""
    losses = zip(run.losses, stock.losses, strict=True)
    assert run.adapter.keys() == stock.adapter.keys()
    return Distance(
        loss=max(abs(ours - theirs) / max(1, abs(theirs)) for ours, theirs in losses),
        adapter=max(
            float((run.adapter[name] - weight).norm() / weight.norm())
            for name, weight in stock.adapter.items()
        ),
    )


TIMES = ("runtime", "per_second")
NOT_COUNTED = "total_flos"


def worst_metrics(run: Run, stock: Run) -> dict[str, float]:
    """Return how far each logged metric is from the stock run's, at its worst step.

    Before the first update all margins are 0, so rounding decides which completion has the higher
    reward. The warm-up's first step has learning rate 0, so this holds for two steps.
    """
    worst: dict[str, float] = {}
    for ours, theirs in zip(run.log, stock.log, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            unsigned = name.endswith("rewards/accuracies") and theirs["step"] <= 2
            if name != NOT_COUNTED and not unsigned and not any(word in name for word in TIMES):
                far = abs(ours[name] - value) / max(1, abs(value))
                worst[name] = max(worst.get(name, 0), far)
    return worst


def assert_equal(run: Run, stock: Run) -> None:
    """Check losses, adapters, rows and that there was something to compare."""
    assert run.layout.ran == "shared"
    # The last step of every epoch is included: it has fewer rows.
    assert len({len(step) for step in stock.steps}) > 1
    assert run.steps == stock.steps
    losses = stock.losses
    assert abs(losses[-1] - losses[0]) > 0.05
    found = distance(run, stock)
    assert found.equal, found


@pytest.mark.parametrize(("variant", "shape", "window", "checkpointing", "started"), cases())
def test_every_objective_is_the_stock_trainers(
    variant: str, shape: str, window: str, checkpointing: bool, started: bool,
) -> None:  # fmt: skip
    settings = trial("dpo", window, gradient_checkpointing=checkpointing, **VARIANTS[variant])
    run, stock = our_run(settings, shape, started), stock_run(settings, shape, started)
    if not distance(run, stock).equal:
        # Objectives that sort margins may take ties in either order. On one CPU model, this changes
        # the result of TRL's own trainer by 4e-4 when padding differs.
        stock = stock_run(settings, shape, started, multiple=32)
    assert len(run.losses) == STEPS
    assert_equal(run, stock)
    worst = worst_metrics(run, stock)
    assert {"rewards/margins", "logps/chosen", "logits/rejected", "entropy"} < worst.keys()
    assert {name: far for name, far in worst.items() if far > METRIC} == {}


@pytest.mark.parametrize(
    ("shape", "window", "completion_only", "checkpointing"),
    [
        pytest.param(*case, marks=[] if case in SFT_CUT else pytest.mark.all)
        for case in product(SHAPES, SFT_WINDOWS, (True, False), (False, True))
    ],
)
def test_packed_supervised_training_is_the_stock_trainers(
    shape: str, window: str, completion_only: bool, checkpointing: bool
) -> None:
    settings = trial(
        "sft", window, completion_only_loss=completion_only, gradient_checkpointing=checkpointing,
        eval_strategy="steps", eval_steps=6, learning_rate=5e-3,
    )  # fmt: skip
    run, stock = our_run(settings, shape), stock_run(settings, shape)
    assert_equal(run, stock)
    worst = worst_metrics(run, stock)
    assert {"eval_loss", "entropy", "mean_token_accuracy", "num_tokens", "grad_norm"} < worst.keys()
    assert {f"eval_{name}" for name in ("entropy", "mean_token_accuracy")} < worst.keys()
    assert {name: far for name, far in worst.items() if far > METRIC} == {}


def test_packed_dropout_is_the_stock_trainers_where_masks_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Masks are drawn for a row, a position and a feature, wherever a layout puts these."""
    monkeypatch.setattr(Qwen2Model, "forward", noting(Qwen2Model.forward))
    monkeypatch.setattr(torch.nn.Dropout, "forward", dropped)
    # So that the rows of a batch are in several passes.
    monkeypatch.setattr(sft, "CPU_PASS", 100)
    settings = trial("sft", "4x2", gradient_checkpointing=True, learning_rate=5e-3)
    settings["lora"]["lora_dropout"] = 0.3
    run, stock = our_run(settings, "qwen2"), stock_run(settings, "qwen2")
    assert_equal(run, stock)
    settings["lora"]["lora_dropout"] = 0.0
    assert not distance(our_run(settings, "qwen2"), stock).equal


STANDING: dict[str, torch.Tensor] = {}
"""For each token of the current pass: a number of its row, and its position in that."""


def noting(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a model's forward pass that notes which rows stand where."""

    def noted(
        self: torch.nn.Module, input_ids: torch.Tensor, attention_mask: torch.Tensor,
        position_ids: torch.Tensor | None = None, **rest: Any,
    ) -> Any:  # fmt: skip
        positions = attention_mask.cumsum(1) - 1 if position_ids is None else position_ids
        rows = torch.zeros(input_ids.shape, dtype=torch.float64)
        for row, (ids, standing) in enumerate(zip(input_ids, positions, strict=True)):
            length = int(attention_mask[row].sum())
            starts = [*(standing[:length] == 0).nonzero().flatten().tolist(), length]
            for start, end in pairwise(starts):
                rows[row, start:end] = crc32(bytes(str(ids[start:end].tolist()), "ascii")) % 9973
        STANDING.update(rows=rows, positions=positions.double())
        return forward(self, input_ids=input_ids, attention_mask=attention_mask,
                       position_ids=position_ids, **rest)  # fmt: skip

    return noted


def dropped(self: torch.nn.Dropout, states: torch.Tensor) -> torch.Tensor:
    """Return states with some features set to 0, given by hashes of row, position and feature."""
    if not self.training or self.p == 0:
        return states
    features = torch.arange(states.shape[-1], dtype=torch.float64)
    token = 12.9898 * STANDING["rows"] + 78.233 * STANDING["positions"]
    drawn = (43758.5453 * torch.sin(token[..., None] + 37.719 * features)) % 1
    return states * (drawn >= self.p) / (1 - self.p)


@pytest.mark.parametrize(
    ("method", "options", "window"),
    [
        ("orpo", {}, "4x4"),
        ("cpo", {"label_smoothing": 0.1}, "4x4"),
        ("simpo", {}, "4x4"),
        *(
            pytest.param(method, options, window, marks=pytest.mark.all)
            for method, options, window in (
                ("orpo", {"gradient_checkpointing": True}, "1x16"),
                ("cpo", {"loss_type": "hinge"}, "16x1"),
                ("cpo", {"loss_type": "ipo"}, "1x16"),
                ("simpo", {"gradient_checkpointing": True}, "16x1"),
            )
        ),
    ],
)
def test_methods_without_a_reference_are_the_stock_trainers(
    method: str, options: dict[str, Any], window: str
) -> None:
    settings = trial(method, window, eval_strategy="steps", eval_steps=10, **options)
    run, stock = our_run(settings, "qwen2", True), stock_run(settings, "qwen2", True)
    assert_equal(run, stock)
    # Their means of logits are over padding.
    logs = [{key: it for key, it in entry.items() if "logits/" not in key} for entry in stock.log]
    assert logs != stock.log
    worst = worst_metrics(run, replace(stock, log=logs))
    assert {"rewards/margins", "logps/chosen", "nll_loss", "eval_loss"} < worst.keys()
    assert {name: far for name, far in worst.items() if far > METRIC} == {}


@pytest.mark.parametrize(
    ("options", "window"),
    [
        ({}, "4x4"),
        pytest.param({"desirable_weight": 1.3, "gradient_checkpointing": True}, "16x1",
                     marks=pytest.mark.all),
        pytest.param({"undesirable_weight": 0.7}, "2x8", marks=pytest.mark.all),
    ],
)  # fmt: skip
def test_kto_is_the_stock_trainer(options: dict[str, Any], window: str) -> None:
    settings = trial("kto", window, eval_strategy="steps", eval_steps=10, **options)
    run, stock = our_run(settings, "qwen2", True), stock_run(settings, "qwen2", True)
    assert_equal(run, stock)
    assert any(entry.get("kl", 0.0) > 0.1 for entry in stock.log)
    worst = worst_metrics(run, stock)
    assert {"kl", "rewards/margins", "logps/chosen", "eval_loss"} < worst.keys()
    assert {name: far for name, far in worst.items() if far > METRIC} == {}


@pytest.mark.parametrize("window", [pytest.param("1x16", marks=pytest.mark.all), "4x4"])
def test_evaluation_while_training_is_the_stock_trainers(window: str) -> None:
    settings = trial("dpo", window, eval_strategy="steps", eval_steps=6)
    run, stock = our_run(settings, "llama"), stock_run(settings, "llama")
    assert_equal(run, stock)
    worst = worst_metrics(run, stock)
    assert {"eval_loss", "eval_rewards/margins", "eval_logits/chosen"} < worst.keys()
    assert {name: far for name, far in worst.items() if far > METRIC} == {}


def test_the_command_lines_give_the_stock_trainers_adapter(
    tiny_model: Path, pairs: list[Row], tmp_path: Path
) -> None:
    """From files to files: compute the reference's log-probs, then train with them."""
    settings = resolved("dpo", logging_steps=1, max_steps=8) | {"layout": "auto"}
    write_rows(tmp_path / "pairs.parquet", pairs, PREFERENCE_TOKENS)
    options = ["--model", str(tiny_model), "--tokens", str(tmp_path / "pairs.parquet")]
    logps = str(tmp_path / "logps.parquet")
    kind = ["--precision", "float32", "--quantization", "none"]
    assert reference.main([*options, *kind, "--out", logps]) == 0
    options += ["--trial", json.dumps(settings), "--reference", logps]
    assert dpo.main([*options, "--out", str(tmp_path / "trial")]) == 0

    base = load_base(tiny_model, "float32", "none")
    stock = trainers.stock_dpo(settings, base, tmp_path / "work", pairs)
    stock.train()
    stock.model.save_pretrained(tmp_path / "stock")
    expected = [entry["loss"] for entry in stock.state.log_history if "loss" in entry]
    history = read_jsonl(tmp_path / "trial" / "history.jsonl")
    assert [entry["loss"] for entry in history] == pytest.approx(expected, abs=LOSS)
    ours, theirs = (
        load_file(tmp_path / folder / "adapter_model.safetensors")
        for folder in ("trial/adapter", "stock")
    )
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert (ours[name] - weight).norm() <= ADAPTER * weight.norm()


# --------------------------------------------------------------------- the comparison itself fails


def test_dropped_branches_fail_the_comparison(monkeypatch: pytest.MonkeyPatch) -> None:
    def unbranched(tree: Tree, device: torch.device) -> dict[str, Any]:
        return {name: value for name, value in inputs(tree, device).items() if name != "branches"}

    inputs = Tree.inputs
    settings = trial("dpo", "4x4")
    right = our_run(settings, "llama")
    monkeypatch.setattr(LaidOutTrainer, "_unproven", lambda self: None)
    monkeypatch.setattr(Tree, "inputs", unbranched)
    # The step-0 gate would stop it first.
    monkeypatch.setattr("scripts.train.dpo.StepZeroGate.on_log", lambda *_, **__: None)
    wrong = our_run(settings, "llama")
    assert distance(right, stock_run(settings, "llama")).equal
    found = distance(wrong, stock_run(settings, "llama"))
    assert found.loss > 100 * LOSS
    assert found.adapter > 100 * ADAPTER


@pytest.mark.parametrize(("method", "window"), [("dpo", "4x4"), ("sft", "2x4")])
def test_a_last_window_that_weighs_otherwise_fails_the_comparison(
    method: str, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = trial(method, window)
    stock = stock_run(settings, "llama")
    assert distance(our_run(settings, "llama"), stock).equal
    inner = LaidOutTrainer.training_step

    def as_if_full(self: Any, model: Any, inputs: Any, items: Any = None) -> torch.Tensor:
        self.current_gradient_accumulation_steps = self.args.gradient_accumulation_steps
        return inner(self, model, inputs, None if items is None else items * 2)

    monkeypatch.setattr(LaidOutTrainer, "training_step", as_if_full)
    found = distance(our_run(settings, "llama"), stock)
    assert found.loss > 100 * LOSS
    assert found.adapter > 10 * ADAPTER


@pytest.mark.parametrize(
    "variant", ["aot", *(pytest.param(it, marks=pytest.mark.all) for it in ("aot_unpaired", "sft"))]
)
def test_micro_batches_matter_where_an_objective_compares_rows(variant: str) -> None:
    """So a layout that moved rows between micro-batches would fail the comparison."""
    four, sixteen = (
        stock_run(trial("dpo", window, **VARIANTS[variant]), "llama") for window in ("4x4", "16x1")
    )
    assert not distance(four, sixteen).equal


# ------------------------------------------------------------------------------------------- rows


def row_cases() -> list[Any]:
    """Return method, window, whether incomplete micro-batches are dropped, and seed."""
    windows = [("dpo", window) for window in DPO_WINDOWS] + [
        ("sft", window) for window in SFT_WINDOWS
    ]
    return [
        pytest.param(*window, drop_last, seed, marks=[] if seed == drop_last else pytest.mark.all)
        for window, drop_last, seed in product(windows, (False, True), range(3))
    ]


@pytest.mark.parametrize(("method", "window", "drop_last", "seed"), row_cases())
def test_every_step_holds_the_stock_trainers_rows(
    method: str, window: str, drop_last: bool, seed: int
) -> None:
    epochs = {"max_steps": -1, "num_train_epochs": 2.0, "dataloader_drop_last": drop_last}
    settings = trial(method, window, **epochs) | {"seed": seed}
    steps = our_run(settings, "llama").steps
    assert steps == stock_run(settings, "llama").steps
    assert steps == our_run(settings | {"layout": "stock"}, "llama").steps
    if not drop_last:
        # Every row once an epoch, whatever its order.
        drawn = sorted(row for step in steps for row in step)
        assert drawn == sorted(2 * everything(method))


@pytest.mark.parametrize("method", ["dpo", "sft"])
def test_another_seed_draws_other_rows(method: str) -> None:
    settings = trial(method, "2x4", max_steps=3)
    zero, one = (our_run(settings | {"seed": seed}, "llama").steps for seed in (0, 1))
    assert zero != one


def everything(method: str) -> list[tuple[int, ...]]:
    if method == "sft":
        return [tuple(row["prompt_ids"] + row["completion_ids"]) for row in demonstrations()]
    return [
        tuple(row["prompt_ids"] + row[f"{name}_ids"])
        for row in trainers.pairs()
        for name in ("chosen", "rejected")
    ]
