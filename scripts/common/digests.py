"""Digests that stand for code and environment in a rule's params.

A job reruns when a digest changes. So a digest must change when a result could, and must not when
only the clock, a comment, a docstring or the layout of a file did.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from scripts.common.environment import form_files

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "scripts"


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
    for path in sorted(_closure(ROOT / module)):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0")
        digest.update(_syntax_digest(path).encode())
    return digest.hexdigest()[:16]


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
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def _imports(path: Path) -> frozenset[Path]:
    """Returns the project files that a module imports anywhere, in functions too."""
    names: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(file for name in names for file in _files(name))


def _files(name: str) -> Iterator[Path]:
    """Yields the files that an import of a dotted name runs, its packages included."""
    parts = name.split(".")
    if parts[0] != PACKAGE:
        return
    for length in range(1, len(parts) + 1):
        base = ROOT.joinpath(*parts[:length])
        yield from (p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file())


@cache
def _syntax_digest(path: Path) -> str:
    return hashlib.sha256(json.dumps(_plain(_tree(path))).encode()).hexdigest()


def _plain(node: object) -> object:
    """Returns a syntax tree as nested lists.

    Positions and docstrings are left out, and so are empty fields, because newer Pythons add
    fields that are empty for older code.
    """
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


def _without_docstring(node: ast.AST) -> ast.AST:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        first = node.body[0] if node.body else None
        if isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str):
            rest = {field: getattr(node, field, None) for field in node._fields}
            return type(node)(**rest | {"body": node.body[1:]})
    return node
