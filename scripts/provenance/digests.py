"""Digests that stand for code and environment in a rule's params.

A job reruns when a digest changes. So a digest must change when a result could, and must not when
only the clock, a comment, a docstring or the layout of a file did.

To parse all that a rule's module imports takes a third of a second, and each job asks for it: what
was found out about a file's content is kept in Snakemake's own folder, by the content's SHA-256.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from scripts.common.files import write_text

if TYPE_CHECKING:
    import ast

from scripts.provenance.environment import form_files

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "scripts"
KEPT = Path(".snakemake", "code.json")
"""What is known of files by their content; kept where there is such a folder."""
NEW: set[str] = set()
"""The contents that this process parsed and has not kept yet."""


class Parsed(NamedTuple):
    """What a digest needs to know of a file."""

    digest: str
    """Of its syntax tree."""
    imports: list[str]
    """The project's names that it imports anywhere, in functions too."""


def code_digest(module: str) -> str:
    """Returns the digest of a module and of every project module that it imports.

    Parameters
    ----------
    module
        Path below the project's root, such as ``scripts/train/dpo.py``.

    Raises
    ------
    FileNotFoundError
        When there is no such module.
    """
    digest = hashlib.sha256()
    for path, own in code_files(module).items():
        digest.update(path.encode() + b"\0")
        digest.update(own.encode())
    return digest.hexdigest()[:16]


def code_files(module: str) -> dict[str, str]:
    """Returns the digest of a module and of each that it imports, by path below the root."""
    found = {
        path.relative_to(ROOT).as_posix(): _parsed(path).digest
        for path in sorted(_closure(ROOT / module))
    }
    _keep()
    return found


def read_sources() -> dict[Path, bytes]:
    """Returns the content of every module of the project, which digests then are of.

    So that a job's digest is of the code with which it began, whenever it is asked for.
    """
    return {path: _source(path) for path in (ROOT / PACKAGE).rglob("*.py")}


def forget() -> None:
    """Lets the next digest be of what files hold then."""
    for function in (_source, _parsed, _closure, _imports, _files):
        function.cache_clear()


def env_digest(env: str, accelerator: str) -> str:
    """Returns the digest of the form of a stage's env that an accelerator asks for, lock included.

    Raises
    ------
    FileNotFoundError
        When there is no such environment.
    """
    contents = b"\0".join(path.read_bytes() for path in form_files(env, accelerator))
    return hashlib.sha256(contents).hexdigest()[:16]


@cache
def _closure(module: Path) -> frozenset[Path]:
    """Returns the files of a module and of all project modules that it reaches by imports."""
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
    """Returns the project files that a module imports."""
    return frozenset(file for name in _parsed(path).imports for file in _files(name))


@cache
def _source(path: Path) -> bytes:
    return path.read_bytes()


@cache
def _parsed(path: Path) -> Parsed:
    source = _source(path)
    content = hashlib.sha256(source).hexdigest()
    known = _known()
    if content not in known:
        known[content] = _parse(source, str(path))
        NEW.add(content)
    return Parsed(**known[content])


def _parse(source: bytes, name: str) -> dict[str, Any]:
    """Returns the fields of `Parsed`."""
    import ast

    tree = ast.parse(source, filename=name)
    names: set[str] = set()
    for node in ast.walk(tree):
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
def _known() -> dict[str, dict[str, Any]]:
    """Returns what is known of files by their content; what an earlier process kept, at first."""
    try:
        found = json.loads(KEPT.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found["known"] if found.get("by") == _maker() else {}


def _keep() -> None:
    """Keeps what this process found out, if anything, for the next."""
    known = _known()
    if NEW and KEPT.parent.is_dir():
        write_text(KEPT, json.dumps({"by": _maker(), "known": known}))
        NEW.clear()


@cache
def _maker() -> str:
    """Returns what tells one way to digest from another: this file."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


@cache
def _files(name: str) -> tuple[Path, ...]:
    """Returns the files that an import of a dotted name runs, its packages included."""
    package, _, _ = name.rpartition(".")
    base = ROOT.joinpath(*name.split("."))
    own = (base.with_suffix(".py"), base / "__init__.py")
    return (*(_files(package) if package else ()), *(path for path in own if path.is_file()))


def _plain(node: object) -> object:
    """Returns a syntax tree as nested lists.

    Positions and docstrings are left out, and so are empty fields, because newer Pythons add
    fields that are empty for older code.
    """
    import ast

    if isinstance(node, ast.AST):
        fields = [
            [name, _plain(value)]
            for name, value in ast.iter_fields(_without_docstring(node))
            if value is not None and value != [] and name != "kind"
        ]
        return [type(node).__name__, fields]
    if isinstance(node, list):
        return [_plain(item) for item in node]
    return repr(node)


def _without_docstring(node: "ast.AST") -> "ast.AST":
    import ast

    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            rest = {field: getattr(node, field, None) for field in node._fields}
            return type(node)(**rest | {"body": node.body[1:]})
    return node
