"""References, and trials as they are trained."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from scripts.common.methods import METHODS
from scripts.config.plan import paths
from scripts.config.plan.data import Files, Model, Part
from scripts.train.estimate.pace import pace_of


@dataclass(frozen=True)
class Reference:
    """The log-probs that a start gives to pairs, shared by all trials that start from it."""

    name: str
    model: Model
    start: str | None
    """The folder of the run that it starts from; None: the base."""
    tokens: str
    backend: str
    parts: tuple[tuple[str, str], ...] = ()
    """Of a mixture, its datasets and the names of their references, which are taken as they are."""
    of: str | None = None
    """Of single rows with partners, the reference of their pairs."""
    seed: int | None = None
    window: int | None = None
    """The order of single rows, and how many are in a micro-batch."""

    def mixed_inputs(self, split: str) -> Files:
        """Return what taking the log-probs of its parts reads."""
        return {
            "tokens": paths.token_split(self.tokens, split),
            "files": [paths.reference_split(part, split) for _, part in self.parts],
            "records": [f"<results>/references/{part}/{split}.json" for _, part in self.parts],
        }

    def inputs(self, split: str) -> Files:
        """Return what making it of a split reads."""
        files: Files = {
            "model": paths.manifest(self.model.name),
            "tokens": paths.token_split(self.tokens, split),
        }
        if self.of:
            files["reference"] = paths.reference_split(self.of, split)
        return files | ({"start": paths.adapter_files(self.start)} if self.start else {})

    def options(self) -> str:
        """Return the command-line options of single rows."""
        return f"--window {self.window} --seed {self.seed}" if self.of else ""


@dataclass(frozen=True)
class Training:
    """A trial with one seed as it is trained: all that its training reads, and nothing else."""

    name: str
    seed: int
    method: str
    rows: str
    model: str
    base: str
    revision: str | None
    precision: str
    quantization: str
    backend: str
    layout: str
    processes: int
    dataset: str
    tokens: str
    train: str
    valid: str | None
    lora: Part
    trainer: Part
    start: str | None = None
    """The folder of the run that it starts from; None: the base."""
    start_as: str = "merged"
    reference: str | None = None
    pairs_reference: str | None = None
    """What its reference is made of, where that is of single rows."""
    stop_when: tuple[str, ...] = ()

    def as_json(self) -> Part:
        """Return the trial as its jobs are given it, and as `trial.json` keeps it.

        What stops it is not part of that: it changes no adapter that is made.
        """
        left_out = {"stop_when", "pairs_reference"}
        if METHODS[self.method].phase == "sft":
            left_out |= {"start", "start_as", "reference"}
        return {key: value for key, value in vars(self).items() if key not in left_out}

    def inputs(self) -> Files:
        """Return what training reads."""
        files: Files = {
            "model": paths.manifest(self.model),
            "tokens": paths.token_split(self.tokens, self.train),
        }
        if self.valid:
            files["valid_tokens"] = paths.token_split(self.tokens, self.valid)
        if self.reference:
            files["reference"] = paths.reference_split(self.reference, self.train)
            if self.valid:
                files["valid_reference"] = paths.reference_split(self.reference, self.valid)
        if self.start:
            files["start"] = paths.adapter_files(self.start)
        return files

    def probe_inputs(self) -> Files:
        """Return what timing its first steps reads."""
        return {key: file for key, file in self.inputs().items() if key in ("model", "tokens")}

    @property
    def adapter(self) -> Part:
        """Its adapter as it is checked: one of all that differ in rank, alpha or dropout only."""
        same = {"r": 1, "lora_alpha": 1, "lora_dropout": 0.0, "loraplus_lr_ratio": 1.0}
        return self.lora | same

    @property
    def adapter_name(self) -> str:
        """The model, and a digest of that adapter."""
        settings = json.dumps(self.adapter, sort_keys=True)
        return f"{self.model}/{sha256(settings.encode()).hexdigest()[:12]}"

    @property
    def check(self) -> str:
        """The file that says that the model can have the adapter."""
        return f"<results>/checks/{self.adapter_name}.json"

    @property
    def trainer_module(self) -> str:
        return METHODS[self.method].trainer

    @property
    def trainer_file(self) -> str:
        """The trainer's file below the project's root, for the digest of its code."""
        return f"{self.trainer_module.replace('.', '/')}.py"

    @property
    def program(self) -> str:
        """The module to run: the trainer, or what starts several processes of it."""
        if self.processes == 1:
            return self.trainer_module
        return f"scripts.train.processes --count {self.processes} {self.trainer_module}"

    @property
    def merged(self) -> list[str]:
        """The folders of the runs whose adapters are merged into the base below its own."""
        return [self.start] if self.start and self.start_as == "merged" else []

    @property
    def apart(self) -> list[str]:
        """The folder of its start if that is not merged into the base."""
        return [self.start] if self.start and not self.merged else []

    @property
    def selected_on(self) -> str | None:
        """The split that the best evaluation, whose adapter is kept, was of; None: the last is."""
        return self.valid if self.trainer["load_best_model_at_end"] else None


def probed(trainings: Iterable[Training]) -> dict[str, Training]:
    """Return by name the first trial of each pace, whose first steps are timed for all of them."""
    first: dict[str, Training] = {}
    for training in trainings:
        # A probe is one process.
        if training.processes == 1:
            first.setdefault(repr(pace_of(training.as_json())), training)
    return {training.name: training for training in first.values()}
