"""Loading a configuration: files and overlays in, a checked whole or a list of problems out.

python -m scripts.config.check check config.yaml [overlay.yaml …]
python -m scripts.config.check show config.yaml [--trial NAME]
python -m scripts.config.check fields > docs/config.md
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scripts.common.columns import column_names
from scripts.common.files import shortest
from scripts.common.splits import SPLITS, parse_slices
from scripts.common.templates import TEMPLATES, template_name, template_path
from scripts.config.fields import describe_fields, values_of
from scripts.config.files import (
    ConfigError,
    ConfigFile,
    Problem,
    dotted,
    merge,
    read_config,
)
from scripts.config.schema import (
    DEMONSTRATION_FORMATS,
    Config,
    DatasetBase,
    Experiment,
    FileData,
    Judge,
    PreferencePhase,
    SftPhase,
    splits_of,
)

PHASES = ("sft", "preference")
"""The parts of an experiment that train."""


def load(files: list[str | Path], overrides: dict[str, Any] | None = None) -> Config:
    """Returns the checked configuration of `files`, later ones over earlier ones.

    Parameters
    ----------
    files
        YAML files. A relative path in a file is relative to that file's folder.
    overrides
        What stands above all files, as Snakemake's ``--config`` gives it.

    Raises
    ------
    ConfigError
        With every problem found: where, what was found, what is allowed.
    """
    merged = merge([read_config(path) for path in files], overrides or {})
    _refuse_old_keys(merged)
    _anchor_paths(merged)
    problems = _spread_defaults(merged)
    try:
        config = Config.model_validate(merged.values)
    except ValidationError as error:
        raise ConfigError(problems + _describe(error, merged)) from None
    problems += [merged.problem(path, text) for path, text in _cross_check(config)]
    if problems:
        raise ConfigError(problems)
    return config


def _refuse_old_keys(merged: ConfigFile) -> None:
    """Raise ConfigError where an experiment has the phase `dpo`, the old name of `preference`."""
    experiments = merged.get(("experiments",))
    places = [("experiments", name, "dpo") for name in _keys(experiments)]
    found = [place for place in places if merged.get(place) is not None]
    if found:
        more = f" (and in {len(found) - 1} more experiments)" if len(found) > 1 else ""
        text = f"this phase is now called preference: write preference: for dpo:{more}"
        raise ConfigError([merged.problem(found[0], text)])


def _anchor_paths(merged: ConfigFile) -> None:
    """Makes every relative path in the raw values relative to the file that names it."""

    def anchor(*path: str | int) -> None:
        parent = merged.get(path[:-1])
        if isinstance(parent, dict) and isinstance(parent.get(path[-1]), str):
            parent[path[-1]] = shortest(merged.folder(path) / parent[path[-1]])

    for name in _keys(merged.get(("models",))):
        anchor("models", name, "source", "folder")
        anchor("models", name, "source", "demo")
    for name in _keys(merged.get(("datasets",))):
        for split in _keys(merged.get(("datasets", name, "source", "file"))):
            anchor("datasets", name, "source", "file", split)
    anchor("claims")
    for name in _keys(merged.get(("experiments",))):
        experiment = ("experiments", name)
        sets = [("generate", key) for key in _keys(merged.get((*experiment, "generate")))]
        for place in ((), *((phase,) for phase in PHASES), *sets):
            template = merged.get((*experiment, *place, "template"))
            if isinstance(template, str) and template.endswith(".jinja"):
                anchor(*experiment, *place, "template")
        for place in sets:
            anchor(*experiment, *place, "judge", "template")


def _keys(value: Any) -> list[str]:
    return list(value) if isinstance(value, dict) else []


def _spread_defaults(merged: ConfigFile) -> list[Problem]:
    """Lays each phase's `defaults` under its trials, in place, and returns what is wrong there."""
    problems: list[Problem] = []
    for name in _keys(merged.get(("experiments",))):
        for phase in PHASES:
            where = ("experiments", name, phase)
            values = merged.get(where)
            if not isinstance(values, dict) or "defaults" not in values:
                continue
            defaults = values.pop("defaults")
            if not isinstance(defaults, dict):
                found = "defaults must be a mapping of keys that trials have"
                problems.append(merged.problem((*where, "defaults"), found))
            elif isinstance(values.get("trials"), list):
                values["trials"] = [_over(defaults, trial) for trial in values["trials"]]
    return problems


def _over(defaults: Any, value: Any) -> Any:
    """Returns `value` with the keys that it lacks taken from `defaults`, at every level."""
    if not isinstance(defaults, dict) or not isinstance(value, dict):
        return value
    both = {key: _over(defaults[key], value[key]) for key in defaults.keys() & value.keys()}
    return {**defaults, **value, **both}


def _describe(error: ValidationError, merged: ConfigFile) -> list[Problem]:
    """Returns one problem for each place, in the order in which they were found."""
    found: dict[str, Problem] = {}
    for item in error.errors(include_url=False):
        location = tuple(part for part in item["loc"] if part != "[key]")
        path = merged.visible(location)
        text = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            text = f"unknown key; allowed: {', '.join(_allowed(item['loc'][:-1]))}"
        elif item["type"] == "missing":
            path = (*merged.visible(location[:-1]), location[-1])
            text = "is missing"
        elif item["type"] == "too_short":
            text = "is empty; at least one is needed"
        elif not isinstance(item["input"], (dict, list)):
            text = f"found {json.dumps(item['input'], default=str)}: {_lower(text)}"
        problem = merged.problem(path, text)
        found.setdefault(str(problem), problem)
    return list(found.values())


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _allowed(location: tuple[int | str, ...]) -> list[str]:
    """Returns the keys that the schema has at an error's location, unions resolved by their tag."""
    schema = Config.model_json_schema()

    def resolve(node: dict[str, Any]) -> dict[str, Any]:
        return schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node

    def members(node: dict[str, Any]) -> list[dict[str, Any]]:
        choices = node.get("oneOf", []) + node.get("anyOf", [])
        return [inner for choice in choices for inner in members(resolve(choice))] or [node]

    nodes = [schema]
    for part in location:
        below = []
        for node in nodes:
            if part in node.get("properties", {}):
                below += members(resolve(node["properties"][part]))
            elif values_of(node):
                below += members(resolve(values_of(node)))
            elif isinstance(part, int) and "items" in node:
                below += members(resolve(node["items"]))
        # A union's tag is a step of the location, but not of the document.
        nodes = below or [node for node in nodes if _carries(node, part)] or nodes
    keys = dict.fromkeys(key for node in nodes for key in node.get("properties", {}))
    return [*keys, *(["defaults"] if "trials" in keys else [])]


def _carries(node: dict[str, Any], tag: int | str) -> bool:
    """Tells whether a union's member is the one that `tag` stands for."""
    properties = node.get("properties", {})
    return tag in properties or any(
        tag == rule.get("const") or tag in rule.get("enum", []) for rule in properties.values()
    )


def _cross_check(config: Config) -> list[tuple[tuple[str | int, ...], str]]:
    """Returns what no single part can see: names that do not exist, splits that are not there."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    seen: dict[str, tuple[str | int, ...]] = {}
    supervised = {
        trial.name: experiment
        for experiment in config.experiments.values()
        for trial in (experiment.sft.trials if experiment.sft else [])
    }
    for name, model in config.models.items():
        for key in ("demo", "folder"):
            path = getattr(model.source, key, None)
            if path is not None and not path.exists():
                problems.append((("models", name, "source", key), f"found {path}: no such file"))
    for name, dataset in config.datasets.items():
        problems += [(("datasets", name, *path), text) for path, text in _check_files(dataset)]
    for name, experiment in config.experiments.items():
        where = ("experiments", name)
        if experiment.model not in config.models:
            problems.append(((*where, "model"), _unknown(experiment.model, config.models)))
        for place, part in _parts(experiment):
            template = part.template
            texts = [] if template is None else _check_template(template)
            problems += [((*where, *place, "template"), text) for text in texts]
        for phase, kind in (("sft", experiment.sft), ("preference", experiment.preference)):
            if kind is None:
                continue
            problems += _check_phase(config, (*where, phase), phase, kind)
            for index, trial in enumerate(kind.trials):
                place = (*where, phase, "trials", index)
                if trial.name in seen:
                    other = dotted(seen[trial.name])
                    problems.append(((*place, "name"), f"{trial.name} is also the name of {other}"))
                seen.setdefault(trial.name, place)
                if start := getattr(trial, "start", None):
                    text = _check_start(start, experiment, supervised)
                    if text:
                        problems.append(((*place, "start"), text))
        problems += [((*where, *path), text) for path, text in _check_generate(config, experiment)]
    if config.claims is not None and not config.claims.is_file():
        problems.append((("claims",), f"found {config.claims}: no such file"))
    return problems


def _parts(experiment: Experiment) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields all parts of an experiment that may name a template, with their places."""
    yield (), experiment
    for phase in PHASES:
        if getattr(experiment, phase) is not None:
            yield (phase,), getattr(experiment, phase)
    for name, generate in experiment.generate.items():
        yield ("generate", name), generate


def _check_generate(
    config: Config, experiment: Experiment
) -> list[tuple[tuple[str | int, ...], str]]:
    problems: list[tuple[tuple[str | int, ...], str]] = []
    phases = [phase for phase in (experiment.sft, experiment.preference) if phase is not None]
    trials = [trial.name for phase in phases for trial in phase.trials]
    for name, generate in experiment.generate.items():
        where = ("generate", name)
        problems += _check_use(
            config, where, generate.dataset, ("split",), {"split": generate.split}
        )
        if generate.leave_out_overlap and experiment.sft is None:
            text = "found true: the experiment has no SFT rows that items could stand in"
            problems.append(((*where, "leave_out_overlap"), text))
        if generate.judge is not None:
            problems += [
                ((*where, "judge", *at), text) for at, text in _check_judge(config, generate.judge)
            ]
        problems += [
            ((*where, "show", place), _unknown(shown, trials, "no trial of the experiment"))
            for place, shown in enumerate(generate.show)
            if shown not in trials
        ]
    return problems


def _check_judge(config: Config, judge: Judge) -> Iterator[tuple[tuple[str, ...], str]]:
    if judge.model not in config.models:
        yield ("model",), _unknown(judge.model, config.models)
    if judge.template is not None and not judge.template.is_file():
        yield ("template",), f"found {judge.template}: no such file"


def _check_start(start: str, experiment: Experiment, supervised: dict[str, Experiment]) -> str:
    if start not in supervised:
        return _unknown(start, supervised, "no SFT trial has this name")
    if supervised[start].model != experiment.model:
        return (
            f"{start} is trained on {supervised[start].model}, this experiment on "
            f"{experiment.model}; a trial starts from its own base model"
        )
    missing = sorted(set(experiment.seeds) - set(supervised[start].seeds))
    if missing:
        return f"{start} is not trained with seed {missing[0]}; trials start from their own seed"
    return ""


def _unknown(name: str, known: Any, text: str = "not defined") -> str:
    return f"found {json.dumps(name)}: {text}; allowed: {', '.join(known) or 'none is defined'}"


def _check_phase(
    config: Config, where: tuple[str, ...], phase: str, kind: SftPhase | PreferencePhase
) -> list[tuple[tuple[str | int, ...], str]]:
    uses = {"train": kind.train, "valid": kind.valid, "test": kind.test}
    problems = _check_use(config, where, kind.dataset, tuple(uses), uses)
    dataset = config.datasets.get(kind.dataset)
    if dataset is not None:
        demonstrations = dataset.format in DEMONSTRATION_FORMATS
        if demonstrations != (phase == "sft"):
            wanted = "instruction" if phase == "sft" else "pairs, messages or dialogues"
            text = f"{kind.dataset} has the format {dataset.format}; {phase} needs {wanted}"
            problems.append(((*where, "dataset"), text))
    for index, trial in enumerate(kind.trials):
        if trial.eval_strategy != "no" and kind.valid is None:
            place = (*where, "trials", index, "eval_strategy")
            text = f"found {trial.eval_strategy}: {phase}.valid names no split to evaluate on"
            problems.append((place, text))
    return problems


def _check_use(
    config: Config,
    where: tuple[str, ...],
    name: str,
    keys: tuple[str, ...],
    splits: dict[str, str | None],
) -> list[tuple[tuple[str | int, ...], str]]:
    if name not in config.datasets:
        return [((*where, "dataset"), _unknown(name, config.datasets))]
    present = splits_of(config.datasets[name])
    return [
        ((*where, key), _unknown(str(splits[key]), present, f"{name} has no such split"))
        for key in keys
        if splits[key] is not None and splits[key] not in present
    ]


def _check_files(dataset: DatasetBase) -> list[tuple[tuple[str | int, ...], str]]:
    """Looks into local files: are they there, and do they have the columns?"""
    if not isinstance(dataset.source, FileData):
        return []
    problems: list[tuple[tuple[str | int, ...], str]] = []
    needed = dict(dataset.columns)
    if dataset.group:
        needed["group"] = dataset.group
    for split, path in dataset.source.file.items():
        if not path.is_file():
            problems.append((("source", "file", split), f"found {path}: no such file"))
            continue
        try:
            present = column_names(path)
        except ValueError as error:
            problems.append((("source", "file", split), f"found {path}: {error}"))
            continue
        for role, column in needed.items():
            if column not in present:
                place = ("group",) if role == "group" else ("columns", role)
                problems.append((place, _unknown(column, present, f"no such column in {path}")))
    chosen = [getattr(dataset.splits, key, None) for key in ("source", *SPLITS)]
    for expression in chosen:
        # The other splits of a draw are fractions.
        if isinstance(expression, str) and any(
            split not in dataset.source.file for split, *_ in parse_slices(expression)
        ):
            text = _unknown(expression, dataset.source.file, "no such split in source.file")
            problems.append((("splits",), text))
    return problems


def _check_template(template: str) -> list[str]:
    """A template's name stands in paths, so a file must not bear another's."""
    path = template_path(template)
    known = ["chat", *sorted(TEMPLATES), "a .jinja file"]
    if template.endswith(".jinja") and template_name(template) in known:
        return [f"found {template}: {template_name(template)} is the name of another template"]
    if template == "chat" or (path is not None and path.is_file()):
        return []
    return [_unknown(template, known, "no such template")]


# ---------------------------------------------------------------------------------- command line


def main(argv: list[str] | None = None) -> int:
    """Runs `check`, `show` or `fields`; returns 1 when the configuration is wrong."""
    parser = argparse.ArgumentParser(prog="python -m scripts.config.check", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser("check", help="say what is wrong, one line each")
    show = commands.add_parser("show", help="print the trials, every default filled in")
    show.add_argument("--trial", help="only this one")
    for command in (check, show):
        command.add_argument("files", nargs="+", type=Path)
    commands.add_parser("fields", help="print every key with type, default and meaning")
    arguments = parser.parse_args(argv)

    if arguments.command == "fields":
        print(describe_fields(Config), end="")
        return 0
    try:
        config = load(arguments.files)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    from scripts.config.plan import make_plan

    plan = make_plan(config)
    if arguments.command == "check":
        counts = f"{len(config.experiments)} experiments, {len(plan.trials)} trials"
        print(f"{counts}, {len(plan.runs)} runs: ok")
        return 0
    runs = [run for run in plan.runs.values() if arguments.trial in (None, run.name)]
    print(json.dumps([dataclasses.asdict(run) for run in runs], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
