"""Config files as read: their values, and for every value the file and line that it came from."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

# libyaml's, where PyYAML was built with it, is ten times as fast.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a config file."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.path}: {self.text}"


class ConfigError(Exception):
    """A configuration that cannot be used; its text is one line for each problem."""

    def __init__(self, problems: list[Problem]):
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass
class ConfigFile:
    """Values of one config file, or of several merged, with the origin of each."""

    values: dict[str, Any]
    origins: dict[Location, tuple[str, int]] = field(default_factory=dict)

    def get(self, path: Location) -> Any:
        """Return the value at `path`, or None where there is none."""
        value: Any = self.values
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def origin(self, path: Location) -> tuple[str, int]:
        """Return file and line of the value at `path`, or of the nearest thing above it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.origins:
                return self.origins[path[:length]]
        return ("config", 1)

    def folder(self, path: Location) -> Path:
        """Return the folder of the file that names the value at `path`."""
        return Path(self.origin(path)[0]).parent

    def visible(self, location: Location) -> Location:
        """Return an error's location as written in the file.

        The validator's locations hold the tags of unions, which no file holds; and what a trial
        has from its phase's `defaults` stands there.
        """
        path: Location = ()
        for index, part in enumerate(location):
            below = (*path, part)
            last = index == len(location) - 1
            # A tag may be a key too, as in `source: {hub: …}`; but nothing lies below a scalar,
            # except that it may stand for a list of one.
            scalar = self.get(below) is not None and not isinstance(self.get(below), (dict, list))
            known = below in self.origins or self._from_defaults(below) is not None
            if known and (last or not scalar or isinstance(location[index + 1], int)):
                path = below
        if path not in self.origins:
            defaults = self._from_defaults(path)
            path = defaults or path
        return path

    def _from_defaults(self, path: Location) -> Location | None:
        if len(path) > 5 and path[0] == "experiments" and path[3] == "trials":
            defaults = (*path[:3], "defaults", *path[5:])
            return defaults if defaults in self.origins and path not in self.origins else None
        return None

    def problem(self, path: Location, text: str) -> Problem:
        """Return the problem with the place where it can be mended."""
        file, line = self.origin(path)
        return Problem(file, line, dotted(path), text)


def dotted(path: Location) -> str:
    """Return a place in a config file as people write it: `trials[0].lora.r`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(whole file)"


def read_config(path: str | Path) -> ConfigFile:
    """Return the values of a YAML file with their origins.

    Raises
    ------
    ConfigError
        When the file is missing, is not YAML, is no mapping, or names a key twice.
    """
    name = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=LOADER)
    except OSError as error:
        raise ConfigError(
            [Problem(name, 1, "(whole file)", error.strerror or "unreadable")]
        ) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([Problem(name, line, "(whole file)", f"not YAML: {what}")]) from None
    if not isinstance(node, yaml.MappingNode):
        text = "must be a mapping with models, datasets and experiments"
        raise ConfigError([Problem(name, 1, "(whole file)", text)])
    origins: dict[Location, tuple[str, int]] = {}
    problems = _walk(node, (), name, origins)
    if problems:
        raise ConfigError(problems)
    return ConfigFile(_numbers(yaml.load(text, Loader=LOADER)), origins)


def _walk(
    node: yaml.Node, path: Location, name: str, origins: dict[Location, tuple[str, int]]
) -> list[Problem]:
    """Record the line of every value below `node`; return the keys that occur twice."""
    origins.setdefault(path, (name, node.start_mark.line + 1))
    problems: list[Problem] = []
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            below = (*path, key.value)
            if key.value in seen and key.value != "<<":
                text = "the key stands twice; each may stand once"
                problems.append(Problem(name, key.start_mark.line + 1, dotted(below), text))
            seen.add(key.value)
            origins[below] = (name, key.start_mark.line + 1)
            problems += _walk(value, below, name, origins)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            problems += _walk(value, (*path, index), name, origins)
    return problems


def _numbers(value: Any) -> Any:
    """Read `5e-5` as the number it is: YAML 1.1 wants a dot in it and else makes a string."""
    if isinstance(value, dict):
        return {key: _numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_numbers(inner) for inner in value]
    if isinstance(value, str) and value[:1] in "+-.0123456789" and "e" in value.lower():
        try:
            return float(value)
        except ValueError:
            return value
    return value


def merge(files: list[ConfigFile], overrides: dict[str, Any]) -> ConfigFile:
    """Return the files laid over each other: mappings key by key, all else replaced."""
    merged = ConfigFile({}, {(): (files[0].origins[()] if files else ("--config", 1))})
    for file in [*files, ConfigFile(overrides, _override_origins(overrides))]:
        _lay(merged, file, ())
    return merged


def _override_origins(values: Any, path: Location = ()) -> dict[Location, tuple[str, int]]:
    origins = {path: ("--config", 1)} if path else {}
    for key, value in values.items() if isinstance(values, dict) else ():
        origins |= _override_origins(value, (*path, key))
    return origins


def _lay(merged: ConfigFile, file: ConfigFile, path: Location) -> None:
    target, source = merged.get(path), file.get(path)
    for key, value in source.items():
        below = (*path, key)
        if isinstance(value, dict) and isinstance(target.get(key), dict):
            _lay(merged, file, below)
            continue
        target[key] = value
        for location in [known for known in merged.origins if known[: len(below)] == below]:
            del merged.origins[location]
        merged.origins.update(
            {known: origin for known, origin in file.origins.items()
             if known[: len(below)] == below}
        )  # fmt: skip
