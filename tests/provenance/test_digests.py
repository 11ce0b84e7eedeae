"""Digests change only with what a module does."""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.provenance import digests

MODULE = '''"""What it does."""
import scripts.helper


def double(x):
    """Returns twice x."""
    return scripts.helper.add(x, x)
'''
HELPER = "def add(a, b):\n    return a + b\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield a project of two modules, for which digests are computed."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "scripts" / "module.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "scripts" / "helper.py").write_text(HELPER, encoding="utf-8")
    monkeypatch.setattr(digests, "ROOT", tmp_path)
    digests.forget()
    yield tmp_path
    digests.forget()


def digest_after(project: Path, name: str, text: str) -> str:
    (project / "scripts" / name).write_text(text, encoding="utf-8")
    digests.forget()
    return digests.code_digest("scripts/module.py")


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\n" + MODULE,
        MODULE.replace("What it does", "What else it does").replace("Returns twice", "Doubles"),
        MODULE.replace("add(x, x)", "add(\n        x,\n        x,\n    )"),
    ],
    ids=["comment", "docstring", "layout"],
)
def test_what_cannot_change_a_result_does_not_change_the_digest(project: Path, text: str) -> None:
    before = digests.code_digest("scripts/module.py")
    assert digest_after(project, "module.py", text) == before


def test_a_changed_line_changes_the_digest(project: Path) -> None:
    before = digests.code_digest("scripts/module.py")
    assert digest_after(project, "module.py", MODULE.replace("x, x", "x, 2")) != before


@pytest.mark.parametrize(
    "line",
    [
        "from scripts import helper",
        "from scripts.helper import add",
        "def late():\n    import scripts.helper",
    ],
)
def test_a_changed_import_changes_the_digest_however_it_is_imported(
    project: Path, line: str
) -> None:
    text = MODULE.replace("import scripts.helper", line)
    before = digest_after(project, "module.py", text)
    assert digest_after(project, "helper.py", HELPER.replace("a + b", "b + a")) != before


def test_an_unrelated_module_does_not_change_the_digest(project: Path) -> None:
    before = digests.code_digest("scripts/module.py")
    assert digest_after(project, "other.py", "x = 1\n") == before


def test_the_digest_does_not_depend_on_the_python_version() -> None:
    """All versions of Python must compute this one."""
    code = "def f(a, *, b=1):\n    return f'{a!r}' + 'x'\n"
    text = json.dumps(digests._plain(ast.parse(code)))
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "0228acf31664"


def test_an_env_digest_covers_the_lock() -> None:
    data, train = digests.env_digest("data", "cuda"), digests.env_digest("train", "cuda")
    assert data != train
    with pytest.raises(FileNotFoundError):
        digests.env_digest("none", "cuda")
