"""Estimates from configurations: published steps and weights, and memory against real tensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch.autograd.graph import saved_tensors_hooks
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
)

from scripts.common.cli import BadInput
from scripts.common.files import write_json
from scripts.config.check import load
from scripts.config.plan import make_plan
from scripts.lm.adapters import lora_config
from scripts.lm.pairs import pair_logps
from scripts.lm.snapshots import load_base
from scripts.lm.tokenizers import load_tokenizer
from scripts.models.manifest import write_manifest
from scripts.train.check import check_adapter
from scripts.train.estimate.sizes import (
    PACKED_CHUNK,
    STOCK_CHUNK,
    Batch,
    activation_bytes,
    block_bytes,
    check_architecture,
    layout,
    logit_bytes,
    optimizer_bytes,
    optimizer_steps,
    weight_bytes,
)
from scripts.train.starts import Overwritten
from tests.conftest import ROOT
from tests.memory import Allocated
from tests.train.conftest import resolved, trainer_of

TRIALS = {
    run.name: run.training.as_json()
    for run in make_plan(load([ROOT / "config.yaml"])).runs.values()
}
# The sizes in the two models' config.json.
MODELS = {
    "qwen-14b": Qwen2Config(
        hidden_size=5120, intermediate_size=13824, num_hidden_layers=48, num_attention_heads=40,
        num_key_value_heads=8, vocab_size=152064,
    ),
    "tinyllama": LlamaConfig(
        hidden_size=2048, intermediate_size=5632, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, vocab_size=32000,
    ),
}  # fmt: skip
ROWS = {"youtube-titles": 1026, "grade-school-math": 5000, "hh-rlhf": 1976}
PUBLISHED = {
    "titles-dpo": (195, 137_625_600),
    "sft-1": (1875, 1_914_880),
    "sft-2": (1250, 2_252_800),
    "sft-3": (1875, 2_703_360),
    "sft-4": (1875, 1_914_880),
    "sft-5": (1875, 281_600),
    "dpo-1": (494, 563_200),
    "dpo-2": (494, 563_200),
    "dpo-3": (494, 563_200),
    "dpo-4": (494, 3_829_760),
    "dpo-5": (741, 563_200),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_steps_and_trainable_parameters(name: str) -> None:
    trial = TRIALS[name]
    steps = optimizer_steps(ROWS[trial["dataset"]], trial["trainer"])
    trained = layout(MODELS[trial["model"]], trial["lora"]).trainable
    assert (steps, trained) == PUBLISHED[name]


def unweighted(folder: Path, model: PreTrainedConfig) -> Path:
    """Write a model's configuration without weights; return its manifest."""
    model.save_pretrained(folder)
    write_json(folder / "manifest.json", {"folder": ".", "files": []})
    return folder / "manifest.json"


def test_the_papers_models_can_have_the_adapters_of_its_trials(tmp_path: Path) -> None:
    adapters = make_plan(load([ROOT / "config.yaml"])).adapters
    modules = {str(trial["lora"]["target_modules"]) for trial in TRIALS.values()}
    assert {str(lora["target_modules"]) for lora in adapters.values()} == modules
    for name, lora in adapters.items():
        model = name.split("/")[0]
        check_adapter(unweighted(tmp_path / model, MODELS[model]), lora)


@pytest.mark.parametrize("modules", [["q_projj"], ["lm_head", "q_proj", "wte"]])
def test_modules_that_a_model_lacks_are_named(tmp_path: Path, modules: list[str]) -> None:
    lora = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "init_lora_weights": True}
    manifest = unweighted(tmp_path, MODELS["tinyllama"])
    with pytest.raises(BadInput) as refused:
        check_adapter(manifest, lora | {"target_modules": modules})
    lacking = ", ".join(it for it in modules if it != "q_proj")
    assert str(refused.value) == (
        f"{manifest}: lora.target_modules: found {lacking}; the model has "
        "down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )


def test_a_published_trial_and_its_variants_are_set_up_alike() -> None:
    """As coded or corrected, a trial has the published adapter and number of steps."""
    variants = [f"{name}-{kind}" for name in PUBLISHED for kind in ("as-coded", "corrected")]
    found = [name for name in variants if name in TRIALS]
    assert len(found) == 15
    for name in found:
        variant = TRIALS[name]
        published = TRIALS[name.removesuffix("-as-coded").removesuffix("-corrected")]
        assert variant["lora"] == published["lora"]
        steps = [optimizer_steps(5000, trial["trainer"]) for trial in (variant, published)]
        assert steps[0] == steps[1]


# q v at r 4, and gate down of the start at r 4, in 22 layers: 4 * (4096 + 2304 + 7680 + 7680)
# weights each. dpo-4 has all four modules itself, at r 8, so nothing of the start remains.
AS_CODED = {
    "dpo-1-as-coded": 1_914_880,
    "dpo-2-as-coded": 1_914_880,
    "dpo-3-as-coded": 1_914_880,
    "dpo-4-as-coded": 3_829_760,
    "dpo-5-as-coded": 1_914_880,
}


def test_as_coded_the_start_stays_where_the_new_adapter_is_not() -> None:
    coded = {name for name, trial in TRIALS.items() if trial.get("start_as") == "overwritten"}
    assert coded == AS_CODED.keys()
    model, start = MODELS["tinyllama"], TRIALS["sft-1"]["lora"]
    modules = layout(model, start).modules
    assert modules == {"q_proj", "v_proj", "gate_proj", "down_proj"}
    for name, count in AS_CODED.items():
        lora = Overwritten().lora(TRIALS[name]["lora"], start, modules)
        assert layout(model, lora).trainable == count


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["q_proj", "v_proj", "down_proj"], ["q_proj"]),
        (["q_proj", "v_proj"], ["q_proj", "v_proj"]),
        (["q_proj"], ["o_proj", "up_proj"]),
        ("all-linear", ["q_proj", "down_proj"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Already found")
def test_an_overwritten_start_is_laid_out_as_peft_leaves_it(
    old: list[str] | str, new: list[str], tmp_path: Path
) -> None:
    """PEFT itself wraps a wrapped model again; the ranks and scales of the two adapters differ."""
    config = SMALL["llama"]
    older = lora(FEW) | {"r": 4, "lora_alpha": 40, "target_modules": old}
    newer = lora(new)
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config)
    get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **older)).save_pretrained(tmp_path)
    once = PeftModel.from_pretrained(AutoModelForCausalLM.from_config(config), tmp_path)
    with pytest.warns(UserWarning, match="modify a model with PEFT for a second time"):
        twice = get_peft_model(once, LoraConfig(task_type="CAUSAL_LM", **newer))
    found = Overwritten().lora(newer, older, layout(config, older).modules)
    assert layout(config, found).trainable == twice.get_nb_trainable_parameters()[0]
    left = adapted(config, torch.float32, found)
    assert ranks_and_scales(left) == ranks_and_scales(twice)


def ranks_and_scales(model: PeftModel) -> dict[str, tuple[int, float]]:
    return {
        name.replace("base_model.model.", ""): (module.r["default"], module.scaling["default"])
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def test_a_module_that_the_model_lacks_is_named() -> None:
    lora = TRIALS["sft-1"]["lora"] | {"target_modules": ["q_proj", "c_attn"]}
    with pytest.raises(BadInput, match="found c_attn; the model has down_proj"):
        layout(MODELS["tinyllama"], lora)


# ------------------------------------------------------------------- memory, beside real tensors

SIZES = {"hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
         "num_attention_heads": 4, "num_key_value_heads": 2}  # fmt: skip
SMALL = {
    "llama": LlamaConfig(**SIZES, vocab_size=300, tie_word_embeddings=False),
    "qwen2": Qwen2Config(**SIZES, vocab_size=300, tie_word_embeddings=True),
}
FEW = ["q_proj", "v_proj"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def lora(targets: list[str], dropout: float = 0.0) -> dict[str, Any]:
    return {"r": 8, "lora_alpha": 16, "lora_dropout": dropout, "target_modules": targets,
            "init_lora_weights": True}  # fmt: skip


def adapted(
    config: PreTrainedConfig, dtype: torch.dtype, adapter: dict[str, Any]
) -> PreTrainedModel:
    """Return a model with a float32 adapter, as the trainers make it."""
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **adapter)).train()
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.float()
    return model


@pytest.fixture
def snapshot(tiny_model: Path, tmp_path: Path) -> Callable[[PreTrainedConfig], Path]:
    """Return a function that writes a snapshot with random weights."""

    def make(config: PreTrainedConfig) -> Path:
        folder = tmp_path / "snapshot"
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
        load_tokenizer(tiny_model).save_pretrained(folder)
        write_manifest(tmp_path / "manifest.json", folder, {"source": "demo"})
        return tmp_path / "manifest.json"

    return make


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("quantization", ["none", "nf4"])
@pytest.mark.parametrize("name", SMALL)
def test_weights_take_what_the_loaded_model_takes(
    snapshot: Callable[[PreTrainedConfig], Path], name: str, quantization: str, precision: str
) -> None:
    model = load_base(snapshot(SMALL[name]), precision, quantization)
    taken = 0
    for weight in model.parameters():
        taken += weight.nbytes
        if state := getattr(weight, "quant_state", None):
            nested = state.state2
            tables = (state.absmax, state.code, state.offset, nested.absmax, nested.code)
            taken += sum(table.nbytes for table in tables)
    found = layout(SMALL[name], lora(ALL))
    itemsize = getattr(torch, precision).itemsize
    assert weight_bytes(found, itemsize, quantization) == taken


def test_nf4_takes_4_127_bits_a_weight() -> None:
    """QLoRA, section 3: 0.127 bits a weight for the constants of double quantization."""
    found = layout(MODELS["qwen-14b"], lora(FEW))
    linear = sum(found.quantizable)
    bits = 8 * (weight_bytes(found, 2, "nf4") - 2 * found.kept) / linear
    assert bits == pytest.approx(4.127, abs=1e-3)
    assert found.parameters == 14_770_033_664


@pytest.mark.parametrize(
    "optim", ["adamw_torch", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"]
)
def test_optimizers_keep_what_their_state_takes(optim: str, tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    adapter = lora(ALL) | {"r": 16}
    model = adapted(SMALL["llama"], torch.float32, adapter)
    arguments = TrainingArguments(output_dir=str(tmp_path), optim=optim, use_cpu=True)
    optimizer = Trainer(model=model, args=arguments).create_optimizer()
    model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    tensors = {
        state.data_ptr(): state
        for weight in optimizer.state.values()
        for key, state in weight.items()
        # All weights share the tables of 8-bit codes, and a step count is not state.
        if isinstance(state, torch.Tensor) and state.ndim and not key.startswith("qmap")
    }
    assert optimizer_bytes(layout(SMALL["llama"], adapter), optim) == sum(
        tensor.nbytes for tensor in tensors.values()
    )


def kept_by_autograd(model: PreTrainedModel, forward: Callable[[], torch.Tensor]) -> int:
    """Return the bytes of all tensors that a forward pass saves, except weights."""
    own = {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    assert output.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize(
    ("targets", "dropout"), [(FEW, 0.0), (ALL, 0.0), (ALL, 0.1)], ids=["few", "all", "dropout"]
)
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", SMALL)
def test_activations_are_what_autograd_keeps(
    name: str,
    dtype: torch.dtype,
    checkpointing: bool,
    targets: list[str],
    dropout: float,
    rows: int,
) -> None:
    config, longest = SMALL[name], 96
    model = adapted(config, dtype, lora(targets, dropout))
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    ids = torch.randint(5, 300, (rows, longest))
    attention = torch.ones_like(ids)
    if rows > 1:
        attention[0, 80:] = 0

    def forward() -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            inner = model.base_model.model.model
            return inner(input_ids=ids, attention_mask=attention, use_cache=False)[0]

    # Dropout saves float32 noise on a CPU, and a one-byte mask on a GPU.
    batch = Batch(rows, longest, dtype.itemsize, False, checkpointing, dropout > 0, 4)
    counted = activation_bytes(config, layout(config, lora(targets, dropout)), batch)
    assert counted == pytest.approx(kept_by_autograd(model, forward), rel=0.1)


@pytest.mark.parametrize("vocabulary", [300, 6000])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize(("precision", "quantization"), [("float32", "nf4"), ("bfloat16", "none")])
@pytest.mark.parametrize(("method", "ran"), [("sft", "stock"), ("sft", "shared"), ("dpo", "stock")])
def test_a_step_allocates_what_is_counted(
    snapshot: Callable[[PreTrainedConfig], Path],
    tmp_path: Path,
    method: str,
    ran: str,
    precision: str,
    quantization: str,
    checkpointing: bool,
    vocabulary: int,
) -> None:
    """With a large vocabulary logits set the peak; with a small one, activations or one block."""
    config = Qwen2Config(**SIZES, vocab_size=vocabulary)
    trial = resolved(method, max_steps=1, gradient_checkpointing=checkpointing)
    trial |= {"lora": lora(ALL), "layout": ran}
    if ran == "shared":
        trial["trainer"]["completion_only_loss"] = False
    rows = [
        {"id": str(i), "prompt_ids": [5] * 40, "completion_ids": [6] * length,
         "chosen_ids": [7] * length, "rejected_ids": [8] * 50}
        for i, length in enumerate((40, 56, 56, 56))
    ]  # fmt: skip
    base = load_base(snapshot(config), precision, quantization)
    model = get_peft_model(base, lora_config(base, trial["lora"]))
    tokenizer = load_tokenizer(tmp_path / "manifest.json")
    logps = pair_logps(model, rows)
    trainer = trainer_of(trial, model, tokenizer, rows, logps, tmp_path)
    allocated = Allocated(trainer.model)
    inner = trainer.training_step

    def step(*args: Any, **kwargs: Any) -> Any:
        with allocated:
            return inner(*args, **kwargs)

    trainer.training_step = step
    trainer.train()
    assert trainer.layout.ran == ran
    found = layout(config, trial["lora"])
    batch = Batch(
        # Two packed rows have more than nine tenths of a batch's tokens: each has its own pass.
        sequences=4 if method == "dpo" else 2 if ran == "stock" else 1, longest=96,
        itemsize=getattr(torch, precision).itemsize, quantized=quantization == "nf4",
        checkpointing=checkpointing, dropout=False,
    )  # fmt: skip
    counted = found.trainable * 4 + activation_bytes(config, found, batch)
    chunk = {"dpo": None, "sft": PACKED_CHUNK if ran == "shared" else STOCK_CHUNK}[method]
    logits = logit_bytes(vocabulary, chunk, batch, fused=False)
    counted += max(logits, block_bytes(config, found, batch))
    assert counted == pytest.approx(allocated.peak, rel=0.25)


def test_a_model_of_another_architecture_is_named() -> None:
    with pytest.raises(BadInput, match="gpt2: its configuration has no intermediate_size"):
        check_architecture(GPT2Config())
