"""The schema of the configuration: what a config file may contain, and the defaults.

The classes of this room are the one place where keys, types, ranges and defaults are declared.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from yaml import ScalarNode, resolver

from scripts.config.base import LARGEST, Closed, Count, Name, PlainName, PlainPath, Seed, Split
from scripts.config.data import Dataset, Mixture
from scripts.config.evaluation import Generate
from scripts.config.models import Model
from scripts.config.trials import PreferenceTrial, SftTrial

PHASES = ("sft", "preference")
"""The parts of an experiment that train."""


class Phase(Closed):
    dataset: Name
    template: PlainName | None = Field(
        None, description="how rows are written; else the experiment's"
    )
    train: Split = "train"
    valid: Split | None = Field(None, description="the split of the loss taken while training")
    test: Split | None = Field("test", description="the split that the tables report")


class SftPhase(Phase):
    """The supervised trials of an experiment."""

    trials: list[SftTrial] = Field(min_length=1)


class PreferencePhase(Phase):
    """The preference trials of an experiment."""

    max_prompt_length: Count | None = Field(
        None, description="a longer prompt keeps its last so many tokens"
    )
    trials: list[PreferenceTrial] = Field(min_length=1)


AnyPhase = SftPhase | PreferencePhase


class Experiment(Closed):
    """Trials of one base model on one set of prompts, compared under one evaluation."""

    title: str | None = None
    enabled: bool = Field(True, description="false: checked, but not run")
    model: Name
    template: PlainName = Field(
        "chat",
        description="chat: the tokenizer's own; a name in scripts/lm/templates; or a .jinja file",
    )
    max_length: int = Field(
        1024, ge=8, le=LARGEST, description="tokens of prompt and completion together"
    )
    seeds: list[Seed] = Field([0], min_length=1)
    sft: SftPhase | None = None
    preference: PreferencePhase | None = None
    generate: dict[Name, Generate] = Field(default_factory=dict)

    @property
    def phases(self) -> dict[str, AnyPhase]:
        """The phases that it has, in the order in which a model goes through them."""
        found = {name: getattr(self, name) for name in PHASES}
        return {name: phase for name, phase in found.items() if phase is not None}

    @model_validator(mode="after")
    def trains_something(self) -> "Experiment":
        if not self.phases:
            raise ValueError("has neither sft nor preference trials")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds holds one seed twice")
        prompt = self.preference.max_prompt_length if self.preference else None
        if prompt is not None and prompt >= self.max_length:
            raise ValueError(
                f"preference.max_prompt_length: found {prompt}; allowed is less than max_length "
                f"({self.max_length}), or no token is left of a completion"
            )
        return self


def _folder(path: str) -> str:
    """Return a folder that files are written to."""
    if not path.strip() or path != path.strip() or Path(path).parent == Path(path) != Path():
        raise ValueError("allowed is a folder of its own")
    # Snakemake reads YAML 1.1, in which yes is no text.
    if resolver.Resolver().resolve(ScalarNode, path, (True, False)) != "tag:yaml.org,2002:str":
        raise ValueError("allowed are names that YAML 1.1 takes for text, as Snakemake does")
    if path.startswith("~") or ".." in Path(path).parts:
        raise ValueError("allowed is a folder below this one, or from the root on (/scratch/me)")
    return path


class Config(Closed):
    """A whole configuration."""

    pathvars: dict[
        Literal["results", "logs", "benchmarks", "metrics"],
        Annotated[PlainName, AfterValidator(_folder)],
    ] = Field(
        default_factory=dict,
        description="Snakemake's own: where results, logs, benchmarks go, and where reports find "
        "metrics (default: in results)",
    )
    mark: str | None = Field(
        None, description="stands in every table and figure: what the run is, if no full one"
    )
    claims: PlainPath | None = Field(
        None, description="published figures, for the table comparison"
    )
    allow_failed: bool = Field(
        False,
        description="tables and figures wait for no trial: one that failed or has not run stands "
        "in them as such (for the command line: `prefmake tables-so-far`)",
    )
    accelerator: Literal["cuda", "cpu"] = Field(
        "cuda",
        description="the build of torch that the envs have (docs/environments.md); what a trial "
        "runs on is the machine's",
    )
    container: str | None = Field(
        None,
        description="an image with the envs, for `--sdm conda apptainer`: envs/Containerfile",
    )
    allow_env_drift: bool = Field(
        False,
        description="outside its conda env, a job whose installed packages differ from its env's "
        "lock runs all the same, and its result says so (for the command line)",
    )
    models: dict[Name, Model] = Field(min_length=1)
    datasets: dict[Name, Dataset] = Field(min_length=1)
    mixtures: dict[Name, Mixture] = Field(
        default_factory=dict, description="datasets made of others, named as these are"
    )
    experiments: dict[Name, Experiment] = Field(min_length=1)
