"""What all parts of the schema share: names, commits, closed parts and unions told by a key."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field

Split = Literal["train", "valid", "test"]

Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]*$",
        max_length=100,
        description="lower-case letters, digits and hyphens: it becomes a folder",
    ),
]
LARGEST = 2**31 - 1
Count = Annotated[int, Field(ge=1, le=LARGEST)]
"""Of steps, rows, tokens or parts of a model: what torch counts with."""
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What numpy takes, and so transformers."""
LARGEST_SIZE = 2**20
Size = Annotated[int, Field(ge=1, le=LARGEST_SIZE)]
"""Of a matrix."""
Positive = Annotated[float, Field(ge=1e-12, le=1e12)]
"""A number above 0 that neither vanishes nor overflows in 32 bits."""
Commit = Annotated[
    str,
    Field(
        pattern=r"^([0-9a-f]{40}|main)$",
        description="40 hexadecimal digits; main moves, so raw.json says what was fetched",
    ),
]


Named = TypeVar("Named", Path, str)
PLAIN = "allowed are paths without {, }, <, > and control characters"


def is_odd(path: str) -> bool:
    """Return True if a path cannot be a job's input.

    Inputs are lines, and Snakemake reads {wildcards} and <pathvars> in their names.
    """
    return not path.isprintable() or bool(set(path) & set("{}<>"))


def _plain(path: Named) -> Named:
    if is_odd(str(path)):
        raise ValueError(PLAIN)
    if len(str(path).encode()) > 4000 or any(len(it.encode()) > 250 for it in Path(path).parts):
        raise ValueError("allowed are paths of 4000 bytes, in parts of 250")
    return path


PlainPath = Annotated[Path, AfterValidator(_plain)]
"""A path that can be a job's input."""
PlainName = Annotated[str, AfterValidator(_plain)]
"""The same as text: a template, or a folder."""


class Closed(BaseModel):
    """A part of the config: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def tagged(*tags: str) -> Discriminator:
    """Chooses a union's member by which of `tags` is a key."""

    def tag(value: Any) -> str | None:
        keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
        return next((tag for tag in tags if tag in keys), None)

    return Discriminator(
        tag,
        custom_error_type="source",
        custom_error_message=f"needs one of the keys {', '.join(tags)}",
    )
