"""A rule's modules import nothing that the rule's env lacks, also indirectly and in functions.

tests/workflow/test_conda.py shows the same by running rules in their envs.
"""

import ast
import re
import sys
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from scripts.provenance.digests import code_files
from scripts.provenance.environment import ACCELERATORS, locked
from tests.conftest import ROOT
from tests.envs.rules import Rule, rules

# The packages that provide a name that can be imported. The launcher has those of all envs.
PROVIDERS = packages_distributions()


def imports(module: str) -> set[str]:
    """Return the names of all packages that a module imports, except Python's own and ours."""
    files = code_files(f"{module.replace('.', '/')}.py")
    names = {name for path in files for name in imported(ROOT / path)}
    return names - sys.stdlib_module_names - {"scripts"}


@cache
def imported(path: Path) -> set[str]:
    """Return the names of all packages that a file imports."""
    tree = ast.parse(path.read_bytes())
    left_out = for_types_alone(tree)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and node not in left_out:
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node not in left_out:
            names.add(node.module)
    return {name.partition(".")[0] for name in names}


def for_types_alone(tree: ast.Module) -> set[ast.AST]:
    """Return the nodes below `if TYPE_CHECKING`, which never run."""
    return {
        inner
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }


def lacking(rule: Rule, accelerator: str) -> set[str]:
    """Return the names that a rule's modules import and that no package of its env provides."""
    present = {name for name, _, _ in locked(rule.env, accelerator)}
    wanted = {name for module in rule.modules for name in imports(module)}
    return {name for name in wanted if not present & providers(name)}


def providers(name: str) -> set[str]:
    """Return the packages that provide a name, as locks write them."""
    return {re.sub(r"[-_.]+", "-", it).lower() for it in PROVIDERS.get(name, [name])}


RULES = rules()


def test_rules_and_what_they_import_are_found() -> None:
    """Otherwise the tests below would pass."""
    by_name = {rule.name: rule for rule in RULES}
    assert len(by_name) >= 20
    assert all("scripts.provenance.job" in rule.modules for rule in RULES)
    assert "scripts.report.tables.cost" in by_name["table"].modules
    assert "scripts.train.dpo" in by_name["train"].modules
    assert {"torch", "trl", "unsloth", "pyarrow"} <= imports("scripts.train.dpo")
    assert lacking(Rule("none", "report", ("scripts.train.dpo",)), "cpu") >= {"torch", "trl"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_imports_what_its_env_has(rule: Rule) -> None:
    assert rule.env is not None
    assert rule.modules
    for accelerator in ACCELERATORS:
        assert lacking(rule, accelerator) == set()


def test_only_rules_that_fetch_turn_the_hub_on() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "rules").glob("*.smk")]
    assert sum(text.count("HF_HUB_OFFLINE=1") for text in texts) == 1
    found = [rule for text in texts for rule in re.split(r"^rule ", text, flags=re.MULTILINE)[1:]]
    on = {rule.partition(":")[0] for rule in found if "HF_HUB_OFFLINE=0" in rule}
    assert on == {"fetch_dataset", "fetch_tokenizer", "fetch_model"}
