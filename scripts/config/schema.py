"""The schema of the configuration: what may stand in a config file, and what it means if left out.

The classes below are the one place where keys, types, ranges and defaults are written down.
Training keys carry the names of TRL's and PEFT's own arguments, so that a paper's appendix can be
copied without a dictionary.
"""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    field_validator,
    model_validator,
)

from scripts.common.splits import SPLITS, parse_slices

Split = Literal["train", "valid", "test"]

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        description="lower-case letters, digits and hyphens: it becomes a folder",
    ),
]
Commit = Annotated[
    str,
    Field(
        pattern=r"^([0-9a-f]{40}|main)$",
        description="40 hexadecimal digits; main moves, so raw.json says what was fetched",
    ),
]


class Closed(BaseModel):
    """A part of the config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _tagged(*tags: str) -> Discriminator:
    """Chooses a union's member by which of `tags` is a key."""

    def tag(value: Any) -> str | None:
        keys = value if isinstance(value, dict) else type(value).model_fields
        return next((tag for tag in tags if tag in keys), None)

    return Discriminator(
        tag,
        custom_error_type="source",
        custom_error_message=f"needs one of the keys {', '.join(tags)}",
    )


# ---------------------------------------------------------------------------------------- models


class HubModel(Closed):
    """A repository on the hub, at a commit."""

    hub: str = Field(description="owner/name")
    revision: Commit


class FolderModel(Closed):
    """A local folder with config.json, safetensors and tokenizer files."""

    folder: Path


class DemoModel(Closed):
    """A small Llama that a rule trains from scratch, with its tokenizer."""

    demo: Path = Field(description="JSON lines of texts to train on")
    vocab_size: int = Field(1024, ge=300)
    hidden_size: int = Field(128, ge=8)
    num_hidden_layers: int = Field(3, ge=1)
    num_attention_heads: int = Field(4, ge=1)
    intermediate_size: int = Field(256, ge=8)
    max_position_embeddings: int = Field(256, ge=16)
    sequence_length: int = Field(128, ge=16)
    batch_size: int = Field(4, ge=1)
    steps: int = Field(1200, ge=1)
    learning_rate: float = Field(4e-3, gt=0)
    warmup_steps: int = Field(30, ge=0)
    seed: int = 0


ModelSource = Annotated[
    Annotated[HubModel, Tag("hub")]
    | Annotated[FolderModel, Tag("folder")]
    | Annotated[DemoModel, Tag("demo")],
    _tagged("hub", "folder", "demo"),
]


class Model(Closed):
    """A base model, and how its weights are held in memory."""

    source: ModelSource
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="auto: bfloat16 where the GPU has it, else float16; float32 on a CPU"
    )
    quantization: Literal["none", "nf4"] = Field(
        "none", description="nf4: 4-bit NormalFloat with double quantization (bitsandbytes)"
    )


# -------------------------------------------------------------------------------------- datasets


class HubData(Closed):
    """A dataset repository on the hub, at a commit."""

    hub: str = Field(description="owner/name")
    revision: Commit
    name: str | None = Field(None, description="the dataset's configuration, where it has several")


class FileData(Closed):
    """Local files, one for each split of the source."""

    file: dict[str, Path] = Field(min_length=1, description="Parquet, JSONL or CSV by source split")

    @field_validator("file")
    @classmethod
    def known_format(cls, files: dict[str, Path]) -> dict[str, Path]:
        for path in files.values():
            if path.suffix not in (".parquet", ".jsonl", ".csv"):
                raise ValueError(f"{path.name} is none of .parquet, .jsonl, .csv")
        return files


DataSource = Annotated[
    Annotated[HubData, Tag("hub")] | Annotated[FileData, Tag("file")], _tagged("hub", "file")
]


def _slice(expression: str) -> str:
    parse_slices(expression)
    return expression


Slice = Annotated[str, AfterValidator(_slice)]


class SourceSplits(Closed):
    """The source's own splits: whole, sliced (`train[5000:5500]`) or joined (`train+valid`)."""

    by: Literal["source"] = "source"
    train: Slice | None = None
    valid: Slice | None = None
    test: Slice | None = None

    @model_validator(mode="after")
    def has_rows(self) -> "SourceSplits":
        if not any((self.train, self.valid, self.test)):
            raise ValueError("names no split; at least one of train, valid, test is needed")
        return self


class FractionSplits(Closed):
    """A seeded draw: by row, or by group so that one prompt never sits on both sides."""

    by: Literal["row", "group"]
    source: Slice = Field("train", description="the source split or splits to draw from")
    valid: float = Field(0.0, ge=0, lt=1, description="fraction of rows or groups")
    test: float = Field(0.0, ge=0, lt=1, description="fraction of rows or groups")
    seed: int = 0

    @model_validator(mode="after")
    def leaves_a_rest(self) -> "FractionSplits":
        if self.valid + self.test >= 1:
            raise ValueError(f"valid + test is {self.valid + self.test}, which leaves no train")
        return self


class InstructionColumns(Closed):
    prompt: str = "prompt"
    completion: str = "completion"


class PairColumns(Closed):
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"


class DialogueColumns(Closed):
    chosen: str = "chosen"
    rejected: str = "rejected"


class DatasetBase(Closed):
    source: DataSource
    splits: Annotated[SourceSplits | FractionSplits, Field(discriminator="by")]
    group: str | None = Field(
        None, description="the column whose rows belong together; else equal prompts do"
    )
    min_characters: int = Field(
        1, ge=1, description="a row with a shorter completion is dropped (white space stripped)"
    )
    expect: dict[Split, int | None] = Field(
        default_factory=dict,
        description="rows a split must have, or the run stops; null takes an expectation back",
    )


class InstructionData(DatasetBase):
    """SFT rows: a prompt and its completion, as strings."""

    format: Literal["instruction"]
    columns: InstructionColumns = InstructionColumns()


class PairData(DatasetBase):
    """Preference pairs as strings."""

    format: Literal["pairs"]
    columns: PairColumns = PairColumns()
    identical: Literal["drop", "keep"] = Field("drop", description="pairs of equal completions")


class MessageData(DatasetBase):
    """Preference pairs as chat messages, lists of {role, content}."""

    format: Literal["messages"]
    columns: PairColumns = PairColumns()
    identical: Literal["drop", "keep"] = Field("drop", description="pairs of equal completions")


class DialogueData(DatasetBase):
    """Preference pairs as two dialogues in hh-rlhf's form, turns in one string."""

    format: Literal["dialogues"]
    columns: DialogueColumns = DialogueColumns()
    response: Literal["last", "first"] = Field(
        "last",
        description="last: the last assistant turn answers the dialogue before it; first: all that "
        "follows the first `Assistant:` is the response, and chosen's prompt that of both",
    )
    identical: Literal["drop", "keep"] = Field("drop", description="pairs of equal completions")


Dataset = Annotated[
    InstructionData | PairData | MessageData | DialogueData, Field(discriminator="format")
]
DEMONSTRATION_FORMATS = ("instruction",)

# ---------------------------------------------------------------------------------------- trials


class Lora(Closed):
    """The adapter, in PEFT's terms (https://huggingface.co/docs/peft, LoraConfig)."""

    r: int = Field(16, ge=1)
    lora_alpha: int = Field(32, ge=1)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    target_modules: list[str] | Literal["all-linear"] = "all-linear"
    init_lora_weights: Literal[True, "gaussian", "pissa", "olora"] = Field(
        True, description="true: B is zero and A is Kaiming-uniform; gaussian: A is normal"
    )

    @field_validator("target_modules")
    @classmethod
    def some_module(cls, modules: list[str] | str) -> list[str] | str:
        if not modules:
            raise ValueError("an adapter needs at least one module, or all-linear")
        return modules


class Trial(Closed):
    """What SFT and DPO trials share, in the terms of transformers' TrainingArguments."""

    name: Name
    backend: Literal["transformers", "unsloth"] = Field(
        "transformers", description="what loads and trains; the files that it leaves are the same"
    )
    layout: Literal["auto", "shared", "stock"] = Field(
        "auto",
        description="how a batch is computed; shared: each prompt once for all completions that "
        "share it, and rows packed; stock: as TRL's trainers do; auto: shared where a check at "
        "start-up shows that the model honours it, else stock; where it does not, shared stops",
    )
    processes: int = Field(
        1,
        ge=1,
        description="that train it together, each on a GPU of its own, for a model larger than one "
        "GPU (FSDP); they divide a step's rows among them, so its batches have to divide by that",
    )
    lora: Lora = Lora()
    learning_rate: float = Field(2e-4, gt=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "linear"
    warmup_steps: int | float = Field(0, ge=0, description="steps, or below 1 a share of them")
    num_train_epochs: float = Field(1, gt=0)
    max_steps: int | None = Field(None, ge=1, description="instead of num_train_epochs")
    per_device_train_batch_size: int = Field(8, ge=1)
    gradient_accumulation_steps: int = Field(1, ge=1)
    dataloader_drop_last: bool = Field(False, description="leave out the last, partial batch")
    optim: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"] = (
        "adamw_torch"
    )
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = False
    logging_steps: int = Field(10, ge=1)
    eval_strategy: Literal["no", "epoch", "steps"] = Field(
        "no", description="when the loss on the phase's valid split is taken while training"
    )
    eval_steps: int | None = Field(None, ge=1)
    load_best_model_at_end: bool = Field(
        False, description="keep the adapter of the evaluation with the lowest loss"
    )

    @model_validator(mode="after")
    def has_effect(self) -> "Trial":
        if self.max_steps is not None and "num_train_epochs" in self.model_fields_set:
            raise ValueError("max_steps and num_train_epochs exclude each other")
        if self.warmup_steps and self.lr_scheduler_type == "constant":
            raise ValueError("warmup_steps has no effect on a constant schedule")
        if (self.eval_steps is not None) != (self.eval_strategy == "steps"):
            raise ValueError("eval_steps goes with eval_strategy: steps, and only with it")
        if self.load_best_model_at_end and self.eval_strategy == "no":
            raise ValueError("load_best_model_at_end has no effect with eval_strategy: no")
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


class SftTrial(Trial):
    """One supervised trial (TRL's SFTTrainer)."""

    method: Literal["sft"] = "sft"

    completion_only_loss: bool = Field(
        True, description="false: the prompt's tokens count in the loss too"
    )


LossType = Literal[
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "aot",
    "aot_unpaired", "apo_zero", "apo_down", "discopop", "sft", "sigmoid_norm",
]  # fmt: skip

BUT_SFT = tuple(objective for objective in get_args(LossType) if objective != "sft")
DIVERGING = ("sigmoid", "sigmoid_norm", "hinge", "ipo", "exo_pair", "robust", "discopop")


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class DpoTrial(Trial):
    """One preference trial (TRL's DPOTrainer). Its reference is the model that it starts from."""

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
    start: Name | None = Field(
        None, description="the SFT trial whose merged model is start and reference; else the base"
    )
    start_as: Literal["merged", "overwritten"] = Field(
        "merged",
        description="overwritten: the new adapter is laid over the unmerged one of `start`, which "
        "it replaces on the modules of both; the reference is `start` whole, so that policy and "
        "reference differ from the first step on (a published notebook does this)",
    )
    beta: float = Field(0.1, gt=0)
    loss_type: Annotated[list[LossType], BeforeValidator(_listed)] = Field(
        ["sigmoid"],
        min_length=1,
        description="one objective, or a list of them, whose weighted sum is the loss",
    )
    loss_weights: list[float] | None = Field(
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
    f_alpha_divergence_coef: float = Field(0.5, description="of alpha_divergence; 1: reverse_kl")
    discopop_tau: float = Field(0.05, gt=0)
    disable_dropout: bool = Field(
        True, description="TRL's default; it silences lora_dropout too, so say false to have it"
    )

    @model_validator(mode="after")
    def start_is_fit(self) -> "DpoTrial":
        if self.start_as == "overwritten" and self.start is None:
            raise ValueError("start_as: overwritten needs a start whose adapter is overwritten")
        if self.start_as == "overwritten" and (
            self.lora.target_modules == "all-linear"
            or self.lora.init_lora_weights in ("pissa", "olora")
        ):
            raise ValueError(
                "start_as: overwritten takes named target_modules, and no pissa or olora"
            )
        return self

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
        if self.lora.lora_dropout and "disable_dropout" not in self.model_fields_set:
            raise ValueError(
                "lora_dropout above 0 needs disable_dropout said: true silences it, false has it"
            )
        return self


PreferenceTrial = DpoTrial
"""A trial that learns from pairs. Another method's class joins here, told apart by `method`:
`Annotated[DpoTrial | OtherTrial, Field(discriminator="method")]`."""

# ----------------------------------------------------------------------------------- experiments


class Judge(Closed):
    """Who says which of two answers is better: a trial's, or its base model's."""

    kind: Literal["logprob"] = Field(
        "logprob", description="logprob: a local model, by the log-probs of its verdicts"
    )
    model: Name = Field(description="one of `models`")
    template: Path | None = Field(
        None,
        description="a .jinja file, the question, with prompt, a and b; else "
        "scripts/evaluate/judge.jinja",
    )


class Generate(Closed):
    """A set of prompts that every model of the experiment answers, and how."""

    dataset: Name
    split: Split = "test"
    template: str | None = Field(None, description="how prompts are written; else the experiment's")
    limit: int | None = Field(None, ge=1, description="the first so many prompts; else all")
    max_new_tokens: int = Field(128, ge=1)
    do_sample: bool = False
    temperature: float | None = Field(None, gt=0)
    top_p: float | None = Field(None, gt=0, le=1)
    own_settings: bool = Field(
        False,
        description="sample as the base model's generation_config.json says, instead of "
        "do_sample, temperature and top_p",
    )
    seed: int = Field(0, description="for sampling")
    batch_size: int = Field(16, ge=1)
    answer_after: str | None = Field(
        None, description="the answer is what follows the last such mark, where there is one"
    )
    answer_before: str | None = Field(
        None, description="the answer is what precedes the first such mark, where there is one"
    )
    leave_out_overlap: bool = Field(
        False, description="items that stand in the SFT phase's training rows are not scored"
    )
    rules: Literal["titles"] | None = Field(
        None,
        description="what answers are held against without a model; titles: 30 to 75 characters, a "
        "title and nothing else; how it is framed",
    )
    kl: bool = Field(
        False,
        description="measure each trial's KL divergence from its reference on these answers, which "
        "must be sampled untruncated at temperature 1",
    )
    judge: Judge | None = Field(
        None, description="who compares each trial's answers with the base's: docs/judge.md"
    )
    show: list[Name] = Field(
        default_factory=list,
        description="trials whose answers stand beside the base's in the table of examples; such a "
        "set is read, and not scored",
    )

    @model_validator(mode="after")
    def has_effect(self) -> "Generate":
        sampling = {"do_sample", "temperature", "top_p"} & self.model_fields_set
        if self.own_settings and sampling:
            raise ValueError(f"{', '.join(sorted(sampling))} has no effect with own_settings: true")
        if "seed" in self.model_fields_set and not (self.do_sample or self.own_settings):
            raise ValueError("seed has no effect without sampling")
        if not self.do_sample and (self.temperature is not None or self.top_p is not None):
            raise ValueError("temperature and top_p have no effect without do_sample: true")
        return self

    @model_validator(mode="after")
    def kl_is_of_the_policy(self) -> "Generate":
        """Answers drawn otherwise come from another distribution, and so would the estimate."""
        if not self.kl:
            return self
        found = [
            text
            for text, wrong in {
                "own_settings: true": self.own_settings,
                "do_sample: false": not (self.do_sample or self.own_settings),
                f"temperature: {self.temperature}": self.temperature not in (None, 1),
                f"top_p: {self.top_p}": self.top_p not in (None, 1),
            }.items()
            if wrong
        ]
        if found:
            raise ValueError(
                f"kl: true with {', '.join(found)} would be of another distribution than the "
                "model's; it needs do_sample: true, and temperature and top_p null or 1"
            )
        return self

    @model_validator(mode="after")
    def what_is_read_is_not_scored(self) -> "Generate":
        scored = [key for key in ("rules", "kl", "judge") if getattr(self, key)]
        if self.show and scored:
            raise ValueError(
                f"{', '.join(scored)} has no effect on a set with show, which is not scored"
            )
        return self


class Phase(Closed):
    dataset: Name
    template: str | None = Field(None, description="how rows are written; else the experiment's")
    train: Split = "train"
    valid: Split | None = Field(None, description="the split of the loss taken while training")
    test: Split | None = Field("test", description="the split that the tables report")


class SftPhase(Phase):
    """The supervised trials of an experiment."""

    trials: list[SftTrial] = Field(min_length=1)


class PreferencePhase(Phase):
    """The preference trials of an experiment."""

    max_prompt_length: int | None = Field(
        None, ge=1, description="a longer prompt keeps its last so many tokens"
    )
    trials: list[PreferenceTrial] = Field(min_length=1)


class Experiment(Closed):
    """Trials of one base model on one set of prompts, compared under one evaluation."""

    title: str | None = None
    enabled: bool = Field(True, description="false: checked, but not run")
    model: Name
    template: str = Field(
        "chat",
        description="chat: the tokenizer's own; a name in scripts/lm/templates; or a .jinja file",
    )
    max_length: int = Field(1024, ge=8, description="tokens of prompt and completion together")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1)
    sft: SftPhase | None = None
    preference: PreferencePhase | None = None
    generate: dict[Name, Generate] = Field(default_factory=dict)

    @model_validator(mode="after")
    def trains_something(self) -> "Experiment":
        if self.sft is None and self.preference is None:
            raise ValueError("has neither sft nor preference trials")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds holds one seed twice")
        return self


class Config(Closed):
    """A whole configuration."""

    pathvars: dict[Literal["results", "logs", "benchmarks", "metrics"], str] = Field(
        default_factory=dict,
        description="Snakemake's own: where results, logs, benchmarks go, and where reports find "
        "metrics (default: in results)",
    )
    mark: str | None = Field(
        None, description="stands in every table and figure: what the run is, if no full one"
    )
    claims: Path | None = Field(None, description="published figures, for the table comparison")
    allow_failed: bool = Field(
        False,
        description="tables and figures wait for no trial: one that failed or has not run stands "
        "in them as such (for the command line: `prefmake tables-so-far`)",
    )
    accelerator: Literal["cuda", "cpu"] = Field(
        "cuda",
        description="the build of torch that the envs have (docs/environments.md); what a trial "
        "runs on is the machine's",
    )
    container: str | None = Field(
        None,
        description="an image with the envs, for `--sdm conda apptainer`: envs/Containerfile",
    )
    allow_env_drift: bool = Field(
        False,
        description="outside its conda env, a job whose installed packages differ from its env's "
        "lock runs all the same, and its result says so (for the command line)",
    )
    models: dict[Name, Model] = Field(min_length=1)
    datasets: dict[Name, Dataset] = Field(min_length=1)
    experiments: dict[Name, Experiment] = Field(min_length=1)


def splits_of(dataset: DatasetBase) -> list[str]:
    """Returns the names of the splits that the dataset's rules fill."""
    # A draw leaves the rest to train, which it does not name.
    return [split for split in SPLITS if getattr(dataset.splits, split, True)]
