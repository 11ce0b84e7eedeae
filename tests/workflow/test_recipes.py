"""The recipes of docs/architecture.md, followed word by word in a copy of the project."""

import json
import re
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from scripts.common.files import read_jsonl, write_jsonl
from tests.conftest import ROOT
from tests.workflow.conftest import CUT_DOWN, Project

RESULTS = "results/demo"
MOST = {"metric": 2, "table": 2, "figure": 2, "data format": 2, "backend": 2, "method": 4}
"""How many files a recipe may touch."""
STEP = re.compile(
    r"^(?:New file `(?P<new>[^`]+)`|In `(?P<file>[^`]+)`, (?P<how>after|before|instead of) "
    r"`(?P<line>[^\n]+)`|In the (?P<config>config)):\n\n```\w+\n(?P<text>.*?)```$",
    re.MULTILINE | re.DOTALL,
)
RESULT = re.compile(r"^Result: `([^`]+)` in `([^`]+)`\.$", re.MULTILINE)


@dataclass(frozen=True)
class Recipe:
    """A recipe: what to write into which file and into the config, and the expected result."""

    steps: list[dict[str, str]]
    config: dict[str, Any]
    shown: str
    result: str

    @property
    def files(self) -> set[str]:
        """Return the files that the recipe touches."""
        return {step["new"] or step["file"] for step in self.steps}

    def follow(self, project: Project) -> None:
        """Write what the recipe says."""
        for step in self.steps:
            path = project.folder / (step["new"] or step["file"])
            if step["new"]:
                assert not path.exists()
                path.write_text(step["text"], encoding="utf-8")
                continue
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            (place,) = [n for n, line in enumerate(lines) if line.strip() == step["line"]]
            start, end = {
                "after": (place + 1, place + 1),
                "before": (place, place),
                "instead of": (place, place + 1),
            }[step["how"]]
            lines[start:end] = [step["text"]]
            path.write_text("".join(lines), encoding="utf-8")

    def came_out(self, project: Project) -> None:
        """Check that the result is there."""
        text = (project.folder / RESULTS / self.result).read_text(encoding="utf-8")
        assert self.shown in text


def recipes() -> dict[str, Recipe]:
    """Return the recipes, by the kind of thing they add."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    found = {}
    for part in text.split("\n### Add a ")[1:]:
        steps = [step.groupdict() for step in STEP.finditer(part)]
        # Every code block belongs to a step.
        assert len(steps) == part.count("\n```\n")
        said = [yaml.safe_load(step["text"]) for step in steps if step["config"]]
        ((shown, result),) = RESULT.findall(part)
        code = [step for step in steps if not step["config"]]
        found[part.splitlines()[0]] = Recipe(code, said[0] if said else {}, shown, result)
    return found


RECIPES = recipes()


def test_a_recipe_touches_few_files() -> None:
    assert RECIPES.keys() == MOST.keys()
    for name, recipe in RECIPES.items():
        assert len(recipe.files) <= MOST[name], name


def test_a_metric_a_table_and_a_figure(rerun: Project) -> None:
    followed = [RECIPES[name] for name in ("metric", "table", "figure")]
    for recipe in followed:
        recipe.follow(rerun)
    rerun.run(*(f"{RESULTS}/{recipe.result}" for recipe in followed), *CUT_DOWN)
    for recipe in followed:
        recipe.came_out(rerun)
    assert (rerun.folder / RESULTS / "figures" / "pace.png").stat().st_size > 1000


def laid_over(one: Any, other: Any) -> Any:
    """Return two configurations as one, with the trials of both."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = dict.fromkeys([*one, *other])
        return {key: laid_over(one.get(key), other.get(key)) for key in keys}
    if isinstance(one, list) and isinstance(other, list):
        return one + other
    return one if other is None else other


@pytest.mark.all
def test_a_data_format_a_backend_and_a_method(rerun: Project) -> None:
    followed = [RECIPES[name] for name in ("data format", "backend", "method")]
    config: Any = {"experiments": {"tutor": {"enabled": False}}}
    demo = yaml.safe_load((rerun.folder / "demo/config.yaml").read_text(encoding="utf-8"))
    phase = demo["experiments"]["headlines"]["preference"]
    trials = [phase["trials"][0] | {"max_steps": 3}]
    config["experiments"]["headlines"] = {"preference": {"trials": trials}}
    for recipe in followed:
        recipe.follow(rerun)
        config = laid_over(config, recipe.config)
    rows = read_jsonl(rerun.folder / "demo/corpora/titles.jsonl")
    ranked = [
        {
            "prompt": row["prompt"][-1]["content"],
            "responses": [row[role][-1]["content"] for role in ("chosen", "rejected")],
        }
        for row in rows
    ]
    write_jsonl(rerun.folder / "ranked.jsonl", ranked)
    (rerun.folder / "recipes.yaml").write_text(json.dumps(config), encoding="utf-8")
    rerun.run(f"{RESULTS}/tables/dpo.csv", *CUT_DOWN, "recipes.yaml")
    for recipe in followed:
        recipe.came_out(rerun)
