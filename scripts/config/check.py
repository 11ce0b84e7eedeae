"""Loading a configuration: files and overlays in, a checked whole or a list of problems out."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from scripts.common.files import shortest
from scripts.config.cross import problems_of
from scripts.config.fields import allowed_keys
from scripts.config.files import ConfigError, ConfigFile, Location, Problem, merge, read_config
from scripts.config.schema import PHASES, Config

NEEDED = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be finite",
    "string_type": "must be text; quotes make text of a number",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
}
"""What pydantic says in the words of JSON or Python."""


def load(files: list[str | Path], overrides: dict[str, Any] | None = None) -> Config:
    """Return the checked configuration of `files`, later ones over earlier ones.

    Parameters
    ----------
    files
        YAML files. A relative path in a file is relative to that file's folder.
    overrides
        Values over all files, as Snakemake's ``--config`` gives them.

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
        # As JSON, in which a mapping is a part of the config and text is a path, but 1 is not true.
        config = Config.model_validate_json(json.dumps(merged.values, default=str))
    except ValidationError as error:
        raise ConfigError(problems + _described(error, merged)) from None
    problems += [merged.problem(path, text) for path, text in problems_of(config)]
    if problems:
        raise ConfigError(problems)
    return config


def _refuse_old_keys(merged: ConfigFile) -> None:
    """Raise ConfigError where an experiment has the phase `dpo`, the old name of `preference`."""
    places = [("experiments", name, "dpo") for name in _keys(merged, "experiments")]
    found = [place for place in places if merged.get(place) is not None]
    if found:
        more = f" (and in {len(found) - 1} more experiments)" if len(found) > 1 else ""
        text = f"this phase is now called preference: write preference: for dpo:{more}"
        raise ConfigError([merged.problem(found[0], text)])


def _anchor_paths(merged: ConfigFile) -> None:
    """Make every relative path in the raw values relative to the file that names it."""

    def anchor(*path: str | int, only: str = "") -> None:
        parent, value = merged.get(path[:-1]), merged.get(path)
        if isinstance(value, str) and value.endswith(only):
            parent[path[-1]] = shortest(merged.folder(path) / value)

    anchor("claims")
    for model in _keys(merged, "models"):
        for kind in ("folder", "demo"):
            anchor("models", model, "source", kind)
    for dataset in _keys(merged, "datasets"):
        place = ("datasets", dataset, "source", "file")
        for split in _keys(merged, *place):
            anchor(*place, split)
    for name in _keys(merged, "experiments"):
        experiment = ("experiments", name)
        sets = [("generate", key) for key in _keys(merged, *experiment, "generate")]
        for part in ((), *((phase,) for phase in PHASES), *sets):
            # Other templates are names.
            anchor(*experiment, *part, "template", only=".jinja")
        for part in sets:
            anchor(*experiment, *part, "judge", "template")


def _keys(merged: ConfigFile, *path: str) -> list[str]:
    """Return the keys of a mapping in the raw values; none where there is something else."""
    value = merged.get(path)
    return list(value) if isinstance(value, dict) else []


def _spread_defaults(merged: ConfigFile) -> list[Problem]:
    """Lay each phase's `defaults` under its trials, in place, and return what is wrong there."""
    problems: list[Problem] = []
    for name in _keys(merged, "experiments"):
        for where in (("experiments", name, phase) for phase in PHASES):
            if "defaults" not in _keys(merged, *where):
                continue
            values = merged.get(where)
            defaults = values.pop("defaults")
            if not isinstance(defaults, dict):
                found = "defaults must be a mapping of keys that trials have"
                problems.append(merged.problem((*where, "defaults"), found))
            elif isinstance(values.get("trials"), list):
                values["trials"] = [_over(defaults, trial) for trial in values["trials"]]
    return problems


def _over(defaults: Any, value: Any) -> Any:
    """Return `value` with the keys that it lacks taken from `defaults`, at every level."""
    if not isinstance(defaults, dict) or not isinstance(value, dict):
        return value
    both = {key: _over(defaults[key], value[key]) for key in defaults.keys() & value.keys()}
    return {**defaults, **value, **both}


def _described(error: ValidationError, merged: ConfigFile) -> list[Problem]:
    """Return one problem for each place, in the order in which they were found."""
    items = error.errors(include_url=False)
    return list(dict.fromkeys(_problem(item, merged) for item in items))


def _problem(item: ErrorDetails, merged: ConfigFile) -> Problem:
    location: Location = tuple(part for part in item["loc"] if part != "[key]")
    path = merged.visible(location)
    text = NEEDED.get(item["type"], item["msg"].removeprefix("Value error, "))
    if item["type"] == "extra_forbidden":
        text = f"unknown key; allowed: {', '.join(allowed_keys(item['loc'][:-1]))}"
    elif item["type"] == "missing":
        path = (*merged.visible(location[:-1]), location[-1])
        text = "is missing"
    elif item["type"] == "too_short":
        text = "is empty; at least one is needed"
    elif not isinstance(item["input"], (dict, list)):
        found = json.dumps(item["input"], default=str, ensure_ascii=False)
        text = f"found {found}: {text[:1].lower()}{text[1:]}"
    elif item["type"] == "value_error":
        # What a part says of one of its keys stands at that key.
        key, _, rest = text.partition(": ")
        below = merged.visible((*location, *key.split(".")))
        if rest.startswith("found ") and below[-1] == key.split(".")[-1]:
            path, text = below, rest
        elif isinstance(merged.get(path), str):
            # The tag of a union, as in `source: {demo: …}`, is no part.
            path = path[:-1]
    return merged.problem(path, text)
