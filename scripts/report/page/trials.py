"""How each trial was made, for the page: its settings, what differs, and what came out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.common.files import read_json
from scripts.common.methods import METHODS
from scripts.common.signs import said
from scripts.provenance.record import maker
from scripts.report.drift import drifted
from scripts.report.results import Results, read
from scripts.report.text import DASH

NAMED = ("name", "seed")
"""What differs between any two trials and is not a setting."""
MADE_WITH = (
    "backend", "versions", "layout", "device", "precision", "autocast", "adapter_precision",
    "optimizer",
)  # fmt: skip
"""The parts of train.json that say what computed; the others say what came out."""


@dataclass(frozen=True)
class Trial:
    """A trial with one seed; facts by their dotted names."""

    name: str
    settings: dict[str, str]
    outcomes: dict[str, str]
    made_with: dict[str, str]


@dataclass(frozen=True)
class Group:
    """The trials of one experiment and method."""

    title: str
    method: str
    trials: list[Trial]

    @cached_property
    def names(self) -> list[str]:
        """The settings that some trial has."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.settings))

    def value(self, trial: Trial, name: str) -> str:
        """Return a trial's value of a setting."""
        return trial.settings.get(name, DASH)

    def differs(self, trial: Trial, name: str) -> bool:
        """Return True if a trial has another value of a setting than the first."""
        return self.value(trial, name) != self.value(self.trials[0], name)

    def changed(self, trial: Trial) -> int:
        """Return in how many settings a trial differs from the first."""
        return sum(self.differs(trial, name) for name in self.names)

    @cached_property
    def differing(self) -> list[str]:
        """The settings in which some trial differs from the first."""
        return [it for it in self.names if any(self.differs(trial, it) for trial in self.trials)]


def groups_of(results: Results) -> list[Group]:
    """Return the trials of each experiment and method. Raise BadInput for a missing file."""
    runs = results.each_seed.models
    return [
        Group(
            members["title"].iloc[0],
            METHODS[method].label,
            [_trial(results.root, row) for row in members.to_dict("records")],
        )
        for (_, method), members in runs.groupby(["experiment", "method"], sort=False)
    ]


def _trial(root: Path, row: dict[str, Any]) -> Trial:
    folder = root / row["folder"]
    settings, train = (flat(read(folder / it, read_json)) for it in ("trial.json", "train.json"))
    made_with = _kept(train, lambda name: name.split(".")[0] in MADE_WITH)
    return Trial(
        name=f"{row['model']}, seed {row['seed']}",
        settings=_kept(settings, lambda name: name not in NAMED),
        outcomes=_kept(train, lambda name: name not in made_with),
        made_with=made_with | recorded(root, row["folder"]),
    )


def _kept(facts: dict[str, str], wanted: Callable[[str], bool]) -> dict[str, str]:
    return {name: text for name, text in facts.items() if wanted(name)}


def recorded(root: Path, folder: str) -> dict[str, str]:
    """Return what the provenance of a trial's training says of commit, code and env.

    Empty where it has none. It leaves out when the training ran: the same run, made again, has the
    same page.
    """
    made = maker(str(root / folder / "train.json"))
    if made is None:
        return {}
    git, code, env = (made.content[key] for key in ("git", "code", "env"))
    facts = {
        "commit": (git["commit"] or DASH) if git else "no git",
        "uncommitted changes": ", ".join(git["changed"]) if git else "",
        "code": code["digest"],
        "edited while it ran": ", ".join(code["edited"]),
        "env": f"{env['form']} {env['digest']}",
        "env drift": "; ".join(env["drift"]),
        "env drift behind it": ", ".join(drifted(root, folder)),
    }
    return {name: text for name, text in facts.items() if text}


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Return the leaves of nested dictionaries as text, by their dotted names."""
    if not isinstance(value, dict):
        return {name: _text(value)}
    return {
        key: text
        for part, inner in value.items()
        for key, text in flat(inner, f"{name}.{part}" if name else part).items()
    }


def _text(value: Any) -> str:
    if value is None:
        return DASH
    if isinstance(value, list) and value and isinstance(value[0], dict) and "sign" in value[0]:
        return "; ".join(map(said, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
