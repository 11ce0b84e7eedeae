"""Digests change only with what a module does."""

import ast
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.common.methods import METHODS
from scripts.provenance import digests
from scripts.report.catalog import FIGURES, TABLES

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


def test_what_is_imported_for_types_only_does_not_count(project: Path) -> None:
    text = "if TYPE_CHECKING:\n    import scripts.helper\n\n\ndef double(x):\n    return 2 * x\n"
    before = digest_after(project, "module.py", text)
    assert digest_after(project, "helper.py", HELPER.replace("a + b", "b + a")) == before


REGISTRIES = {
    f"scripts/{name}.py" for name in ("common/methods", "common/metrics", "report/catalog")
}


@pytest.mark.parametrize(
    ("modules", "never"),
    [
        ([it.trainer for it in METHODS.values()], REGISTRIES),
        (["scripts.train.reference", "scripts.evaluate.score"], REGISTRIES),
        (["scripts.evaluate.measure", "scripts.evaluate.compare"], REGISTRIES),
        ([f"scripts.report.tables.{it}" for it in TABLES], {"scripts/report/catalog.py"}),
        ([f"scripts.report.figures.{it}" for it in FIGURES], {"scripts/report/catalog.py"}),
    ],
)
def test_no_job_depends_on_lists_that_it_does_not_read(modules: list[str], never: set[str]) -> None:
    """A label edited in a registry must retrain nothing, nor one more table remake the others."""
    for module in modules:
        files = digests.code_files(f"{module.replace('.', '/')}.py")
        assert not never & files.keys(), module


def test_an_unrelated_module_does_not_change_the_digest(project: Path) -> None:
    before = digests.code_digest("scripts/module.py")
    assert digest_after(project, "other.py", "x = 1\n") == before


def test_the_digest_does_not_depend_on_the_python_version() -> None:
    """All versions of Python must compute this one."""
    code = "def f(a, *, b=1):\n    return f'{a!r}' + 'x'\n"
    text = json.dumps(digests._plain(ast.parse(code)))
    assert hashlib.sha256(text.encode()).hexdigest()[:12] == "0228acf31664"
