"""What there is to learn from: models, datasets, and datasets as a model's tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.columns import data_files
from scripts.common.splits import SPLITS
from scripts.config.plan import paths
from scripts.models.manifest import snapshot_files

Part = dict[str, Any]
"""What a job is given as JSON."""
Files = dict[str, Any]
"""A rule's inputs by name: each a file or a list of files."""


@dataclass(frozen=True)
class Model:
    """A base model, and how its weights are held in memory."""

    name: str
    source: Part
    precision: str
    quantization: str

    @property
    def is_fetched(self) -> bool:
        """False where a rule trains it."""
        return "demo" not in self.source

    @property
    def is_on_hub(self) -> bool:
        return "hub" in self.source

    @property
    def origin(self) -> str:
        """What a person calls it."""
        return self.source.get("hub") or self.source.get("folder") or self.name

    def files(self) -> list[str]:
        """Return the files of a model in a local folder; a model on the hub has none here."""
        folder = self.source.get("folder")
        return [f"{folder}/{name}" for name in snapshot_files(Path(folder))] if folder else []

    def demo_settings(self) -> Part:
        """Return what a model trained by a rule is made of, besides its corpus."""
        return {key: value for key, value in self.source.items() if key != "demo"}

    def held(self) -> Part:
        """Return how its weights are held in memory."""
        return {"precision": self.precision, "quantization": self.quantization}


@dataclass(frozen=True)
class Dataset:
    """A dataset: where it comes from, and how its rows are read and split."""

    name: str
    source: Part
    columns: Part
    """What each column holds that is read."""
    rows: Part

    @property
    def is_on_hub(self) -> bool:
        return "hub" in self.source

    def files(self) -> list[str]:
        """Return the local files that it is read from; a dataset on the hub has none."""
        paths = self.source.get("file", {}).values()
        return [str(file) for path in paths for file in data_files(Path(path))]


@dataclass(frozen=True)
class Mixture:
    """Several datasets as one."""

    name: str
    settings: Part
    """`of`, the share of each part by name, and the seed."""

    @property
    def parts(self) -> list[str]:
        return list(self.settings["of"])

    def inputs(self) -> list[str]:
        """Return what mixing reads: every split, part by part."""
        return [paths.data_split(part, split) for part in self.parts for split in SPLITS]


@dataclass(frozen=True)
class Tokens:
    """A dataset as one model's tokens, under a template and limits of length."""

    name: str
    dataset: str
    model: str
    template: str | None
    """A Jinja file; None: the tokenizer's own template."""
    max_length: int
    max_prompt_length: int | None
    rows: str
    """`demonstrations` or `preferences`."""
    every_turn: bool = False
    """Whether the assistant's turns in a prompt are learned, too."""
    parts: tuple[tuple[str, str], ...] = ()
    """Of a mixture, its datasets and the names of their tokens, which are taken as they are."""

    def mixed_inputs(self) -> Files:
        """Return what taking the tokens of its parts reads."""
        return {
            "data": [paths.data_split(self.dataset, split) for split in SPLITS],
            "files": [file for _, tokens in self.parts for file in paths.token_splits(tokens)],
            "reports": [f"<results>/tokens/{tokens}/report.json" for _, tokens in self.parts],
        }

    def inputs(self) -> Files:
        """Return what counting tokens reads."""
        files: Files = {
            "data": [paths.data_split(self.dataset, split) for split in SPLITS],
            "model": paths.tokenizer(self.model),
        }
        return files | ({"template": self.template} if self.template else {})

    def options(self) -> str:
        """Return the command-line options that say how long rows may be, and what is scored."""
        limits = {"max-length": self.max_length, "max-prompt-length": self.max_prompt_length}
        given = [f"--{key} {limit}" for key, limit in limits.items() if limit is not None]
        return " ".join([*given, *(["--every-turn"] if self.every_turn else [])])

    def examined_inputs(self, generation: str) -> Files:
        """Return what examining them reads, where answers are generated under another template."""
        return self.inputs() | {
            "generation_template": [] if generation == "chat" else generation,
            "dropped": f"<results>/data/{self.dataset}/dropped.parquet",
            "tokens": paths.token_splits(self.name),
            "report": f"<results>/tokens/{self.name}/report.json",
        }


@dataclass(frozen=True)
class Rows:
    """One split of a dataset."""

    dataset: str
    split: str

    @property
    def file(self) -> str:
        return paths.data_split(self.dataset, self.split)


@dataclass(frozen=True)
class Overlap:
    """The items of one split that stand in the rows of another."""

    against: Rows
    rows: Rows

    @property
    def name(self) -> str:
        against, rows = self.against, self.rows
        return f"{against.dataset}.{against.split}.in.{rows.dataset}.{rows.split}"

    def inputs(self) -> Files:
        """Return what finding them reads."""
        return {"against": self.against.file, "rows": self.rows.file}
