"""How each trial was made, for a page: its settings, what differs, and what came of it."""

import json
from dataclasses import dataclass
from typing import Any

from scripts.provenance.record import maker
from scripts.report.drift import drifted
from scripts.report.read import METHODS, TRAINED, Subject, by_experiment
from scripts.report.render import DASH

NAMED = ("name", "seed")
"""What differs between any two trials and is no setting."""

MADE_WITH = (
    "backend", "versions", "layout", "device", "precision", "autocast", "adapter_precision",
    "optimizer",
)  # fmt: skip
"""The parts of train.json that say what computed; the others say what came of it."""


@dataclass(frozen=True)
class Setting:
    """One line of a trial's settings."""

    name: str
    value: str
    first: str | None
    """What the first trial of the method has, where that is something else."""


@dataclass(frozen=True)
class Trial:
    """A trial with one seed, as a page tells it."""

    name: str
    settings: list[Setting]
    outcomes: dict[str, str]
    made_with: dict[str, str]


@dataclass(frozen=True)
class Group:
    """The trials of one experiment and method."""

    title: str
    method: str
    trials: list[Trial]

    @property
    def differing(self) -> list[str]:
        """The settings in which some trial differs from the first."""
        found = (it.name for trial in self.trials for it in trial.settings if it.first is not None)
        return list(dict.fromkeys(found))

    def value(self, trial: Trial, name: str) -> str:
        """Returns a trial's value of a setting."""
        return next((it.value for it in trial.settings if it.name == name), DASH)


def groups_of(subjects: list[Subject]) -> list[Group]:
    """Returns the trials of each experiment and method. Raises BadInput for a missing file."""
    groups = []
    for members in by_experiment(subjects).values():
        for method in TRAINED:
            trials = [it for it in members if it.method == method]
            if trials:
                groups.append(Group(trials[0].title, METHODS[method], _trials(trials)))
    return groups


def _trials(subjects: list[Subject]) -> list[Trial]:
    first = _settings(subjects[0])
    trials = []
    for subject in subjects:
        own, train = _settings(subject), flat(subject.outcome())
        names = dict.fromkeys([*own, *first])
        computed = {key for key in train if key.split(".")[0] in MADE_WITH}
        trials.append(
            Trial(
                name=f"{subject.name}, seed {subject.seed}",
                settings=[_setting(name, own, first) for name in names],
                outcomes={key: text for key, text in train.items() if key not in computed},
                made_with={key: text for key, text in train.items() if key in computed}
                | recorded(subject),
            )
        )
    return trials


def recorded(subject: Subject) -> dict[str, str]:
    """Returns what the provenance of a trial's training says of commit, code and env.

    Nothing where it has none. Not when it ran: the same run made again has the same page.
    """
    made = maker(str(subject.root / subject.folder / "train.json"))
    if made is None:
        return {}
    git, code, env = (made.content[key] for key in ("git", "code", "env"))
    changed = ", ".join(git["changed"]) if git else ""
    behind = drifted(subject)
    return {
        "commit": (git["commit"] or DASH) if git else "no git",
        **({"uncommitted changes": changed} if changed else {}),
        "code": code["digest"],
        **({"edited while it ran": ", ".join(code["edited"])} if code["edited"] else {}),
        "env": f"{env['form']} {env['digest']}",
        **({"env drift": "; ".join(env["drift"])} if env["drift"] else {}),
        **({"env drift behind it": ", ".join(behind)} if behind else {}),
    }


def _settings(subject: Subject) -> dict[str, str]:
    return {key: text for key, text in flat(subject.setting()).items() if key not in NAMED}


def _setting(name: str, own: dict[str, str], first: dict[str, str]) -> Setting:
    value, other = own.get(name, DASH), first.get(name, DASH)
    return Setting(name, value, None if value == other else other)


def flat(value: Any, name: str = "") -> dict[str, str]:
    """Returns the leaves of nested dictionaries as text, by their dotted names."""
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
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return json.dumps(value, ensure_ascii=False)
