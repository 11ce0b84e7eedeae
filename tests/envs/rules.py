"""The rules in rules/: which modules each runs, and in which env."""

import ast
import re
from dataclasses import dataclass

from scripts.common.methods import METHODS
from tests.conftest import ROOT

COMMON = ast.parse((ROOT / "rules" / "common.smk").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Rule:
    """A rule that runs modules, the env that it names, and the modules."""

    name: str
    env: str | None
    modules: tuple[str, ...]


def rules() -> list[Rule]:
    """Return every rule with a shell command."""
    found = []
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for text in re.split(r"^rule ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            if "    shell:" in text:
                env = re.search(r'conda:\s+env_file\("(\w+)"\)', text)
                called = text.replace(" job(", " python -m scripts.provenance.job ")
                named = re.findall(r"python -m (scripts\.[\w.]+(?:\{wildcards\.\w+\})?)", called)
                # A trainer may be started by another program, and is then no word of the command.
                digested = re.findall(r'code_digest\("([\w/]+)\.py"\)', text)
                named += [path.replace("/", ".") for path in digested]
                if "trainer(" in text:
                    named += [method.trainer for method in METHODS.values()]
                modules = tuple(dict.fromkeys(it for name in named for it in spelled_out(name)))
                found.append(Rule(text.partition(":")[0], env and env[1], modules))
    return found


def spelled_out(name: str) -> list[str]:
    """Return the modules that a name in a rule stands for; a wildcard stands for several."""
    wildcard = re.search(r"\{wildcards\.(\w+)\}", name)
    if not wildcard:
        return [name]
    return [name.replace(wildcard[0], value) for value in keys_of(f"{wildcard[1].upper()}S")]


def keys_of(constant: str) -> list[str]:
    """Return the keys of a mapping that rules/common.smk defines."""
    values = [
        node.value
        for node in COMMON.body
        if isinstance(node, ast.Assign) and node.targets[0].id == constant
    ]
    return [key.value for key in values[0].keys]
