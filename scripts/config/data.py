"""Datasets: where they come from, how their rows are read, and how they are split."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, Tag, field_validator, model_validator

from scripts.common.cli import BadInput
from scripts.common.columns import SUFFIXES, Kind, data_files, suffix_of
from scripts.common.splits import SPLIT_COLUMN, SPLITS, parse_slices, require_disjoint
from scripts.config.base import (
    LARGEST,
    Closed,
    Commit,
    Count,
    Name,
    PlainPath,
    Positive,
    Seed,
    Split,
    tagged,
)


class HubData(Closed):
    """A dataset repository on the hub, at a commit."""

    hub: str = Field(description="owner/name")
    revision: Commit
    name: str | None = Field(None, description="the dataset's configuration, where it has several")


class FileData(Closed):
    """Local files by split of the source."""

    file: dict[str, PlainPath] = Field(
        min_length=1,
        description="Parquet, Arrow, JSONL (.gz too), JSON or CSV by source split: a file, the "
        "files of a folder, or those of a pattern such as data/*.jsonl, by name",
    )

    @field_validator("file")
    @classmethod
    def known_format(cls, files: dict[str, Path]) -> dict[str, Path]:
        try:
            found = [path for given in files.values() for path in data_files(given)]
        except BadInput as error:
            raise ValueError(str(error)) from None
        for path in found:
            if not suffix_of(path.name):
                raise ValueError(f"{path.name} is none of {', '.join(SUFFIXES)}")
        paths = [path.resolve() for path in found]
        if len(set(paths)) < len(paths):
            raise ValueError("names one file twice; its rows would be in two splits")
        return files


DataSource = Annotated[
    Annotated[HubData, Tag("hub")] | Annotated[FileData, Tag("file")], tagged("hub", "file")
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
        slices = {split: getattr(self, split) for split in SPLITS}
        require_disjoint({split: parse_slices(it) for split, it in slices.items() if it})
        return self


class FractionSplits(Closed):
    """A seeded draw: by row, or by group so that one prompt never sits on both sides."""

    by: Literal["row", "group"]
    source: Slice = Field("train", description="the source split or splits to draw from")
    valid: float = Field(0.0, ge=0, lt=1, description="fraction of rows or groups")
    test: float = Field(0.0, ge=0, lt=1, description="fraction of rows or groups")
    seed: Seed = 0

    @model_validator(mode="after")
    def leaves_a_rest(self) -> "FractionSplits":
        if self.valid + self.test >= 1:
            raise ValueError(f"valid + test is {self.valid + self.test}, which leaves no train")
        return self


class Columns(Closed):
    """The columns of the source that a format reads, by their role."""

    def named(self) -> list[tuple[str, str]]:
        """Return roles and columns, without those that the source does not have."""
        return [(role, name) for role, name in self if name is not None]

    @model_validator(mode="after")
    def are_columns_of_their_own(self) -> "Columns":
        names = [name for _, name in self.named()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"names the column {name} twice; each role needs its own")
            _own_column(name)
        return self


def _own_column(name: str | None) -> str | None:
    if name == SPLIT_COLUMN:
        raise ValueError(f"{SPLIT_COLUMN} is where the source split is kept; rename the column")
    return name


SYSTEM = Field(None, description="the system turn, where it is text of its own")
TOOLS = Field(None, description="functions that may be called, lists of JSON schemas")


class InstructionColumns(Columns):
    prompt: str = "prompt"
    input: str | None = Field(
        None, description="what stands behind the prompt, as in Alpaca's rows"
    )
    completion: str = "completion"
    system: str | None = SYSTEM


class PairColumns(Columns):
    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"


class UnpairedColumns(Columns):
    prompt: str = "prompt"
    completion: str = "completion"
    label: str = Field("label", description="whether the completion is good: true or false, 1 or 0")
    system: str | None = SYSTEM


class MessageColumns(Columns):
    prompt: str | None = Field(
        "prompt",
        description="null where chosen and rejected begin with it, as in UltraFeedback's rows",
    )
    chosen: str = "chosen"
    rejected: str = "rejected"
    system: str | None = SYSTEM
    tools: str | None = TOOLS


class ConversationColumns(Columns):
    messages: str = "messages"
    system: str | None = SYSTEM
    tools: str | None = TOOLS


class DialogueColumns(Columns):
    chosen: str = "chosen"
    rejected: str = "rejected"


class DatasetBase(Closed):
    rows: ClassVar[Literal["demonstrations", "preferences", "unpaired"]] = "preferences"
    """What a format holds."""
    lists: ClassVar[tuple[str, ...]] = ()
    """The columns, by their role, that hold lists; the others hold text."""

    source: DataSource
    splits: Annotated[SourceSplits | FractionSplits, Field(discriminator="by")]
    group: Annotated[str | None, AfterValidator(_own_column)] = Field(
        None, description="the column whose rows belong together; else equal prompts do"
    )
    min_characters: Count = Field(
        1, description="a row with a shorter completion is dropped (white space stripped)"
    )
    expect: dict[Split, Annotated[int, Field(ge=0, le=LARGEST)] | None] = Field(
        default_factory=dict,
        description="rows a split must have, or the run stops; null takes an expectation back",
    )

    @model_validator(mode="after")
    def expects_rows_of_its_splits(self) -> "DatasetBase":
        for split, rows in self.expect.items():
            if rows and split not in splits_of(self):
                raise ValueError(
                    f"expect: found {rows} rows of {split}, which splits does not name"
                )
        return self


class InstructionData(DatasetBase):
    """SFT rows: a prompt and its completion, as strings."""

    rows = "demonstrations"

    format: Literal["instruction"]
    columns: InstructionColumns = InstructionColumns()


class ConversationData(DatasetBase):
    """SFT rows: conversations, lists of {role, content} or of {from, value}."""

    rows = "demonstrations"
    lists = ("messages", "tools")

    format: Literal["conversations"]
    columns: ConversationColumns = ConversationColumns()
    turns: Literal["all", "last", "each"] = Field(
        "all",
        description="the assistant turns that are learned: all of a conversation in one row, its "
        "last, or each in a row of its own, after the turns before it as a prompt has them",
    )


class PairData(DatasetBase):
    """Preference pairs as strings."""

    format: Literal["pairs"]
    columns: PairColumns = PairColumns()
    identical: Literal["drop", "keep"] = Field("drop", description="pairs of equal completions")


class UnpairedData(DatasetBase):
    """Preference rows that stand alone, as strings: a completion and whether it is good."""

    rows = "unpaired"

    format: Literal["unpaired"]
    columns: UnpairedColumns = UnpairedColumns()


class MessageData(DatasetBase):
    """Preference pairs as chat messages, lists of {role, content} or of {from, value}."""

    lists = ("prompt", "chosen", "rejected", "tools")

    format: Literal["messages"]
    columns: MessageColumns = MessageColumns()
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
    InstructionData | ConversationData | PairData | UnpairedData | MessageData | DialogueData,
    Field(discriminator="format"),
]


class Share(Closed):
    """How much of a dataset a mixture has."""

    rows: Count | None = Field(None, description="so many rows of train")
    weight: Positive | None = Field(
        None, description="beside the others' weights; as many rows as the scarcest part has"
    )

    @model_validator(mode="after")
    def is_one_of_them(self) -> "Share":
        if (self.rows is None) == (self.weight is None):
            raise ValueError("needs one of the keys rows, weight")
        return self


class Mixture(Closed):
    """Several datasets as one: their valid and test splits whole, and rows of each one's train."""

    of: dict[Name, Share] = Field(min_length=2, description="datasets by name")
    seed: Seed = Field(0, description="of the draw; of more rows, fewer are a part")

    @model_validator(mode="after")
    def has_shares_of_one_kind(self) -> "Mixture":
        if len({share.rows is None for share in self.of.values()}) > 1:
            raise ValueError("some parts have rows and some a weight; allowed: all the same")
        return self


def formats_of(rows: str) -> list[str]:
    """Return the formats that hold demonstrations, preferences or unpaired rows."""
    kinds = get_args(get_args(Dataset)[0])
    return [get_args(it.model_fields["format"].annotation)[0] for it in kinds if it.rows == rows]


def kinds_of(dataset: Dataset) -> dict[str, Kind]:
    """Return what each column holds that is read of a dataset's source."""
    kinds: dict[str, Kind] = {} if dataset.group is None else {dataset.group: "group"}
    for role, column in dataset.columns.named():
        kinds[column] = "lists" if role in dataset.lists else "label" if role == "label" else "text"
    return kinds


def splits_of(dataset: DatasetBase) -> list[str]:
    """Return the names of the splits that the dataset's rules fill."""
    # A draw leaves the rest to train, which it does not name.
    return [split for split in SPLITS if getattr(dataset.splits, split, True)]
