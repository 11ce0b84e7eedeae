"""Published numbers: the closed, checked format of the file that the table comparison reads.

```yaml
experiments:                   # heading of each published experiment, by its name in the config
  titles: DPO on video titles
notes:                         # what a reader must know, said once
  leak: All prompts of the test split are in train too.
figures:                       # each with the claims that it has, in the table's order
  - experiment: titles
    figure: Preference accuracy
    ours: {figure: preference_accuracy}   # or {figure: bleu, set: problems}, {training: steps},
                                          # {training: a, over: b}, {speedup: trial, over: trial}
    show: percent              # or count, factor, number
    compare: interval          # or difference, where the items are not the same
    beside: {split by idea: "{trial}-by-idea"}   # other protocols, each with its trial
    sets: {}                   # and with its set of prompts, where it has another
    notes: [leak]
    claims:                    # trial: a trial's name, or base; in `beside` also lookup
      - trial: titles-dpo
        claimed: ~74 %
        value: 0.74
        successes: 84          # with n: the claim's own interval
        n: 114
        notebook: null         # what the authors' notebook shows; none: nothing; null: not known
        other_notebooks: "Qwen3-14B: 75.0 %"   # other people's, where there are any
```
"""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from scripts.common.cli import BadInput
from scripts.common.wilson import wilson
from scripts.config.files import ConfigError, ConfigFile, Location, read_config

BASE, LOOKUP_TRIAL = "base", "lookup"
"""What stands for an experiment's base model and its lookup where a trial is named."""


class Closed(BaseModel):
    """A part of the file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Ours(Closed):
    """Where our own number stands."""

    figure: str | None = Field(None, description="a metric of metrics.json")
    set: str | None = Field(None, description="the set of prompts that the metric belongs to")
    training: str | None = Field(None, description="a key of train.json")
    speedup: str | None = Field(None, description="a trial; its seconds a step divide `over`'s")
    over: str | None = Field(None, description="the key of train.json, or the trial, to divide by")

    @model_validator(mode="after")
    def one_source(self) -> "Ours":
        kinds = ("figure", "training", "speedup")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            found = ", ".join(given) or "none"
            raise ValueError(f"needs exactly one of {', '.join(kinds)}; found {found}")
        if self.set is not None and self.figure is None:
            raise ValueError("set goes with figure only")
        if self.over is not None and self.figure is not None:
            raise ValueError("over goes with training and speedup only")
        if self.speedup is not None and self.over is None:
            raise ValueError("speedup needs over, the trial to compare with")
        return self


class Claim(Closed):
    """What is published about one trial."""

    trial: str
    claimed: str | None = Field(description="as printed; null where only a notebook has a number")
    value: float | None = Field(None, description="the same as a number, shares from 0 to 1")
    successes: int | None = Field(None, ge=0)
    n: int | None = Field(
        None,
        ge=1,
        description="items behind the claim; ours is compared with where it has as many, and a "
        "share has the error of so many",
    )
    notebook: str | None = Field(
        description="what the authors' notebook shows, none where it shows nothing; null if unknown"
    )
    other_notebooks: str | None = Field(
        None, description="what notebooks of other people show, and of which model"
    )
    notes: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def hangs_together(self) -> "Claim":
        if self.claimed is None and self.value is not None:
            raise ValueError("value without claimed: say how it is printed")
        if self.successes is not None:
            if self.n is None:
                raise ValueError("successes without n: of how many")
            if self.successes > self.n:
                raise ValueError(f"{self.successes} successes of {self.n}")
        return self

    @property
    def interval(self) -> tuple[float, float] | None:
        """The claim's own Wilson interval, where its successes are known."""
        if self.successes is None or self.n is None:
            return None
        return wilson(self.successes, self.n)


class ClaimedFigure(Closed):
    """A number, and what is published about it."""

    experiment: str
    figure: str = Field(description="what people call it")
    ours: Ours
    show: Literal["percent", "count", "factor", "number"]
    decimals: int = Field(1, ge=0, le=6)
    unit: str = Field("", description="stands behind a number")
    compare: Literal["interval", "difference"] = Field(
        description="interval: is the claim inside ours; difference: the items are not the same"
    )
    protocol: str = Field("as published", description="of the trials that the claims name")
    beside: dict[str, str] = Field(
        default_factory=dict, description="trial by protocol; {trial} is the claim's"
    )
    sets: dict[str, str] = Field(
        default_factory=dict, description="set of prompts by protocol, where it is another"
    )
    notes: list[str] = Field(default_factory=list)
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def sets_are_of_protocols(self) -> "ClaimedFigure":
        unknown = sorted(self.sets.keys() - self.beside.keys())
        if unknown:
            raise ValueError(f"sets: no protocol beside is called {unknown[0]!r}")
        if self.sets and self.ours.set is None:
            raise ValueError("sets goes with a metric of a set only")
        return self

    def ours_under(self, protocol: str) -> Ours:
        """Return where our number stands under a protocol."""
        return self.ours.model_copy(update={"set": self.sets.get(protocol, self.ours.set)})

    def interval_of(self, claim: Claim) -> tuple[float, float] | None:
        """Return the claim's own Wilson interval, where it is a share of known n."""
        if claim.interval is not None or self.show != "percent":
            return claim.interval
        if claim.n is None or claim.value is None:
            return None
        return wilson(claim.value * claim.n, claim.n)

    def notes_of(self, claim: Claim) -> list[str]:
        """Return the notes of a claim, the number's first."""
        return list(dict.fromkeys([*self.notes, *claim.notes]))

    def protocols(self, claim: Claim) -> dict[str, str]:
        """Return the trials to set beside a claim, by protocol, the published one first."""
        others = {name: it.replace("{trial}", claim.trial) for name, it in self.beside.items()}
        return {self.protocol: claim.trial, **others}


class Claims(Closed):
    """A whole file."""

    experiments: dict[str, str]
    notes: dict[str, str] = Field(default_factory=dict)
    figures: list[ClaimedFigure] = Field(min_length=1)


def read_claims(path: Path) -> Claims:
    """Return the published numbers of a file.

    Raises
    ------
    BadInput
        With the first mistake: file and line, entry, what is wrong.
    """
    try:
        file = read_config(path)
        claims = Claims.model_validate(file.values)
    except ConfigError as error:
        raise BadInput(str(error.problems[0])) from None
    except ValidationError as error:
        raise BadInput(_first(error, file)) from None
    for place, text in _cross_check(claims):
        raise BadInput(str(file.problem(place, text)))
    return claims


def _first(error: ValidationError, file: ConfigFile) -> str:
    """Return the first mistake in one line."""
    mistake = error.errors(include_url=False)[0]
    text = mistake["msg"].removeprefix("Value error, ")
    path = tuple(mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        text = "unknown key"
    elif mistake["type"] == "missing":
        text = "is missing"
    elif not isinstance(mistake["input"], (dict, list)):
        text = f"found {mistake['input']!r}: {text}"
    return str(file.problem(path, text))


def _cross_check(claims: Claims) -> list[tuple[Location, str]]:
    """Return what no single entry can see: names that are not defined, and entries twice."""
    problems: list[tuple[Location, str]] = []
    seen: set[tuple[str, ...]] = set()
    used: set[str] = set()
    for number, figure in enumerate(claims.figures):
        where = ("figures", number)
        if figure.experiment not in claims.experiments:
            known = ", ".join(claims.experiments)
            text = f"found {figure.experiment!r}: not under experiments; allowed: {known}"
            problems.append(((*where, "experiment"), text))
        for place, claim in enumerate(figure.claims):
            entry = (*where, "claims", place)
            identity = (figure.experiment, figure.figure, claim.trial)
            if identity in seen:
                problems.append(((*entry, "trial"), f"{' / '.join(identity)} stands twice"))
            seen.add(identity)
            unknown = [note for note in figure.notes_of(claim) if note not in claims.notes]
            if unknown:
                problems.append((entry, f"no note is called {unknown[0]!r}"))
            used.update(figure.notes_of(claim))
    problems += [(("notes", it), "no claim names it") for it in claims.notes if it not in used]
    return problems
