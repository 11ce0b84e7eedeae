"""The key of a blind rating: what the page's opaque items are, for the researcher only."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scripts.common.cli import BadInput

LEFT, RIGHT, TIE, SKIP = "left", "right", "tie", "skip"


class Closed(BaseModel):
    """A part of a file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Kind = TypeVar("Kind", bound=Closed)


class Model(Closed):
    """A model that is compared: a trial with one seed, or a base."""

    experiment: str
    name: str
    seed: int | None
    generations: str = Field(description="SHA-256 of its generations.parquet")


class Item(Closed):
    """A prompt with two answers."""

    set: str
    prompt: str
    group: str = Field(description="prompts of one group are not independent")
    left: str = Field(description="the folder of the model whose answer is on the left")


class Contest(Closed):
    """Two models, by their folders, and what is compared of them."""

    trial: str
    against: str
    prompts: int = Field(description="prompts that both answered")
    identical: int = Field(description="prompts with identical answers, which are left out")
    items: dict[str, Item]


class Key(Closed):
    """All that tells whose an answer is."""

    page: str
    secret: str
    question: str
    models: dict[str, Model] = Field(description="by folder")
    contests: list[Contest]

    def items(self) -> dict[str, tuple[Contest, Item]]:
        """Return every item of the page with the contest that it belongs to."""
        return {
            name: (contest, item)
            for contest in self.contests
            for name, item in contest.items.items()
        }


def keyed(secret: str, *parts: Any) -> str:
    """Return the HMAC-SHA-256 of some parts, as 64 hexadecimal digits."""
    message = json.dumps(parts, ensure_ascii=False).encode()
    return hmac.new(bytes.fromhex(secret), message, hashlib.sha256).hexdigest()


def read_key(path: Path) -> Key:
    """Return the key of a page. Raise BadInput where the file is not one."""
    return read_checked(path, Key, "a key that prefmake rate wrote")


def read_checked(path: Path, kind: type[Kind], what: str) -> Kind:
    """Return a JSON file as a checked `kind`. Raise BadInput with the first mistake in it."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror or error}; allowed: {what}") from None
    except ValidationError as errors:
        first = errors.errors(include_url=False)[0]
        # A key may have lines.
        parts = (it if str(it).isprintable() else json.dumps(it) for it in first["loc"])
        place = "".join(f" {part}," for part in parts)
        found = repr(first["input"])
        found = f", found {found if len(found) <= 60 else found[:60] + '…'}"
        if first["type"] in ("json_invalid", "missing"):
            found = ""
        raise BadInput(f"{path}:{place} {first['msg']}{found}; allowed: {what}") from None
