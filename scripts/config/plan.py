"""The plan: everything that a configuration asks for, each resolved whole and named once.

The rules look up here what a wildcard stands for. All values are plain, ordered and complete, so
that they can be handed to a job as one JSON string, and so that a job reruns when and only when
what it reads has changed.
"""

from dataclasses import dataclass, field
from typing import Any

from scripts.common.files import shortest
from scripts.common.methods import METHODS
from scripts.common.templates import JUDGE, template_name, template_path
from scripts.config.schema import (
    DEMONSTRATION_FORMATS,
    Config,
    Experiment,
    Generate,
    PreferencePhase,
    PreferenceTrial,
    SftPhase,
    SftTrial,
)

Part = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What there is to make, by the names that stand in paths."""

    models: dict[str, Part]
    datasets: dict[str, Part]
    tokens: dict[str, Part] = field(default_factory=dict)
    references: dict[str, Part] = field(default_factory=dict)
    examined: dict[str, str] = field(default_factory=dict)
    """Tokens that trials learn from, and the template under which their models answer."""
    overlaps: dict[str, Part] = field(default_factory=dict)
    lookups: dict[str, Part] = field(default_factory=dict)
    trials: dict[str, Part] = field(default_factory=dict)
    """By folder, `trials/{trial}/seed-{seed}`."""
    bases: dict[str, Part] = field(default_factory=dict)
    """By folder, `bases/{experiment}`."""
    claims: str | None = None
    mark: str | None = None
    allow_failed: bool = False
    accelerator: str = "cuda"
    container: str | None = None
    allow_env_drift: bool = False

    def models_from(self, kind: str) -> list[str]:
        """Returns the models whose source is `hub`, `folder` or `demo`."""
        return [name for name, model in self.models.items() if kind in model["source"]]

    def trial_names(self, method: str) -> set[str]:
        """Returns the names of a method's trials."""
        return {trial["name"] for trial in self.trials.values() if trial["method"] == method}

    def subject(self, folder: str) -> Part:
        """Returns the trial or base that a folder belongs to."""
        return self.trials[folder] if folder in self.trials else self.bases[folder]

    def backends(self) -> list[str]:
        """Returns the backends that some trial asks for."""
        return sorted({trial["training"]["backend"] for trial in self.trials.values()})


def make_plan(config: Config) -> Plan:
    """Returns the plan of a checked configuration."""
    plan = Plan(
        models={name: _model(config, name) for name in config.models},
        datasets={name: _dataset(config, name) for name in config.datasets},
        claims=shortest(config.claims) if config.claims else None,
        mark=config.mark,
        allow_failed=config.allow_failed,
        accelerator=config.accelerator,
        container=config.container,
        allow_env_drift=config.allow_env_drift,
    )
    for name, experiment in config.experiments.items():
        if experiment.enabled:
            _enter(config, plan, name, experiment)
    return plan


def trial_folder(trial: str, seed: int) -> str:
    """Returns a trial's folder below the results."""
    return f"trials/{trial}/seed-{seed}"


def tokens_name(
    dataset: str, model: str, template: str, max_length: int, max_prompt_length: int | None
) -> str:
    """Returns the name of a dataset as one model's tokens."""
    lengths = [max_length] if max_prompt_length is None else [max_length, max_prompt_length]
    return ".".join([dataset, model, template_name(template), *map(str, lengths)])


def _model(config: Config, name: str) -> Part:
    model = config.models[name]
    return {"name": name, **model.model_dump(mode="json")}


def _dataset(config: Config, name: str) -> Part:
    return {"name": name, **config.datasets[name].model_dump(mode="json")}


def _enter(config: Config, plan: Plan, name: str, experiment: Experiment) -> None:
    """Enters an experiment's base and trials into the plan, and all that they need."""
    evaluation = _evaluation(config, plan, experiment)
    lookup = _lookup(plan, experiment.preference)
    _examine(config, plan, experiment)
    shared = {"experiment": name, "title": experiment.title or name, "model": experiment.model}
    plan.bases[f"bases/{name}"] = {
        "name": experiment.model,
        "seed": None,
        "method": "base",
        **shared,
        "lookup": lookup,
        "shown": _shown(experiment),
        "adapters": [],
        "evaluation": evaluation
        | {"reference": _reference(plan, experiment, evaluation["pairs"], None)},
    }
    for seed in experiment.seeds:
        for phase in filter(None, (experiment.sft, experiment.preference)):
            for trial in phase.trials:
                training = _training(config, plan, experiment, phase, trial, seed)
                folder = trial_folder(trial.name, seed)
                plan.trials[folder] = {
                    "name": trial.name,
                    "seed": seed,
                    "method": trial.method,
                    **shared,
                    "adapters": [*_merged(training), folder],
                    "training": training,
                    "evaluation": _trial_evaluation(plan, experiment, training, evaluation),
                }


def _tokens(
    config: Config, plan: Plan, experiment: Experiment, part: SftPhase | PreferencePhase | Generate
) -> str:
    """Enters the tokens of a part's dataset into the plan and returns their name."""
    template = part.template or experiment.template
    max_prompt_length = getattr(part, "max_prompt_length", None)
    name = tokens_name(
        part.dataset, experiment.model, template, experiment.max_length, max_prompt_length
    )
    demonstrations = config.datasets[part.dataset].format in DEMONSTRATION_FORMATS
    path = template_path(template)
    tokens = {
        "dataset": part.dataset,
        "model": experiment.model,
        "template": shortest(path) if path else None,
        "max_length": experiment.max_length,
        "max_prompt_length": max_prompt_length,
        "rows": "demonstrations" if demonstrations else "preferences",
    }
    if plan.tokens.setdefault(name, tokens) != tokens:
        other = plan.tokens[name]["template"]
        raise ValueError(f"two templates of one name: {other} and {tokens['template']}")
    return name


def _reference(
    plan: Plan,
    experiment: Experiment,
    pairs: Part | None,
    start: str | None,
    backend: str = "transformers",
) -> str | None:
    """Enters the reference log-probs of a start into the plan and returns their name."""
    if pairs is None:
        return None
    origin = start.removeprefix("trials/").replace("/", ".") if start else "base"
    # Kernels of another backend round differently: a trial is compared with its own backend's.
    parts = [origin, pairs["tokens"], *([] if backend == "transformers" else [backend])]
    name = ".".join(parts)
    plan.references[name] = {
        "model": experiment.model,
        "start": start,
        "tokens": pairs["tokens"],
        "backend": backend,
    }
    return name


def _overlap(plan: Plan, experiment: Experiment, generate: Generate) -> str | None:
    """Enters into the plan which items of a set stand in the SFT rows, and returns its name."""
    if not generate.leave_out_overlap:
        return None
    rows = {"dataset": experiment.sft.dataset, "split": experiment.sft.train}
    against = {"dataset": generate.dataset, "split": generate.split}
    name = ".".join([*against.values(), "in", *rows.values()])
    plan.overlaps[name] = {"against": against, "rows": rows}
    return name


def _examine(config: Config, plan: Plan, experiment: Experiment) -> None:
    """Enters the tokens of both phases, to be compared with the prompts of generation."""
    for phase in filter(None, (experiment.sft, experiment.preference)):
        asked = next(iter(experiment.generate.values()), phase)
        path = template_path(asked.template or experiment.template)
        tokens = _tokens(config, plan, experiment, phase)
        plan.examined.setdefault(tokens, shortest(path) if path else "chat")


def _lookup(plan: Plan, phase: PreferencePhase | None) -> str | None:
    """Enters the model-free baseline of a phase's pairs into the plan and returns its name."""
    if phase is None or phase.test is None:
        return None
    name = ".".join([phase.dataset, phase.train, phase.test])
    plan.lookups[name] = {"dataset": phase.dataset, "train": phase.train, "test": phase.test}
    return name


def _shown(experiment: Experiment) -> dict[str, list[str]]:
    """Returns by set the runs, with the first seed, whose answers are shown."""
    seed = experiment.seeds[0]
    return {
        name: [f"{trial}/seed-{seed}" for trial in generate.show]
        for name, generate in experiment.generate.items()
        if generate.show
    }


def _evaluation(config: Config, plan: Plan, experiment: Experiment) -> Part:
    """Returns what every model of an experiment is scored on, the same for all of them."""

    def held_out(phase: SftPhase | PreferencePhase | None) -> Part | None:
        if phase is None or phase.test is None:
            return None
        tokens = _tokens(config, plan, experiment, phase)
        return {"tokens": tokens, "dataset": phase.dataset, "split": phase.test}

    return {
        "completions": held_out(experiment.sft),
        "pairs": held_out(experiment.preference),
        "prompts": {
            name: {
                **generate.model_dump(mode="json", exclude={"show", "leave_out_overlap", "judge"}),
                "tokens": _tokens(config, plan, experiment, generate),
                "overlap": _overlap(plan, experiment, generate),
                "scored": not generate.show,
                "judge": _judge(generate),
            }
            for name, generate in experiment.generate.items()
        },
    }


def _judge(generate: Generate) -> Part | None:
    """Returns a set's judge with its template, or None where it has none."""
    if generate.judge is None:
        return None
    template = shortest(generate.judge.template or JUDGE)
    return generate.judge.model_dump(mode="json") | {"template": template}


def _trial_evaluation(plan: Plan, experiment: Experiment, training: Part, evaluation: Part) -> Part:
    """Returns a trial's evaluation: pairs only for a trial that learned from pairs.

    A supervised trial's own log-probs of the pairs are the reference of the trials that start
    from it, and stand there. All models are scored by one backend.
    """
    if METHODS[training["method"]].rows == "demonstrations":
        return evaluation | {"pairs": None, "reference": None}
    reference = _reference(plan, experiment, evaluation["pairs"], training["start"])
    return evaluation | {"reference": reference}


def _merged(training: Part) -> list[str]:
    """Returns the adapters that are merged into the base before a trial's own is attached."""
    merged = training.get("start") and training["start_as"] == "merged"
    return [training["start"]] if merged else []


def _training(
    config: Config,
    plan: Plan,
    experiment: Experiment,
    phase: SftPhase | PreferencePhase,
    trial: SftTrial | PreferenceTrial,
    seed: int,
) -> Part:
    """Returns a trial as it is trained: all that its training reads, and nothing else."""
    tokens = _tokens(config, plan, experiment, phase)
    apart = {"name", "method", "backend", "layout", "processes", "lora", "start", "start_as"}
    trainer = trial.model_dump(mode="json", exclude=apart)
    trainer["max_steps"] = -1 if trial.max_steps is None else trial.max_steps
    model = plan.models[experiment.model]
    training = {
        "name": trial.name,
        "seed": seed,
        "method": trial.method,
        "rows": METHODS[trial.method].rows,
        "model": experiment.model,
        "base": _origin(model),
        "revision": model["source"].get("revision"),
        "precision": model["precision"],
        "quantization": model["quantization"],
        "backend": trial.backend,
        "layout": trial.layout,
        "processes": trial.processes,
        "dataset": phase.dataset,
        "tokens": tokens,
        "train": phase.train,
        "valid": phase.valid if trial.eval_strategy != "no" else None,
        "lora": trial.lora.model_dump(mode="json"),
        "trainer": trainer,
    }
    if METHODS[trial.method].has_reference:
        start = trial_folder(trial.start, seed) if trial.start else None
        training["start"] = start
        training["start_as"] = trial.start_as
        training["reference"] = _reference(
            plan, experiment, {"tokens": tokens}, start, trial.backend
        )
    return training


def _origin(model: Part) -> str:
    """Returns how a person names the base model."""
    source = model["source"]
    return source.get("hub") or source.get("folder") or model["name"]
