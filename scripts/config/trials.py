"""Trials: training keys, in the words of TRL's and PEFT's own arguments.

A paper's appendix can be copied without a dictionary. Each method has one class.
"""

from string import whitespace
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from scripts.config.base import LARGEST, Closed, Count, Name, Positive, Size
from scripts.train.signs import Stopper


class Lora(Closed):
    """The adapter, in PEFT's terms (https://huggingface.co/docs/peft, LoraConfig)."""

    r: Size = 16
    lora_alpha: Count = 32
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    init_lora_weights: Literal[True, "gaussian"] = Field(
        True, description="true: B is zero and A is Kaiming-uniform; gaussian: A is normal"
    )
    use_rslora: bool = Field(
        False, description="rsLoRA: scaled by lora_alpha / √r instead of lora_alpha / r"
    )
    use_dora: bool = Field(
        False, description="DoRA: the lengths of the weights' columns are trained apart"
    )
    loraplus_lr_ratio: float = Field(
        1.0, ge=1, le=1e6, description="LoRA+: the learning rate of B over that of A"
    )
    layers_to_transform: list[Annotated[int, Field(ge=0, le=LARGEST)]] | None = Field(
        None, min_length=1, description="numbers, from 0, of the layers with an adapter; null: all"
    )
    modules_to_save: list[str] | None = Field(
        None, min_length=1, description="modules that are trained whole, such as lm_head"
    )

    @property
    def is_plain(self) -> bool:
        """Whether it adds B A to weights in all layers, and nothing else."""
        others = (self.use_rslora, self.use_dora, self.layers_to_transform, self.modules_to_save)
        return not any(others)

    @field_validator("target_modules")
    @classmethod
    def some_module(cls, modules: list[str] | str) -> list[str] | str:
        if not modules:
            raise ValueError("an adapter needs at least one module, or all-linear")
        odd = next((it for it in modules if not it or set(it) & set(whitespace)), None)
        if odd is not None:
            raise ValueError(f"found {odd!r}; allowed are names of modules without blanks")
        return modules


class Trial(Closed):
    """What SFT and DPO trials share, in the terms of transformers' TrainingArguments."""

    name: Name
    dataset: Name | None = Field(
        None, description="to learn from, such as a mixture; else the phase's, which is the test"
    )
    backend: Literal["transformers", "unsloth"] = Field(
        "transformers", description="what loads and trains; the files that it leaves are the same"
    )
    layout: Literal["auto", "shared", "stock"] = Field(
        "auto",
        description="how a batch is computed; shared: each prompt once for all completions that "
        "share it, and rows packed; stock: as TRL's trainers do; auto: shared where a check at "
        "start-up shows that the model honours it, else stock; where it does not, shared stops",
    )
    processes: Count = Field(
        1,
        description="that train it together, each on a GPU of its own, for a model larger than one "
        "GPU (FSDP); they divide a step's rows among them, so its batches have to divide by that",
    )
    lora: Lora = Lora()
    learning_rate: Positive = 2e-4
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: int | float = Field(
        0, ge=0, le=LARGEST, description="steps, or below 1 a share of them"
    )
    num_train_epochs: float = Field(1, gt=0, le=1e6)
    max_steps: Count | None = Field(None, description="instead of num_train_epochs")
    per_device_train_batch_size: Count = 8
    gradient_accumulation_steps: Count = 1
    dataloader_drop_last: bool = Field(False, description="leave out the last, partial batch")
    optim: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"] = (
        "adamw_torch"
    )
    weight_decay: float = Field(0.0, ge=0, le=1e12)
    max_grad_norm: Positive = 1.0
    gradient_checkpointing: bool = False
    logging_steps: Count = 10
    eval_strategy: Literal["no", "epoch", "steps"] = Field(
        "no", description="when the loss on the phase's valid split is taken while training"
    )
    eval_steps: Count | None = None
    load_best_model_at_end: bool = Field(
        False, description="keep the adapter of the evaluation with the lowest loss"
    )
    stop_when: list[Stopper] = Field(
        [],
        description="signs of a training that goes wrong (docs/signs.md) which stop it, after a "
        "checkpoint; a change of this retrains nothing",
    )

    @model_validator(mode="after")
    def has_effect(self) -> "Trial":
        if self.max_steps is not None and "num_train_epochs" in self.model_fields_set:
            raise ValueError("max_steps and num_train_epochs exclude each other")
        if self.warmup_steps and self.lr_scheduler_type == "constant":
            raise ValueError("warmup_steps has no effect on a constant schedule")
        if self.warmup_steps > 1 and self.warmup_steps % 1:
            raise ValueError(
                f"warmup_steps: found {self.warmup_steps}; allowed are whole steps, or below 1 a "
                "share"
            )
        if self.max_steps is not None:
            for key in ("warmup_steps", "eval_steps"):
                if (getattr(self, key) or 0) > self.max_steps:
                    raise ValueError(
                        f"{key}: found {getattr(self, key)}; the run has max_steps {self.max_steps}"
                    )
        if (self.eval_steps is not None) != (self.eval_strategy == "steps"):
            raise ValueError("eval_steps goes with eval_strategy: steps, and only with it")
        if self.load_best_model_at_end and self.eval_strategy == "no":
            raise ValueError("load_best_model_at_end has no effect with eval_strategy: no")
        if "valid_loss_rose" in self.stop_when and self.eval_strategy == "no":
            raise ValueError("stop_when: valid_loss_rose has no effect with eval_strategy: no")
        twice = next((name for name in self.stop_when if self.stop_when.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"stop_when names {twice} twice")
        return self

    @model_validator(mode="after")
    def backend_has_the_adapter(self) -> "Trial":
        if self.backend == "unsloth" and self.lora.use_dora:
            raise ValueError("lora.use_dora needs backend: transformers")
        return self

    @model_validator(mode="after")
    def can_be_divided(self) -> "Trial":
        if self.processes == 1:
            return self
        if self.backend == "unsloth":
            raise ValueError("processes needs backend: transformers; unsloth trains on one GPU")
        if self.layout == "shared":
            raise ValueError("processes needs layout: auto or stock; shared is of one process")
        batches = (self.gradient_accumulation_steps, self.per_device_train_batch_size)
        if all(size % self.processes for size in batches):
            raise ValueError(
                f"processes: found {self.processes}, which divides neither "
                f"gradient_accumulation_steps ({batches[0]}) nor per_device_train_batch_size "
                f"({batches[1]}); the same rows could not make up a step"
            )
        return self

    def trainer_settings(self) -> dict[str, Any]:
        """Return the settings that TRL's and transformers' own arguments take."""
        own = {"name", "method", "dataset", "backend", "layout", "processes", "lora", "stop_when"}
        settings = self.model_dump(mode="json", exclude=own | {"start", "start_as"})
        return settings | {"max_steps": -1 if self.max_steps is None else self.max_steps}


class SftTrial(Trial):
    """One supervised trial (TRL's SFTTrainer)."""

    method: Literal["sft"] = "sft"

    completion_only_loss: bool = Field(
        True, description="false: the prompt's tokens count in the loss too"
    )

    @model_validator(mode="after")
    def has_no_pairs(self) -> "SftTrial":
        if "chosen_free_fall" in self.stop_when:
            raise ValueError("stop_when: chosen_free_fall has no effect on sft, which has no pairs")
        return self


LossType = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip

BUT_SFT = tuple(objective for objective in get_args(LossType) if objective != "sft")
DIVERGING = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class StartedTrial(Trial):
    """What trials of preference methods share: where they start, and their dropout."""

    start: Name | None = Field(
        None, description="the SFT trial whose merged model is start and reference; else the base"
    )
    start_as: Literal["merged", "overwritten"] = Field(
        "merged",
        description="overwritten: the new adapter is laid over the unmerged one of `start`, which "
        "it replaces on the modules of both; the reference is `start` whole, so that policy and "
        "reference differ from the first step on (a published notebook does this)",
    )

    disable_dropout: bool = Field(
        True, description="TRL's default; it silences lora_dropout too, so say false to have it"
    )

    def attached_as(self) -> dict[str, Any]:
        """Return how the start's adapter is attached, as a resolved trial says it."""
        return {"start_as": self.start_as}

    @model_validator(mode="after")
    def start_is_fit(self) -> "StartedTrial":
        if self.start_as == "overwritten" and self.start is None:
            raise ValueError("start_as: overwritten needs a start whose adapter is overwritten")
        if self.start_as == "overwritten" and (
            self.lora.target_modules == "all-linear" or not self.lora.is_plain
        ):
            raise ValueError(
                "start_as: overwritten takes named target_modules, in all layers, and neither "
                "use_rslora, use_dora nor modules_to_save"
            )
        return self

    @model_validator(mode="after")
    def dropout_has_effect(self) -> "StartedTrial":
        if self.lora.lora_dropout and "disable_dropout" not in self.model_fields_set:
            raise ValueError(
                "lora_dropout above 0 needs disable_dropout said: true silences it, false has it"
            )
        return self


class DpoTrial(StartedTrial):
    """One trial by DPO (TRL's DPOTrainer). Its reference is the model that it starts from."""

    EFFECTS: ClassVar = {
        "beta": BUT_SFT,
        "label_smoothing": ("exo_pair", "robust", "aot", "aot_unpaired"),
        "ld_alpha": BUT_SFT,
        "f_divergence_type": DIVERGING,
        "discopop_tau": ("discopop",),
    }
    """The objectives whose loss depends on an option, as TRL computes them."""
    OFF: ClassVar = {"label_smoothing": 0.0, "ld_alpha": None, "f_divergence_type": "reverse_kl"}
    """The values that switch an option off, and so may stand beside every objective."""

    method: Literal["dpo"] = "dpo"
    beta: Positive = 0.1
    loss_type: Annotated[
        list[LossType], BeforeValidator(_listed, json_schema_input_type=LossType | list[LossType])
    ] = Field(
        ["sigmoid"],
        min_length=1,
        description="one objective, or a list of them, whose weighted sum is the loss",
    )
    loss_weights: list[Annotated[float, Field(ge=0, le=1e12)]] | None = Field(
        None, description="one for each objective of a list; null: 1 for each"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    use_weighting: bool = Field(
        False, description="WPO: a pair counts by how likely the policy finds its completions"
    )
    ld_alpha: float | None = Field(
        None,
        ge=0,
        le=1,
        description="LD-DPO: how much tokens count beyond the shorter completion's length; null, "
        "as 1: as much as all others",
    )
    f_divergence_type: Literal["reverse_kl", "forward_kl", "js_divergence", "alpha_divergence"] = (
        Field("reverse_kl", description="f-DPO: what keeps the policy near its reference")
    )
    f_alpha_divergence_coef: float = Field(
        0.5, ge=-1e12, le=1e12, description="of alpha_divergence; 1: reverse_kl"
    )
    discopop_tau: Positive = 0.05

    @model_validator(mode="after")
    def objectives_are_weighed(self) -> "DpoTrial":
        twice = next((name for name in self.loss_type if self.loss_type.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"loss_type names {twice} twice")
        if self.loss_weights is None:
            return self
        found, needed = len(self.loss_weights), len(self.loss_type)
        if needed == 1:
            raise ValueError("loss_weights goes with several objectives, and only with them")
        if found != needed:
            raise ValueError(f"loss_weights holds {found} for {needed} objectives; each needs one")
        if 0 in self.loss_weights:
            name = self.loss_type[self.loss_weights.index(0)]
            raise ValueError(f"loss_weights leaves {name} without effect, as its weight is 0")
        return self

    @model_validator(mode="after")
    def objectives_have_their_options(self) -> "DpoTrial":
        """What TRL's DPOTrainer refuses, and one thing at which it breaks off."""
        if "exo_pair" in self.loss_type and not self.label_smoothing:
            raise ValueError("exo_pair needs a label_smoothing above 0 (its paper: 1e-3)")
        allowed = {*DIVERGING, "sft"}
        other = next((name for name in self.loss_type if name not in allowed), None)
        if self.f_divergence_type != "reverse_kl" and other is not None:
            raise ValueError(
                f"f_divergence_type: {self.f_divergence_type} is not defined for {other}; "
                f"it is for {', '.join(DIVERGING)}"
            )
        for name in ("aot", "aot_unpaired"):
            if self.use_weighting and name in self.loss_type:
                raise ValueError(f"use_weighting is not defined for {name}, which sorts the pairs")
        if self.use_weighting and "sft" in self.loss_type and self.per_device_train_batch_size > 1:
            raise ValueError(
                "use_weighting with sft needs per_device_train_batch_size: 1, since TRL weighs the "
                "sft loss of no larger batch"
            )
        return self

    @model_validator(mode="after")
    def options_have_effect(self) -> "DpoTrial":
        for option, objectives in self.EFFECTS.items():
            off = option in self.OFF and getattr(self, option) == self.OFF[option]
            said = option in self.model_fields_set and not off
            if said and not set(objectives) & set(self.loss_type):
                raise ValueError(
                    f"{option} has no effect on {', '.join(self.loss_type)}; it has on "
                    + ", ".join(objectives)
                )
        if (
            "f_alpha_divergence_coef" in self.model_fields_set
            and self.f_divergence_type != "alpha_divergence"
        ):
            raise ValueError(
                "f_alpha_divergence_coef has no effect on "
                f"f_divergence_type: {self.f_divergence_type}; it has on alpha_divergence"
            )
        return self


class KtoTrial(StartedTrial):
    """One trial by KTO (TRL's KTOTrainer), on each pair as two rows."""

    method: Literal["kto"]
    beta: Positive = 0.1
    desirable_weight: Positive = Field(1.0, description="of the loss of chosen completions")
    undesirable_weight: Positive = Field(1.0, description="of the loss of rejected completions")

    @model_validator(mode="after")
    def has_partners(self) -> "KtoTrial":
        if self.per_device_train_batch_size < 2:
            raise ValueError(
                "kto needs a per_device_train_batch_size of 2 or more: each row is compared with "
                "another one of its micro-batch"
            )
        if self.processes > 1:
            raise ValueError("kto needs processes: 1, since its rows have a fixed order")
        return self


class ReferenceFreeTrial(StartedTrial):
    """What trials of methods without a reference share."""

    @model_validator(mode="after")
    def watches_no_reference(self) -> "ReferenceFreeTrial":
        if "chosen_free_fall" in self.stop_when:
            raise ValueError(
                "stop_when: chosen_free_fall has no effect on methods without a reference"
            )
        return self


class OrpoTrial(ReferenceFreeTrial):
    """One trial by ORPO (TRL's ORPOTrainer)."""

    method: Literal["orpo"]
    beta: Positive = Field(
        0.1, description="weight of the odds ratio beside the likelihood; the paper's λ"
    )


class CpoTrial(ReferenceFreeTrial):
    """One trial by CPO (TRL's CPOTrainer)."""

    method: Literal["cpo"]
    beta: Positive = 0.1
    loss_type: Literal["sigmoid", "hinge", "ipo"] = "sigmoid"
    cpo_alpha: float = Field(
        1.0, ge=0, le=1e12, description="weight of the likelihood of chosen completions"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)

    @model_validator(mode="after")
    def smooths_something(self) -> "CpoTrial":
        if self.label_smoothing and self.loss_type != "sigmoid":
            raise ValueError(
                f"label_smoothing has no effect on {self.loss_type}; it has on sigmoid"
            )
        return self


class SimpoTrial(ReferenceFreeTrial):
    """One trial by SimPO (TRL's CPOTrainer, with loss_type simpo and cpo_alpha 0)."""

    method: Literal["simpo"]
    beta: Positive = Field(2.0, description="the default is that of the paper's Llama-3-Base")
    simpo_gamma: float = Field(
        1.0, ge=0, le=1e12, description="margin that chosen is to lead by; the default likewise"
    )


def _with_method(value: Any) -> Any:
    """Return a trial's keys with its method, which is DPO unless it is said."""
    return {"method": "dpo"} | value if isinstance(value, dict) else value


PreferenceTrial = Annotated[
    Annotated[
        DpoTrial | KtoTrial | OrpoTrial | CpoTrial | SimpoTrial, Field(discriminator="method")
    ],
    BeforeValidator(_with_method),
]
"""A trial that learns from pairs."""
