"""The rules in rules/: which modules each runs, and in which env."""

import re
from dataclasses import dataclass

from scripts.common.methods import METHODS
from scripts.report.catalog import FIGURES, TABLES
from tests.conftest import ROOT

REPORTS = {"tables": TABLES, "figures": FIGURES}


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
                named = re.findall(r"python -m (scripts\.[\w.]+\w)(?=\s)", called)
                # A trainer may be started by another program, and is then no word of the command.
                digested = re.findall(r'code_digest\("([\w/]+)\.py"\)', text)
                named += [path.replace("/", ".") for path in digested]
                if ".trainer_file" in text:
                    named += [method.trainer for method in METHODS.values()]
                for folder, entries in REPORTS.items():
                    if f"scripts.report.{folder}.{{wildcards" in text:
                        named += [f"scripts.report.{folder}.{name}" for name in entries]
                modules = tuple(dict.fromkeys(named))
                found.append(Rule(text.partition(":")[0], env and env[1], modules))
    return found
