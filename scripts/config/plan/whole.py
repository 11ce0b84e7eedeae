"""The whole plan, by the names that stand in paths."""

import difflib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath

from scripts.config.plan import paths
from scripts.config.plan.data import Dataset, Files, Mixture, Model, Overlap, Part, Tokens
from scripts.config.plan.evaluation import Base, Lookup, Run, Subject, Trial
from scripts.config.plan.training import Reference, Training, probed
from scripts.report.catalog import FIGURES, TABLES

OF_FILES = ("overlaps", "comparisons", "probes", "tables", "figures")
"""Folders of the results that hold files, and no folder for each name."""
SHOWN_NAMES = 10
"""So many names are listed where one was asked for that does not exist."""


@dataclass(frozen=True)
class Plan:
    """What there is to make."""

    models: dict[str, Model]
    datasets: dict[str, Dataset]
    mixtures: dict[str, Mixture] = field(default_factory=dict)
    tokens: dict[str, Tokens] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    examined: dict[str, str] = field(default_factory=dict)
    """Tokens that trials learn from, and the template under which their models answer."""
    overlaps: dict[str, Overlap] = field(default_factory=dict)
    lookups: dict[str, Lookup] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    """By folder, `trials/{trial}/seed-{seed}`."""
    bases: dict[str, Base] = field(default_factory=dict)
    """By experiment."""
    claims: str | None = None
    mark: str | None = None
    allow_failed: bool = False
    accelerator: str = "cuda"
    container: str | None = None
    allow_env_drift: bool = False

    @cached_property
    def trials(self) -> dict[str, Trial]:
        """The entries of the config by name, each with its runs."""
        found: dict[str, list[Run]] = {}
        for run in self.runs.values():
            found.setdefault(run.name, []).append(run)
        return {name: Trial(tuple(runs)) for name, runs in found.items()}

    @cached_property
    def subjects(self) -> dict[str, Subject]:
        """All models that are scored, by folder."""
        return {**self.runs, **{base.folder: base for base in self.bases.values()}}

    @cached_property
    def probes(self) -> dict[str, Training]:
        """The trials whose first steps are timed, by name."""
        return probed(run.training for run in self.runs.values())

    @cached_property
    def adapters(self) -> dict[str, Part]:
        """The adapters that are checked, by model and digest."""
        return {run.training.adapter_name: run.training.adapter for run in self.runs.values()}

    def training(self, trial: str, seed: int | str) -> Training:
        """Return a trial with one seed as it is trained."""
        return self.runs[paths.run_folder(trial, seed)].training

    def fetched_models(self) -> list[str]:
        """Return the names of the models that are fetched; the others are trained by a rule."""
        return [name for name, model in self.models.items() if model.is_fetched]

    def examined_inputs(self, tokens: str) -> Files:
        """Return what examining tokens reads."""
        return self.tokens[tokens].examined_inputs(self.examined[tokens])

    def judged(self) -> list[str]:
        """Return the folders of the runs that a judge compares with their base."""
        return [folder for folder, run in self.runs.items() if run.judged]

    def backends(self) -> list[str]:
        """Return the backends that some trial asks for."""
        return sorted({run.training.backend for run in self.runs.values()})

    def lack_of_gpus(self, limit: int) -> str | None:
        """Return in one line which trial needs more GPUs than a limit, if one does."""
        for run in self.runs.values():
            needed = run.training.processes
            if needed > max(limit, 1):
                return (
                    f"trial {run.name}: found processes {needed}, each on a GPU of its own, under "
                    f"a limit of {limit}; allowed is --resources gpu={needed} or more"
                )
        return None

    def estimate_inputs(self) -> Files:
        """Return what estimating a sweep reads."""
        return {
            "models": [paths.tokenizer(model) for model in self.trained_models()],
            "tokens": [
                f"<results>/tokens/{tokens}/report.json" for tokens in self.trained_tokens()
            ],
        }

    def trained_models(self) -> list[str]:
        """Return the names of the models that trials start from."""
        return sorted({run.training.model for run in self.runs.values()})

    def trained_tokens(self) -> list[str]:
        """Return the names of the tokens that trials learn from."""
        return sorted({run.training.tokens for run in self.runs.values()})

    @cached_property
    def named(self) -> dict[str, tuple[str, Collection[str]]]:
        """What each folder of the results holds, and the names of these."""
        return {
            "models": ("model", self.models),
            "data": ("dataset", self.datasets | self.mixtures),
            "tokens": ("tokens", self.tokens),
            "references": ("reference", self.references),
            "overlaps": ("overlap", self.overlaps),
            "baselines": ("lookup", self.lookups),
            "bases": ("experiment", self.bases),
            "comparisons": ("experiment", self.bases),
            "probes": ("probe", self.probes),
            "checks": ("model", self.trained_models()),
            "trials": ("trial", self.trials),
            "tables": ("table", TABLES),
            "figures": ("figure", FIGURES),
        }

    def folders(self) -> Iterator[str]:
        """Yield the folders of the results that files are written to, the upper ones first."""
        for folder, (_, names) in self.named.items():
            yield folder
            yield from (f"{folder}/{name}" for name in names if folder not in OF_FILES)
        yield from self.runs

    def refusal(self, target: str | PurePath) -> str | None:
        """Return in one line why a file cannot exist; None where the names in its path do.

        Parameters
        ----------
        target
            A path below the results.
        """
        folder, *parts = PurePath(target).parts
        if folder not in self.named or not parts:
            return None
        kind, allowed = self.named[folder]
        name = parts[0]
        if len(parts) == 1:
            name = next((it for it in allowed if name.startswith(f"{it}.")), PurePath(name).stem)
        elif kind == "trial" and name in allowed and len(parts) > 2:
            kind, name = "run", "/".join(parts[:2])
            allowed = [folder.removeprefix("trials/") for folder in self.runs]
        if name in allowed:
            return None
        what = "does not exist" if kind in ("table", "figure") else "is not in the configuration"
        return f"found {kind} {name}, which {what}; {_listed(name, allowed)}"


def _listed(name: str, allowed: Collection[str]) -> str:
    """Return the names that are allowed; of many those that are most like the one asked for."""
    if len(allowed) <= SHOWN_NAMES:
        return f"allowed: {', '.join(sorted(allowed)) or 'there is none'}"
    close = difflib.get_close_matches(name, allowed, n=3, cutoff=0.3) or sorted(allowed)[:3]
    return f"of {len(allowed)} the closest: {', '.join(close)}"
