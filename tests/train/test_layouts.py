"""Which layout runs and why, what it records, and its tokens and memory."""

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import MethodType
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Trainer,
)

from scripts.common.cli import BadInput
from scripts.common.files import Row, read_json, write_rows
from scripts.common.rows import COMPLETION_TOKENS, PREFERENCE_TOKENS
from scripts.lm.tree_attention import attend_trees
from scripts.train import dpo, reference, sft
from scripts.train.layouts import BATCHES, active_dropout
from scripts.train.pairs import before_completions, compact
from tests.memory import Allocated
from tests.train.conftest import trainer_of
from tests.train.stock import SIZES, Settings, adapted, tokenizer, trial

METHODS = ["dpo", "sft"]


def titles(count: int, seed: int = 0) -> list[Row]:
    """Return pairs as long as those of titles, each with a prompt of its own.

    All prompts begin and end alike, and are about 75 tokens long; completions are about 12.
    """
    generator = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [generator.randrange(5, SIZES["vocab_size"]) for _ in range(count)]

    head, tail = tokens(30), tokens(25)
    rows = []
    for place in range(count):
        prompt = head + tokens(generator.randrange(8, 32)) + tail
        one, other = (tokens(generator.randrange(8, 21)) for _ in range(2))
        rows.append({"id": f"train-{place}", "prompt_ids": prompt, "completion_ids": one,
                     "chosen_ids": one, "rejected_ids": other})  # fmt: skip
    return rows


def build(config: PreTrainedConfig, attention: str = "sdpa") -> PreTrainedModel:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def llama(**settings: Any) -> LlamaConfig:
    return LlamaConfig(**SIZES | settings)


def made(settings: Settings, model: PreTrainedModel, rows: list[Row], work: Path) -> Trainer:
    """Return a trainer of a method; the reference's log-probs do not matter here."""
    names = ("chosen_logp", "rejected_logp", "chosen_head_logp", "rejected_head_logp")
    logps = [{"id": row["id"]} | dict.fromkeys(names, -60.0) for row in rows]
    trainer = trainer_of(settings, adapted(model, settings), tokenizer(), rows, logps, work)
    if settings["method"] == "dpo":
        trainer.gate.closed = False
    return trainer


# --------------------------------------------------------------------------- where it is not shared


def dropout(settings: Settings) -> PreTrainedModel:
    settings["lora"]["lora_dropout"] = 0.5
    settings["trainer"]["disable_dropout"] = False
    if settings["method"] == "sft":
        del settings["trainer"]["disable_dropout"]
    return build(llama())


def attention_dropout(_: Settings) -> PreTrainedModel:
    return build(llama(attention_dropout=0.1))


def mistral(_: Settings) -> PreTrainedModel:
    return build(MistralConfig(**SIZES, sliding_window=32))


def sliding_qwen2(_: Settings) -> PreTrainedModel:
    sliding = {"use_sliding_window": True, "sliding_window": 32, "max_window_layers": 0}
    return build(Qwen2Config(**SIZES, **sliding))


def changed(change: Callable[[PreTrainedModel, dict[str, Any]], dict[str, Any]]) -> PreTrainedModel:
    """Return a model whose forward pass gets changed arguments."""
    model = build(llama())
    inner = model.forward

    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        return inner(*args, **change(self, kwargs))

    # Bind it as a method, because TRL expects one where it patches the loss computation.
    model.forward = MethodType(forward, model)
    return model


def deaf_in_training(_: Settings) -> PreTrainedModel:
    """Return a model that drops branches while it trains, and keeps them in evaluation."""
    return changed(lambda model, kwargs: kwargs | ({"branches": None} if model.training else {}))


def dropout_without_a_module(_: Settings) -> PreTrainedModel:
    model = build(llama())
    model.model.norm.register_forward_hook(
        lambda module, _, out: torch.nn.functional.dropout(out, 0.1, module.training)
    )
    return model


def scaled(_: Settings) -> PreTrainedModel:
    return build(GraniteConfig(**SIZES, logits_scaling=8.0))


def mean_of_a_batch(_: Settings) -> PreTrainedModel:
    model = build(llama())
    model.accepts_loss_kwargs = False
    return model


SLIDES = "attention slides over 32 tokens, and the longest row has 1..?"
DIFFERS = "the model does not attend to prefix trees correctly"
UNFIT = {
    ("dpo", dropout): r"dropout is active \(.*lora_dropout.*\), and would be drawn once",
    ("dpo", attention_dropout): r"dropout is active \(.*attention_dropout\), and would be drawn",
    ("sft", scaled): "the model changes the logits that its head returns",
    ("sft", mean_of_a_batch): "the model's loss is a mean over each batch, not over the tokens",
    **{(method, mistral): SLIDES for method in METHODS},
    **{(method, sliding_qwen2): SLIDES for method in METHODS},
    **{(method, deaf_in_training): DIFFERS for method in METHODS},
    **{(method, dropout_without_a_module): DIFFERS for method in METHODS},
}
ROWS = [*titles(7), titles(1, seed=1)[0] | {"id": "long", "completion_ids": [9] * 40,
                                            "chosen_ids": [9] * 40}]  # fmt: skip


unfit_cases = pytest.mark.parametrize(
    ("method", "unfit"), UNFIT, ids=[f"{method}-{it.__name__}" for method, it in UNFIT]
)


@unfit_cases
def test_auto_runs_the_stock_layout_and_says_why(
    unfit: Callable[[Settings], PreTrainedModel], method: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It gives the same bits as if the stock layout had been asked for."""
    adapters = []
    for asked in ("auto", "stock"):
        settings = trial(method, "4x1", max_steps=2, learning_rate=0.1, warmup_steps=0)
        settings["layout"] = asked
        trainer = made(settings, unfit(settings), ROWS, tmp_path)
        trainer.train()
        layout, said = trainer.layout, capsys.readouterr().err
        assert layout.ran == "stock"
        assert layout.processed_tokens == layout.stock_tokens > layout.fewest_tokens > 0
        if asked == "auto":
            assert f"layout: stock, because {layout.reason}" in said
            assert re.match(UNFIT[method, unfit], layout.reason)
        else:
            assert (layout.reason, layout.check) == (None, None)
            assert "layout" not in said
        adapters.append([w for w in trainer.model.parameters() if w.requires_grad])
    assert all(torch.equal(one, other) for one, other in zip(*adapters, strict=True))


@unfit_cases
def test_shared_stops_and_says_why(
    unfit: Callable[[Settings], PreTrainedModel], method: str, tmp_path: Path
) -> None:
    settings = trial(method, "4x1", max_steps=2)
    trainer = made(settings, unfit(settings), ROWS, tmp_path)
    with pytest.raises(
        BadInput, match=f"layout: found shared, but {UNFIT[method, unfit]}.*; auto or"
    ):
        trainer.train()
    assert trainer.state.global_step == 0


@pytest.mark.parametrize("dropping", [dropout, attention_dropout])
def test_supervised_rows_are_packed_under_dropout(
    dropping: Callable[[Settings], PreTrainedModel], tmp_path: Path
) -> None:
    """It is off in the check only: another seed gives other gradients."""
    norms = []
    for seed in (0, 0, 1):
        settings = trial("sft", "4x1", max_steps=2)
        trainer = made(settings, dropping(settings), ROWS, tmp_path)
        before = active_dropout(trainer.model)
        torch.manual_seed(seed)
        trainer.train()
        assert (trainer.layout.ran, trainer.layout.reason) == ("shared", None)
        assert trainer.layout.check["logps"] < 1e-4 < trainer.layout.check["logps_unbranched"]
        assert active_dropout(trainer.model) == before is not None
        norms.append([entry.get("grad_norm") for entry in trainer.state.log_history])
    assert norms[0] == norms[1] != norms[2]


@pytest.mark.parametrize("method", METHODS)
def test_what_a_backend_drops_in_evaluation_shows_in_training_only(
    method: str, tmp_path: Path
) -> None:
    """So the check runs in training mode."""
    settings = trial(method, "4x1")
    model = made(settings, deaf_in_training(settings), ROWS, tmp_path).model
    assert attend_trees(model.eval(), [], [])[0] is None
    assert attend_trees(model.train(), [], [])[0] is not None


@pytest.mark.parametrize("method", METHODS)
def test_attention_that_slides_over_more_than_all_rows_is_shared(
    method: str, tmp_path: Path
) -> None:
    model = build(MistralConfig(**SIZES, sliding_window=200))
    trainer = made(trial(method, "4x1", max_steps=1), model, ROWS, tmp_path)
    trainer.train()
    assert (trainer.layout.ran, trainer.layout.reason) == ("shared", None)


@pytest.mark.parametrize("method", METHODS)
def test_the_decision_leaves_no_gradient_and_no_draw(method: str, tmp_path: Path) -> None:
    trainer = made(trial(method, "4x1"), build(llama()), ROWS, tmp_path)
    weights = [weight.clone() for weight in trainer.model.parameters()]
    states = torch.get_rng_state(), random.getstate()
    trainer.decide_layout()
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert trainer.layout.ran == "shared"
    assert trainer.layout.check["logps"] < 1e-4 < trainer.layout.check["logps_unbranched"]
    for weight, before in zip(trainer.model.parameters(), weights, strict=True):
        assert weight.grad is None
        assert torch.equal(weight, before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("asked", ["auto", "stock"])
def test_train_json_says_what_ran_and_why(
    tiny_model: Path, tmp_path: Path, asked: str, method: str,
    pairs: list[Row], demonstrations: list[Row], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    settings = trial(method, "2x2", max_steps=2) | {"layout": asked}
    settings["lora"]["lora_dropout"] = 0.5
    command = ["--model", str(tiny_model), "--tokens", str(tmp_path / "rows.parquet")]
    ours = ["--trial", json.dumps(settings), "--out", str(tmp_path / "trial")]
    if method == "sft":
        write_rows(tmp_path / "rows.parquet", demonstrations, COMPLETION_TOKENS)
        sft.main([*command, *ours])
    else:
        settings["trainer"]["disable_dropout"] = False
        ours[1] = json.dumps(settings)
        write_rows(tmp_path / "rows.parquet", pairs, PREFERENCE_TOKENS)
        logps = str(tmp_path / "logps.parquet")
        kind = ["--precision", "float32", "--quantization", "none"]
        reference.main([*command, *kind, "--out", logps])
        dpo.main([*command, *ours, "--reference", logps])
    layout = read_json(tmp_path / "trial" / "train.json")["layout"]
    packed = (method, asked) == ("sft", "auto")
    assert (layout["asked"], layout["ran"]) == (asked, "shared" if packed else "stock")
    said = capsys.readouterr().err
    if asked == "auto" and not packed:
        assert layout["reason"].startswith("dropout is active (")
        assert f"layout: stock, because {layout['reason']}\n" in said
    else:
        assert layout["reason"] is None
        assert "layout:" not in said


# ----------------------------------------------------------------------------------- what it takes


def test_a_batch_is_cut_down_to_what_predicts_its_completions() -> None:
    """Two rows, by hand: prompts of 2 and 1 tokens, completions of 2 and 1; 0 is padding."""
    batch = {
        "input_ids": torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]),
        "completion_mask": torch.tensor([[0, 0, 1, 1], [0, 1, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
    }
    # Last tokens are not computed: nothing is predicted after them.
    cut, wanted = compact(batch, [[10, 11, 12], [20]], before_completions(batch))
    assert cut["input_ids"].tolist() == [[2, 3, 4], [5, 6, 5]]
    assert cut["completion_mask"].tolist() == [[0, 1, 1], [0, 1, 0]]
    assert cut["attention_mask"] is batch["attention_mask"]
    assert wanted.tolist() == [[11, 12, 11], [20, 20, 20]]


@pytest.mark.parametrize("window", ["1x16", "4x4", "16x1"])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_takes_hardly_more_tokens_than_its_tree(
    method: str, window: str, tmp_path: Path
) -> None:
    trainer = made(trial(method, window, max_steps=4), build(llama()), titles(64), tmp_path)
    passes: list[int] = []
    inner = trainer.training_step

    def counted(model: Any, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        passes.append(len(inputs[BATCHES]))
        return inner(model, inputs, *rest)

    trainer.training_step = counted
    trainer.train()
    layout = trainer.layout
    assert layout.ran == "shared"
    # As many inputs as batches, all but one of them empty: the trainer counts them.
    assert sum(passes) == len(passes) == 4 * int(window.split("x")[1])
    assert layout.fewest_tokens <= layout.processed_tokens <= layout.stock_tokens
    if window == "4x4":
        assert layout.processed_tokens <= 1.10 * layout.fewest_tokens
        assert method == "sft" or layout.stock_tokens > 1.5 * layout.processed_tokens


def test_supervised_training_projects_only_what_its_loss_reads(tmp_path: Path) -> None:
    """And on a CPU, a pass has at most so many tokens."""
    rows = titles(8)
    trainer = made(trial("sft", "8x1", max_steps=1), build(llama()), rows, tmp_path)
    projected: list[int] = []
    passed: list[int] = []
    head = trainer.model.get_output_embeddings()
    inner = head.forward

    def project(states: torch.Tensor) -> torch.Tensor:
        if head.training and states.numel() and trainer.layout.ran == "shared":
            projected.append(len(states))
        return inner(states)

    def counted(_: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        if trainer.layout.ran == "shared":
            passed.append(inputs[0].shape[1])

    head.forward = project
    trainer.model.get_base_model().model.layers[0].register_forward_pre_hook(counted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sft, "CPU_PASS", 200)
        patch.setattr(sft, "CHUNK", 20)
        trainer.train()
    assert sum(projected) == sum(len(row["completion_ids"]) for row in rows)
    assert max(projected) == 20
    assert max(passed) <= 200
    assert len(passed) == 4
    assert sum(passed) == sum(len(row["prompt_ids"] + row["completion_ids"]) for row in rows)


@pytest.mark.parametrize("checkpointing", [False, pytest.param(True, marks=pytest.mark.all)])
@pytest.mark.parametrize(
    "window", ["1x16", *(pytest.param(it, marks=pytest.mark.all) for it in ("4x4", "16x1"))]
)
@pytest.mark.parametrize("vocabulary", [300, 6000])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_takes_no_more_memory_than_the_stock_layout(
    method: str, vocabulary: int, window: str, checkpointing: bool, tmp_path: Path
) -> None:
    peaks = {}
    for layout in ("stock", "shared"):
        settings = trial(method, window, max_steps=1, gradient_checkpointing=checkpointing)
        settings["layout"] = layout
        config = Qwen2Config(
            hidden_size=128, intermediate_size=384, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, vocab_size=vocabulary,
        )  # fmt: skip
        trainer = made(settings, build(config), titles(16), tmp_path)
        allocated = Allocated(trainer.model)
        inner = trainer.training_step

        def step(*args: Any, allocated: Any = allocated, inner: Any = inner, **named: Any) -> Any:
            with allocated:
                return inner(*args, **named)

        trainer.training_step = step
        trainer.train()
        assert trainer.layout.ran == layout
        peaks[layout] = allocated.peak
    # The inputs of both layouts are in memory at once: a few 8-byte numbers per token.
    assert 0 < peaks["shared"] <= peaks["stock"] + 4 * 8 * trainer.layout.stock_tokens
    if method == "dpo":
        assert peaks["shared"] < 0.97 * peaks["stock"]
