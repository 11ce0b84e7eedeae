"""Mutation tests: would the tests notice if a line that makes a number were wrong?

    make mutants

Changes one thing at a time in the modules below (an operator, a number, a condition, a result, a
statement; no text), and runs their tests. A mutant that fails a test is killed; one that passes
all of them survives. What was found is kept in logs/mutants.jsonl, so that a run that was stopped
resumes, and after a change of tests only survivors are tried again.
"""

import argparse
import ast
import hashlib
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOUND = ROOT / "logs" / "mutants.jsonl"

PAIRED = "tests/evaluate/test_paired.py"
TESTS = {
    "scripts/evaluate/answers.py": ["tests/evaluate/test_answers.py"],
    "scripts/evaluate/paired.py": [PAIRED],
    "scripts/evaluate/intervals.py": ["tests/evaluate/test_intervals.py", PAIRED],
    "scripts/common/wilson.py": ["tests/common/test_wilson.py"],
    "scripts/common/splits.py": ["tests/common/test_splits.py"],
    "scripts/data/prepare.py": ["tests/data/test_prepare.py"],
    "scripts/data/dialogues.py": ["tests/data/test_dialogues.py", "tests/data/test_prepare.py"],
    "scripts/common/columns.py": ["tests/common/test_columns.py"],
    "scripts/data/fetch.py": ["tests/data/test_fetch.py"],
}
"""The modules, and what tests each."""
LEFT_OUT = (
    f"{PAIRED}::test_two_thousand_tests_of_a_thousand_models_take_seconds",
    "tests/data/test_fetch.py::test_pairs_of_the_shape_of_hh_rlhf",
)
"""They take longest."""
IMPORTED = (
    "hypothesis", "pytest", "numpy", "scipy.stats", "statsmodels.stats.contingency_tables",
    "statsmodels.stats.multitest", "statsmodels.stats.proportion", "statsmodels.stats.weightstats",
    "pyarrow.parquet", "pydantic", "datasets",
)  # fmt: skip
"""Imported once, and not by each mutant's process."""
TIMES, SECONDS, BYTES = 5, 5, 8 << 30
"""A mutant gets so many times the processor time of the tests, and so many seconds more; and so
much memory. Whatever takes more is killed."""

# ----------------------------------------------------------------------------------------- mutants

COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what may stand in place of a node."""
    new: Any
    match node:
        case ast.Compare(left, ops, comparators):
            for place, op in enumerate(ops):
                for new in COMPARED[type(op)]:
                    yield ast.Compare(left, [*ops[:place], new(), *ops[place + 1 :]], comparators)
        case ast.BinOp(left, op, right) if type(op) in COMPUTED:
            yield ast.BinOp(left, COMPUTED[type(op)](), right)
        case ast.AugAssign(target, op, value) if type(op) in COMPUTED:
            yield ast.AugAssign(target, COMPUTED[type(op)](), value)
            yield ast.Pass()
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for place in range(len(values)):
                rest = [*values[:place], *values[place + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(op, rest)
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield operand
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case ast.Call(ast.Name(name), args, keywords) if name in CALLED:
            yield ast.Call(ast.Name(CALLED[name], ast.Load()), args, keywords)
        case ast.Return(value) if value and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.If(_, body, orelse):
            yield from (ast.If(ast.Constant(it), body, orelse) for it in (True, False))
        case ast.IfExp(_, body, orelse):
            yield from (body, orelse)
        case ast.comprehension(target, iter, [_, *_] as tests, is_async):
            for place in range(len(tests)):
                rest = [*tests[:place], *tests[place + 1 :]]
                yield ast.comprehension(target, iter, rest, is_async)
        case ast.Raise() | ast.Expr():
            yield ast.Pass()
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Assign([target], value) if _is_a_change(target, value):
            yield ast.Pass()


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_a_change(target: ast.AST, value: ast.AST) -> bool:
    """Return True if what is assigned to had a value before."""
    names = {it.id for it in ast.walk(value) if isinstance(it, ast.Name)}
    return not isinstance(target, ast.Name | ast.Tuple) or getattr(target, "id", "") in names


def _is_text(node: ast.AST) -> bool:
    """Return True for text, and for a sum or statement that is nothing but text."""
    match node:
        case ast.Constant(str()) | ast.JoinedStr():
            return True
        case ast.BinOp(left, ast.Add(), right):
            return _is_text(left) or _is_text(right)
        case ast.Expr(value):
            return _is_text(value)
    return False


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """Yield where a node stands that may be changed: its parent, the field, the place in a list."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases", "type_params"):
            continue
        for place, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_text(child):
                continue
            # What is run by Python's type checker, or as a program.
            if isinstance(child, ast.If) and ast.unparse(child.test).startswith(("TYPE", "__name")):
                continue
            yield node, name, place
            # An error's own expressions are its message.
            if not isinstance(child, ast.Raise):
                yield from places(child)


@dataclass
class Mutant:
    """A module with one change."""

    path: str
    line: int
    change: str
    code: CodeType = field(repr=False)
    digest: str


def mutants(path: str) -> Iterator[Mutant]:
    """Yield the mutants of a module, in its order."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    seen: set[str] = set()
    for parent, name, place in list(places(tree)):
        holder: Any = parent.__dict__ if place is None else getattr(parent, name)
        at: Any = name if place is None else place
        node = holder[at]
        for new in variants(node):
            holder[at] = ast.copy_location(new, node) if hasattr(node, "lineno") else new
            line = getattr(node, "lineno", None) or getattr(node, "target", parent).lineno
            code = compile(ast.fix_missing_locations(tree), str(ROOT / path), "exec")
            digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
            holder[at] = node
            # Two changes can come to the same.
            if digest not in seen:
                seen.add(digest)
                yield Mutant(path, line, f"{_shown(node)} → {_shown(new)}", code, digest)


def _shown(node: ast.AST) -> str:
    """Return the first line of a node's code."""
    text = ast.unparse(node).strip().splitlines()[0]
    return text if len(text) <= 70 else f"{text[:69]}…"


# --------------------------------------------------------------------------------------- processes


class Instead:
    """Imports one module from code instead of its file."""

    def __init__(self, mutant: Mutant):
        self.mutant = mutant
        self.name = mutant.path.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        if name != self.name:
            return None
        return spec_from_file_location(name, ROOT / self.mutant.path, loader=self)  # type: ignore

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.mutant.code, module.__dict__)


def passes(tests: Sequence[str], mutant: Mutant | None, seconds: int) -> tuple[bool, float]:
    """Return True if a module's tests pass in a process of their own, and its processor time."""
    child = os.fork()
    if not child:
        code = 3
        try:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(null, stream)
            os.setpgid(0, 0)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
            resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
            if mutant:
                sys.meta_path.insert(0, Instead(mutant))  # type: ignore[arg-type]
            import pytest

            left_out = [f"--deselect={name}" for name in LEFT_OUT]
            code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *left_out, *tests])
        finally:
            os._exit(code)
    _, status, used = os.wait4(child, 0)
    return status == 0, used.ru_utime + used.ru_stime


def digest_of(paths: Sequence[str]) -> str:
    """Return a digest of files' contents."""
    return hashlib.sha256(b"".join((ROOT / it).read_bytes() for it in paths)).hexdigest()


# ------------------------------------------------------------------------------------ command line


def main() -> int:
    """Try all mutants of some modules, and print which share was killed, and what survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="module", help="as in TESTS")
    asked = parser.parse_args()
    # As tests/conftest.py has it.
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in IMPORTED:
        importlib.import_module(name)
    FOUND.parent.mkdir(exist_ok=True)
    FOUND.touch()
    lines = map(json.loads, FOUND.read_text(encoding="utf-8").splitlines())
    # Of a survivor only with the same tests.
    found = {(row["digest"], row["tests"] if row["survived"] else ""): row for row in lines}
    shares, survivors = [], []
    for path in asked.modules or TESTS:
        tests, every = TESTS[path], list(mutants(path))
        with_tests, start = digest_of([it.partition("::")[0] for it in tests]), time.monotonic()
        fine, base = passes(tests, None, 600)
        if not fine:
            print(f"error: {path}: its tests fail without any change", file=sys.stderr)
            return 1
        survived = 0
        for number, mutant in enumerate(every, 1):
            row = found.get((mutant.digest, "")) or found.get((mutant.digest, with_tests))
            if not row:
                fine, used = passes(tests, mutant, int(TIMES * base) + SECONDS)
                row = {"path": path, "line": mutant.line, "change": mutant.change, "seconds": used,
                       "survived": fine, "digest": mutant.digest, "tests": with_tests}  # fmt: skip
                with FOUND.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
            if row["survived"]:
                survived += 1
                survivors.append(f"{path}:{mutant.line}: {mutant.change}")
            if number % 20 == 0 or number == len(every):
                minutes = (time.monotonic() - start) / 60
                print(f"{path}: {number} of {len(every)}, {survived} survived, {minutes:.1f} min",
                      flush=True)  # fmt: skip
        shares.append((path, len(every) - survived, len(every)))
    print("\nsurvivors:", *survivors, "", sep="\n")
    shares.append(("all", sum(it[1] for it in shares), sum(it[2] for it in shares)))
    for path, killed, count in shares:
        print(f"{path}: {killed} of {count} killed, {killed / count:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
