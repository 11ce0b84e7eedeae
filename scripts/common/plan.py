"""The plan: everything that a configuration asks for, each resolved whole and named once.

The rules look up here what a wildcard stands for. All values are plain, ordered and complete, so
that they can be handed to a job as one JSON string, and so that a job reruns when and only when
what it reads has changed.
"""

from dataclasses import dataclass
from typing import Any

from scripts.common.files import shortest
from scripts.common.schema import (
    DEMONSTRATION_FORMATS,
    Config,
    DpoTrial,
    Experiment,
    SftTrial,
)
from scripts.common.templates import template_name, template_path

Part = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What there is to make, by the names that stand in paths."""

    models: dict[str, Part]
    datasets: dict[str, Part]
    tokens: dict[str, Part]
    references: dict[str, Part]
    trials: dict[str, Part]
    """By folder, `trials/{trial}/seed-{seed}`."""
    bases: dict[str, Part]
    """By folder, `bases/{experiment}`."""

    def models_from(self, kind: str) -> list[str]:
        """Returns the models whose source is `hub`, `folder` or `demo`."""
        return [name for name, model in self.models.items() if kind in model["source"]]

    def trial_names(self, method: str) -> set[str]:
        """Returns the names of the `sft` or `dpo` trials."""
        return {trial["name"] for trial in self.trials.values() if trial["method"] == method}

    def subject(self, folder: str) -> Part:
        """Returns the trial or base that a folder belongs to."""
        return self.trials[folder] if folder in self.trials else self.bases[folder]


def make_plan(config: Config) -> Plan:
    """Returns the plan of a checked configuration."""
    plan = Plan(
        models={name: _model(config, name) for name in config.models},
        datasets={name: _dataset(config, name) for name in config.datasets},
        tokens={},
        references={},
        trials={},
        bases={},
    )
    for name, experiment in config.experiments.items():
        evaluation = _evaluation(config, plan, experiment)
        plan.bases[f"bases/{name}"] = {
            "name": experiment.model,
            "seed": None,
            "experiment": name,
            "title": experiment.title or name,
            "method": "base",
            "model": experiment.model,
            "adapters": [],
            "evaluation": evaluation
            | {"reference": _reference(plan, experiment, evaluation["pairs"], None)},
        }
        for seed in experiment.seeds:
            for method, phase in (("sft", experiment.sft), ("dpo", experiment.dpo)):
                for trial in phase.trials if phase else []:
                    folder = trial_folder(trial.name, seed)
                    plan.trials[folder] = _trial(plan, name, experiment, method, trial, seed)
                    plan.trials[folder]["evaluation"] = _trial_evaluation(plan, folder, evaluation)
    return plan


def trial_folder(trial: str, seed: int) -> str:
    """Returns a trial's folder below the results."""
    return f"trials/{trial}/seed-{seed}"


def tokens_name(dataset: str, model: str, template: str, max_length: int) -> str:
    """Returns the name of a dataset as one model's tokens."""
    return f"{dataset}.{model}.{template_name(template)}.{max_length}"


def _model(config: Config, name: str) -> Part:
    model = config.models[name]
    return {"name": name, **model.model_dump(mode="json")}


def _dataset(config: Config, name: str) -> Part:
    return {"name": name, **config.datasets[name].model_dump(mode="json")}


def _tokens(config: Config, plan: Plan, experiment: Experiment, dataset: str) -> str:
    """Enters a dataset's tokens into the plan and returns their name."""
    name = tokens_name(dataset, experiment.model, experiment.template, experiment.max_length)
    demonstrations = config.datasets[dataset].format in DEMONSTRATION_FORMATS
    path = template_path(experiment.template)
    tokens = {
        "dataset": dataset,
        "model": experiment.model,
        "template": shortest(path) if path else None,
        "max_length": experiment.max_length,
        "rows": "demonstrations" if demonstrations else "preferences",
    }
    if plan.tokens.setdefault(name, tokens) != tokens:
        other = plan.tokens[name]["template"]
        raise ValueError(f"two templates of one name: {other} and {tokens['template']}")
    return name


def _reference(
    plan: Plan, experiment: Experiment, pairs: Part | None, start: str | None
) -> str | None:
    """Enters the reference log-probs of a start into the plan and returns their name."""
    if pairs is None:
        return None
    name = ".".join([start.removeprefix("trials/").replace("/", ".") if start else "base",
                     pairs["tokens"]])  # fmt: skip
    plan.references[name] = {
        "model": experiment.model,
        "start": start,
        "tokens": pairs["tokens"],
        "batch_size": experiment.scoring_batch_size,
    }
    return name


def _evaluation(config: Config, plan: Plan, experiment: Experiment) -> Part:
    """Returns what every model of an experiment is scored on, the same for all of them."""

    def held_out(phase: Any) -> Part | None:
        if phase is None or phase.test is None:
            return None
        tokens = _tokens(config, plan, experiment, phase.dataset)
        return {"tokens": tokens, "dataset": phase.dataset, "split": phase.test}

    generate = experiment.generate
    prompts = generate and {
        "tokens": _tokens(config, plan, experiment, generate.dataset),
        **generate.model_dump(mode="json"),
    }
    for phase in (experiment.sft, experiment.dpo):
        if phase is not None:
            _tokens(config, plan, experiment, phase.dataset)
    return {
        "completions": held_out(experiment.sft),
        "pairs": held_out(experiment.dpo),
        "prompts": prompts,
        "batch_size": experiment.scoring_batch_size,
    }


def _trial_evaluation(plan: Plan, folder: str, evaluation: Part) -> Part:
    """Returns a trial's evaluation: pairs only for a trial that learned from pairs.

    A supervised trial's own log-probs of the pairs are the reference of the trials that start
    from it, and stand there.
    """
    training = plan.trials[folder]["training"]
    if training["method"] == "sft":
        return evaluation | {"pairs": None, "reference": None}
    return evaluation | {"reference": training["reference"]}


def _trial(
    plan: Plan,
    name: str,
    experiment: Experiment,
    method: str,
    trial: SftTrial | DpoTrial,
    seed: int,
) -> Part:
    phase = experiment.sft if method == "sft" else experiment.dpo
    tokens = tokens_name(phase.dataset, experiment.model, experiment.template,
                         experiment.max_length)  # fmt: skip
    trainer = trial.model_dump(mode="json", exclude={"name", "lora", "start"})
    trainer["max_steps"] = -1 if trial.max_steps is None else trial.max_steps
    model = plan.models[experiment.model]
    adapters = [trial_folder(trial.name, seed)]
    training = {
        "name": trial.name,
        "seed": seed,
        "method": method,
        "model": experiment.model,
        "base": _origin(model),
        "revision": model["source"].get("revision"),
        "precision": model["precision"],
        "quantization": model["quantization"],
        "dataset": phase.dataset,
        "tokens": tokens,
        "train": phase.train,
        "valid": phase.valid if trial.eval_strategy != "no" else None,
        "lora": trial.lora.model_dump(mode="json"),
        "trainer": trainer,
    }
    if isinstance(trial, DpoTrial):
        start = trial_folder(trial.start, seed) if trial.start else None
        adapters = [start, *adapters] if start else adapters
        training["start"] = start
        training["reference"] = _reference(plan, experiment, {"tokens": tokens}, start)
    return {
        "name": trial.name,
        "seed": seed,
        "experiment": name,
        "title": experiment.title or name,
        "method": method,
        "model": experiment.model,
        "adapters": adapters,
        "training": training,
    }


def _origin(model: Part) -> str:
    """Returns how a person names the base model."""
    source = model["source"]
    return source.get("hub") or source.get("folder") or model["name"]
