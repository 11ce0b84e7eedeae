"""What every model of an experiment is scored on: runs of trials, and the base."""

import json
from dataclasses import dataclass, field, replace

from scripts.common.methods import METHODS
from scripts.config.plan import paths
from scripts.config.plan.data import Files, Model, Part, Rows
from scripts.config.plan.training import Training

GENERATION = (
    "limit", "max_new_tokens", "do_sample", "temperature", "top_p", "own_settings", "seed",
    "batch_size", "kl",
)  # fmt: skip
"""The settings of a set of prompts that generating reads. How an answer is cut out of what was
written, and what is scored, is for measuring."""


@dataclass(frozen=True)
class Lookup:
    """The baseline that needs no model: which completion won more pairs of train."""

    dataset: str
    train: str
    test: str

    @property
    def name(self) -> str:
        return f"{self.dataset}.{self.train}.{self.test}"

    @property
    def folder(self) -> str:
        return f"baselines/{self.name}"

    def inputs(self) -> Files:
        """Return what it reads."""
        splits = {"train": self.train, "test": self.test}
        return {name: paths.data_split(self.dataset, split) for name, split in splits.items()}


@dataclass(frozen=True)
class HeldOut(Rows):
    """A split that is scored, as tokens too."""

    tokens: str

    @property
    def token_file(self) -> str:
        return paths.token_split(self.tokens, self.split)


@dataclass(frozen=True)
class Judge:
    """The judge that compares answers with the base's."""

    kind: str
    model: Model
    template: str

    def as_json(self) -> Part:
        return {"kind": self.kind, "model": self.model.name, "template": self.template}


@dataclass(frozen=True)
class PromptSet(HeldOut):
    """A set of prompts that every model answers."""

    settings: Part
    """How answers are generated, cut out and scored, as the config says it."""
    overlap: str | None
    """Which of its items stand in the training rows, by the name of the overlap."""
    scored: bool
    judge: Judge | None

    def generation(self) -> Part:
        """Return the settings that generating reads."""
        return {key: self.settings[key] for key in GENERATION}

    def measured(self) -> Part:
        """Return what measuring the answers is given."""
        return self.settings | {
            "overlap": self.overlap,
            "scored": self.scored,
            "judge": self.judge and self.judge.as_json(),
        }

    def duel(self) -> Part:
        """Return what a judge is given: itself, and how an answer is cut out of the text."""
        assert self.judge is not None
        return {
            "judge": self.judge.as_json() | self.judge.model.held(),
            "answer_after": self.settings["answer_after"],
            "answer_before": self.settings["answer_before"],
        }


@dataclass(frozen=True)
class Evaluation:
    """What a model is scored on."""

    completions: HeldOut | None
    pairs: HeldOut | None
    prompts: dict[str, PromptSet]
    reference: str | None = None
    """The reference log-probs of the pairs."""

    @property
    def splits(self) -> dict[str, str | None]:
        """The splits that are reported, by what they hold."""
        return {
            "completions": self.completions.split if self.completions else None,
            "pairs": self.pairs.split if self.pairs else None,
        }

    def without_pairs(self) -> "Evaluation":
        return replace(self, pairs=None, reference=None)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that is scored: an experiment's base, or a trial with one seed."""

    folder: str
    """Below the results."""
    name: str
    experiment: str
    title: str
    """Of the experiment."""
    model: Model
    method: str
    seed: int | None
    evaluation: Evaluation

    @property
    def adapters(self) -> list[str]:
        """The folders of the runs whose adapters it wears, in the order of merging."""
        return []

    def references(self) -> list[tuple[str, str]]:
        """Return the references that it is trained against or scored beside, with their splits."""
        evaluation = self.evaluation
        if evaluation.pairs is None or evaluation.reference is None:
            return []
        return [(evaluation.reference, evaluation.pairs.split)]

    def score_inputs(self) -> Files:
        """Return what scoring reads."""
        evaluation = self.evaluation
        files: Files = {"model": paths.manifest(self.model.name)}
        if self.adapters:
            files["adapters"] = [it for run in self.adapters for it in paths.adapter_files(run)]
        if evaluation.completions:
            files["completions"] = evaluation.completions.token_file
        if evaluation.pairs:
            files["pairs"] = evaluation.pairs.token_file
            assert evaluation.reference is not None
            split = evaluation.pairs.split
            files["reference"] = paths.reference_split(evaluation.reference, split)
        files["prompts"] = [asked.token_file for asked in evaluation.prompts.values()]
        return files

    def score_options(self) -> list[str]:
        """Return the command-line options that say how the model is loaded and scored."""
        words = ["--precision", self.model.precision, "--quantization", self.model.quantization]
        return words + self._beta() + self._generate()

    def _beta(self) -> list[str]:
        return []

    def _generate(self) -> list[str]:
        if not self.evaluation.prompts:
            return []
        sets = {name: self.generation(asked) for name, asked in self.evaluation.prompts.items()}
        return ["--generate", json.dumps(sets, ensure_ascii=False)]

    def generation(self, asked: PromptSet) -> Part:
        """Return the settings by which it answers a set of prompts. A base is its own reference."""
        return asked.generation() | {"kl": False}

    def measure_inputs(self) -> Files:
        """Return what measuring reads."""
        evaluation = self.evaluation
        kinds = ("completions", "pairs", "generations")
        files: Files = {kind: f"<results>/{self.folder}/{kind}.parquet" for kind in kinds}
        if evaluation.completions:
            files["completions_rows"] = evaluation.completions.file
        if evaluation.pairs:
            files["pairs_rows"] = evaluation.pairs.file
        prompts = evaluation.prompts.values()
        files["sets_rows"] = [asked.file for asked in prompts]
        files["overlaps"] = [
            f"<results>/overlaps/{it.overlap}.parquet" for it in prompts if it.overlap
        ]
        return files

    def prompt_sets(self) -> Part:
        """Return the sets of prompts that it answers, and how their answers are measured."""
        return {name: asked.measured() for name, asked in self.evaluation.prompts.items()}

    def identity(self) -> Part:
        """Return what tells it from the others."""
        own = ("name", "experiment", "method", "seed")
        return {key: getattr(self, key) for key in own}


@dataclass(frozen=True, kw_only=True)
class Base(Subject):
    """The untuned model of an experiment, and what else an experiment shows."""

    lookup: Lookup | None = None
    shown: dict[str, list[str]] = field(default_factory=dict)
    """By set the runs whose answers are shown, as `{trial}/seed-{seed}`."""


@dataclass(frozen=True, kw_only=True)
class Run(Subject):
    """A trial with one seed."""

    seed: int
    training: Training

    @property
    def adapters(self) -> list[str]:
        return [*self.training.merged, self.folder]

    def references(self) -> list[tuple[str, str]]:
        training = self.training
        splits = [split for split in (training.train, training.valid) if split]
        names = filter(None, (training.pairs_reference, training.reference))
        own = [(name, split) for name in names for split in splits]
        return own + super().references()

    def score_inputs(self) -> Files:
        files = super().score_inputs()
        if self.training.apart and any(
            it.settings["kl"] for it in self.evaluation.prompts.values()
        ):
            files["start"] = [it for run in self.training.apart for it in paths.adapter_files(run)]
        return files

    def _beta(self) -> list[str]:
        # A method without a reference has margins in plain log-probs, as a base has.
        if not (self.evaluation.pairs and METHODS[self.method].has_reference):
            return []
        return ["--beta", str(self.training.trainer["beta"])]

    def generation(self, asked: PromptSet) -> Part:
        return asked.generation()

    @property
    def judged(self) -> dict[str, PromptSet]:
        """The sets of prompts on which a judge compares it with the base."""
        return {name: it for name, it in self.evaluation.prompts.items() if it.judge}

    def judge_inputs(self) -> Files:
        """Return what judging reads."""
        sets = self.judged.values()
        judges = [asked.judge for asked in sets if asked.judge]
        return {
            "tuned": f"<results>/{self.folder}/generations.parquet",
            "base": f"<results>/bases/{self.experiment}/generations.parquet",
            "sets_rows": [asked.file for asked in sets],
            "models": [paths.manifest(judge.model.name) for judge in judges],
            "templates": [judge.template for judge in judges],
        }

    def duels(self) -> Part:
        """Return by set the judge, and how an answer is cut out of what was written."""
        return {name: asked.duel() for name, asked in self.judged.items()}

    def measure_inputs(self) -> Files:
        files = super().measure_inputs()
        beside = {"base_metrics": f"bases/{self.experiment}"}
        if self.training.start:
            beside["start_metrics"] = self.training.start
        files |= {name: f"<results>/{folder}/metrics.json" for name, folder in beside.items()}
        verdicts = f"<results>/{self.folder}/verdicts.parquet"
        return files | ({"verdicts": verdicts} if self.judged else {})

    def identity(self) -> Part:
        free = self.evaluation.pairs and not METHODS[self.method].has_reference
        return super().identity() | self.splits() | ({"has_reference": False} if free else {})

    def splits(self) -> Part:
        """Return on which splits it is reported, and on which its adapter was selected."""
        return {"held_out": self.evaluation.splits, "selected_on": self.training.selected_on}


@dataclass(frozen=True)
class Trial:
    """An entry of the config: a run for each seed."""

    runs: tuple[Run, ...]

    def files(self, file: str) -> list[str]:
        """Return a file of each run."""
        return [f"<results>/{run.folder}/{file}" for run in self.runs]

    def identity(self) -> Part:
        """Return what tells it from the others."""
        first = self.runs[0]
        own = ("name", "experiment", "method")
        return {key: getattr(first, key) for key in own} | first.splits()
