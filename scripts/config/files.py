"""Config files as read: their values, and for every value the file and line that it came from."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import yaml

from scripts.common.cli import TOKEN, printable, without_secrets

Location = tuple[str | int, ...]

BYTES, NODES, DEPTH, DIGITS = 4_000_000, 100_000, 40, 20
"""What a config file may have at most: a sweep of a thousand trials takes half of it."""
PROBLEMS, SHOWN = 20, 1000
"""So many problems are told, and so many characters of each."""

SOURCES = {"hub", "folder", "demo", "file"}
"""The key of each kind of source, of which one has one."""

_TOO_DEEP = f"found more than {DEPTH} levels, one in another; allowed are so many"
_YAML = "tag:yaml.org,2002:"
_CONTROL = yaml.reader.Reader.NON_PRINTABLE
_MERGE = f"{_YAML}merge"


class _Kind(NamedTuple):
    """What is not text without quotes."""

    pattern: str
    first: str
    value: Callable[[str], Any]


def _integer(text: str) -> int:
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _float(text: str) -> float | int:
    # Whole numbers may be written 1e3.
    number = float(re.sub(r"\.(?=[a-zA-Z])", "", text))
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


_CORE = {
    "null": _Kind(r"~|null|Null|NULL|", "~nN", lambda text: None),
    "bool": _Kind(r"true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text[0] in "tT"),
    "int": _Kind(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _integer),
    "float": _Kind(
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
        _float,
    ),
}
"""The core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema).

PyYAML has that of 1.1, where `no` is false, `010` is 8, `1:30` is 90 and `5e-5` is text.
"""


# libyaml's, where PyYAML was built with it, is ten times as fast.
class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


for _tag, _kind in _CORE.items():
    _Loader.add_implicit_resolver(
        _YAML + _tag,
        re.compile(rf"(?:{_kind.pattern})\Z"),
        [*_kind.first, *([""] if _tag == "null" else [])],
    )
_Loader.add_implicit_resolver(_MERGE, re.compile(r"<<\Z"), ["<"])


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a config file."""

    file: str
    line: int
    path: str
    text: str

    def __str__(self) -> str:
        return f"{_shown(self.file)}:{self.line}: {_shown(self.path)}: {_shown(self.text)}"


def _shown(text: str) -> str:
    """Return text in one line of bounded length."""
    if len(text) > SHOWN:
        text = f"{text[: SHOWN // 2]} … {text[-SHOWN // 2 :]}"
    return printable(text).replace("\n", "\\n")


class ConfigError(Exception):
    """A configuration that cannot be used; its text is one line for each problem."""

    def __init__(self, problems: list[Problem]):
        more = [f"and {len(problems) - PROBLEMS} more"] if len(problems) > PROBLEMS else []
        super().__init__("\n".join([*map(str, problems[:PROBLEMS]), *more]))
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
        When the file is missing, is not YAML, is no mapping, names a key twice, holds what a config
        has no use for, or is larger than a config may be.
    """
    name = str(path)
    try:
        text = _text(Path(path), name)
        _limit(text, name)
        node = yaml.compose(text, Loader=_Loader)
    except OSError as error:
        raise _refusal(name, 1, error.strerror or "unreadable") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise _refusal(name, mark.line + 1 if mark else 1, f"not YAML: {what}") from None
    if not isinstance(node, yaml.MappingNode):
        raise _refusal(name, 1, "must be a mapping with models, datasets and experiments")
    reader = _Reader(name)
    values = reader.read(node)
    if reader.problems:
        raise ConfigError(list(dict.fromkeys(reader.problems)))
    return ConfigFile(values, reader.origins)


def _refusal(name: str, line: int, text: str) -> ConfigError:
    return ConfigError([Problem(name, line, "(whole file)", text)])


def _text(path: Path, name: str) -> str:
    """Return a file's text, which is UTF-8 without control characters."""
    with path.open("rb") as file:
        data = file.read(BYTES + 1)
    if len(data) > BYTES:
        raise _refusal(name, 1, f"found more than {BYTES:,} bytes; a config has at most so many")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"found the byte 0x{data[error.start]:02x}, which is not UTF-8; save it as UTF-8"
        raise _refusal(name, data.count(b"\n", 0, error.start) + 1, found) from None
    if odd := _CONTROL.search(text):
        found = f"found the control character U+{ord(odd[0]):04X}; allowed is text in UTF-8"
        raise _refusal(name, text.count("\n", 0, odd.start()) + 1, found)
    if without_secrets(text) != text:
        lines = enumerate(text.splitlines(), 1)
        line = next(number for number, line in lines if without_secrets(line) != line)
        found = f"found a token or password; crates hold this file: a token belongs into ${TOKEN}"
        raise _refusal(name, line, found)
    return text


def _limit(text: str, name: str) -> None:
    """Raise ConfigError where a file is deeper or larger than a config may be, aliases written out.

    PyYAML composes by recursion in C, which has no limit of its own.
    """
    nodes, sizes = 0, dict[str, int]()
    within: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, before = within.pop()
            sizes[anchor or ""] = nodes - before
            continue
        if isinstance(event, yaml.AliasEvent):
            if any(event.anchor == anchor for anchor, _ in within):
                raise _refusal(name, line, f"found *{event.anchor} inside of what it stands for")
            nodes += sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.NodeEvent):
            nodes += 1
            sizes[event.anchor or ""] = 1
        if isinstance(event, yaml.CollectionStartEvent):
            within.append((event.anchor, nodes - 1))
        if len(within) > DEPTH:
            raise _refusal(name, line, _TOO_DEEP)
        if nodes > NODES:
            text = f"found more than {NODES:,} values, aliases written out; allowed are so many"
            raise _refusal(name, line, text)


class _Reader:
    """Makes values of nodes, and records the line of each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.origins: dict[Location, tuple[str, int]] = {}
        self.problems: list[Problem] = []

    def complain(self, node: yaml.Node, path: Location, text: str) -> None:
        self.problems.append(Problem(self.name, node.start_mark.line + 1, dotted(path), text))

    def read(self, node: yaml.Node, path: Location = (), depth: int = 0) -> Any:
        """Return the value of a node; each alias becomes a value of its own."""
        self.origins.setdefault(path, (self.name, node.start_mark.line + 1))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        if depth > DEPTH:
            return self.complain(node, path, _TOO_DEEP)
        if node.tag not in (f"{_YAML}map", f"{_YAML}seq"):
            return self.tagged(node, path)
        if isinstance(node, yaml.SequenceNode):
            below = enumerate(node.value)
            return [self.read(value, (*path, index), depth + 1) for index, value in below]
        values = {}
        for name, (key, value) in self.pairs(node, path, depth).items():
            self.origins[*path, name] = (self.name, key.start_mark.line + 1)
            values[name] = self.read(value, (*path, name), depth + 1)
        return values

    def pairs(
        self, node: yaml.MappingNode, path: Location, depth: int
    ) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Return the nodes of a mapping's keys and values by key; `<<` lies under its own keys."""
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for source in reversed(sources):
                    if depth > DEPTH:
                        self.complain(key, path, _TOO_DEEP)
                    elif isinstance(source, yaml.MappingNode):
                        merged |= self.pairs(source, path, depth + 1)
                    else:
                        self.complain(key, (*path, "<<"), "takes a mapping, or a list of mappings")
            elif not isinstance(key, yaml.ScalarNode):
                self.complain(key, path, "found a list or mapping as a key; a key is text")
            elif key.tag != f"{_YAML}str":
                text = f'found the key {key.value}, which is no text; "{key.value}" in quotes is'
                self.complain(key, path, text)
            elif _CONTROL.search(key.value):
                self.complain(key, path, "found a key with a control character; allowed are none")
            elif key.value in own:
                text = "the key stands twice; each may stand once"
                self.complain(key, (*path, key.value), text)
            else:
                own[key.value] = (key, value)
        return merged | own

    def scalar(self, node: yaml.ScalarNode, path: Location) -> Any:
        """Return the value of a scalar."""
        tag = node.tag.removeprefix(_YAML)
        if tag == "str":
            if odd := _CONTROL.search(node.value):
                text = f"found the control character U+{ord(odd[0]):04X}; allowed is plain text"
                return self.complain(node, path, text)
            return node.value
        if tag not in _CORE or not re.fullmatch(_CORE[tag].pattern, node.value):
            return self.tagged(node, path)
        if tag == "int" and len(node.value) > DIGITS:
            text = f"found a number of {len(node.value)} digits; allowed are {DIGITS}, or quotes"
            return self.complain(node, path, text)
        return _CORE[tag].value(node.value)

    def tagged(self, node: yaml.Node, path: Location) -> None:
        shown = node.tag.replace(_YAML, "!!")
        text = f"found the tag {shown}; a config has plain text, numbers, true, false and null"
        self.complain(node, path, text)


def merge(files: list[ConfigFile], overrides: dict[str, Any]) -> ConfigFile:
    """Return the files laid over each other: mappings key by key, all else replaced.

    A source of another kind, such as a hub over a folder, replaces the one below it.
    """
    merged = ConfigFile({}, {(): (files[0].origins[()] if files else ("--config", 1))})
    said = _plain(overrides)
    for file in [*files, ConfigFile(said, _override_origins(said))]:
        replaced = set(_lay(merged.values, file.values))

        def new(path: Location, replaced: set[Location] = replaced) -> bool:
            return any(path[:length] in replaced for length in range(1, len(path) + 1))

        kept = {path: origin for path, origin in merged.origins.items() if not new(path)}
        added = {path: origin for path, origin in file.origins.items() if new(path)}
        merged.origins = kept | added
    return merged


def _plain(value: Any) -> Any:
    """Return a value of the command line, where Snakemake leaves all that is nested text."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        kinds = (kind for kind in _CORE.values() if re.fullmatch(kind.pattern, value))
        kind = next(kinds, None)
        return kind.value(value) if kind and len(value) <= DIGITS else value
    return value


def _override_origins(values: Any, path: Location = ()) -> dict[Location, tuple[str, int]]:
    origins = {path: ("--config", 1)} if path else {}
    for key, value in values.items() if isinstance(values, dict) else ():
        origins |= _override_origins(value, (*path, key))
    return origins


def _lay(target: dict[str, Any], source: dict[str, Any], path: Location = ()) -> Iterator[Location]:
    """Lay a mapping over another, in place; yield the places of what is replaced or new."""
    for key, value in source.items():
        below = target.get(key)
        if (
            isinstance(value, dict)
            and isinstance(below, dict)
            and not _is_another(key, value, below)
        ):
            yield from _lay(below, value, (*path, key))
        else:
            target[key] = value
            yield (*path, key)


def _is_another(key: str, value: dict[str, Any], below: dict[str, Any]) -> bool:
    """Return True if a mapping is a source of another kind than the one below it."""
    return key == "source" and bool(SOURCES & (value.keys() - below.keys()))
