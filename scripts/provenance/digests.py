"""Digests of code, which rules have among their params.

A job reruns when a digest changes. A digest must therefore change whenever a result could, and must
not change with a file's time, a comment, a docstring or a file's layout.

Parsing everything that a rule's module imports takes a third of a second, for each job. What was
learned about a file's content is therefore cached in Snakemake's folder, by the content's SHA-256.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from scripts.common.files import ROOT, write_text

PACKAGE = "scripts"
CACHE = Path(".snakemake", "code.json")
"""The cache, used if its folder exists."""
NEW: set[str] = set()
"""Contents that this process parsed and has not written to the cache yet."""


class Parsed(NamedTuple):
    """What a digest depends on in a file."""

    digest: str
    """The digest of its syntax tree."""
    imports: list[str]
    """The project's names that it imports, inside functions too, but for types."""


def code_digest(module: str) -> str:
    """Return the digest of a module and of every project module that it imports.

    Parameters
    ----------
    module
        Path below the project's root, such as ``scripts/train/dpo.py``.

    Raises
    ------
    FileNotFoundError
        If there is no such module.
    """
    digest = hashlib.sha256()
    for path, own in code_files(module).items():
        digest.update(path.encode() + b"\0")
        digest.update(own.encode())
    return digest.hexdigest()[:16]


def code_files(module: str) -> dict[str, str]:
    """Return the digests of a module and of each that it imports, by path below the root."""
    found = {
        path.relative_to(ROOT).as_posix(): _parsed(path).digest
        for path in sorted(_closure(ROOT / module))
    }
    _write_cache()
    return found


def read_sources() -> dict[Path, bytes]:
    """Return the content of every module of the project, and use it for all later digests.

    A job's digest is then that of the code it started with, whenever it is computed.
    """
    return {path: _source(path) for path in (ROOT / PACKAGE).rglob("*.py")}


def forget() -> None:
    """Empty the caches in memory, so that files are read again."""
    for function in (_source, _parsed, _closure, _imports, _files):
        function.cache_clear()


@cache
def _closure(module: Path) -> frozenset[Path]:
    """Return the files of a module and of all project modules that it imports, also indirectly."""
    found = {module}
    waiting = [module]
    while waiting:
        for path in _imports(waiting.pop()):
            if path not in found:
                found.add(path)
                waiting.append(path)
    return frozenset(found)


@cache
def _imports(path: Path) -> frozenset[Path]:
    """Return the project files that a module imports directly."""
    return frozenset(file for name in _parsed(path).imports for file in _files(name))


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _parsed(path: Path) -> Parsed:
    source = _source(path)
    content = hashlib.sha256(source).hexdigest()
    known = _cached()
    if content not in known:
        known[content] = _parse(source, str(path))
        NEW.add(content)
    return Parsed(**known[content])


def _parse(source: bytes, name: str) -> dict[str, Any]:
    """Return the fields of `Parsed`."""
    import ast

    tree = ast.parse(source, filename=name)
    # What is imported for a type checker only never runs.
    types_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for statement in block.body
        for node in ast.walk(statement)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if node in types_only:
            continue
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {
        "digest": hashlib.sha256(json.dumps(_plain(tree)).encode()).hexdigest(),
        "imports": sorted(it for it in names if it.split(".")[0] == PACKAGE),
    }


@cache
def _cached() -> dict[str, dict[str, Any]]:
    """Return the fields of `Parsed` by file content, as read from the cache at first."""
    try:
        found = json.loads(CACHE.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found["known"] if found.get("by") == _own_digest() else {}


def _write_cache() -> None:
    """Write what this process learned, if anything, for the next one."""
    if NEW and CACHE.parent.is_dir():
        write_text(CACHE, json.dumps({"by": _own_digest(), "known": _cached()}))
        NEW.clear()


@cache
def _own_digest() -> str:
    """Return the digest of this file: another version of it may compute other digests."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


@cache
def _files(name: str) -> tuple[Path, ...]:
    """Return the files that importing a dotted name runs, including its packages' `__init__`."""
    package, _, _ = name.rpartition(".")
    base = ROOT.joinpath(*name.split("."))
    own = (base.with_suffix(".py"), base / "__init__.py")
    return (*(_files(package) if package else ()), *(path for path in own if path.is_file()))


def _plain(node: object) -> object:
    """Return a syntax tree as nested lists, the same in every version of Python.

    Positions and docstrings are left out. So are empty fields: newer versions of Python add fields,
    which are empty for older code. `ast.dump` and `ast.unparse` differ between versions.
    """
    import ast

    if isinstance(node, ast.AST):
        fields = [
            [name, _plain(value[1:] if name == "body" and _has_docstring(node) else value)]
            for name, value in ast.iter_fields(node)
            if value is not None and value != [] and name != "kind"
        ]
        return [type(node).__name__, [field for field in fields if field[1] != []]]
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return repr(node)


def _has_docstring(node: object) -> bool:
    import ast

    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    first = node.body[0] if node.body else None
    return isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
