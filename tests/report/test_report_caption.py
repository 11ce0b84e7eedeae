"""What stands below tables and figures: items, groups, intervals, seeds, versions."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.report import dpo, examples, results, sft, summary
from scripts.report.caption import statement, version_notes
from scripts.report.read import parse_plan, subjects_of
from scripts.report.render import Column, Table

TABLES = {"dpo": dpo, "examples": examples, "results": results, "sft": sft, "summary": summary}


def subjects(made):
    return subjects_of(made.root, parse_plan(json.dumps(made.plan)))


def written(module, made, folder: Path) -> dict[str, str]:
    paths = [folder / f"table.{form}" for form in ("csv", "md", "tex")]
    assert module.main(made.arguments(*paths)) == 0
    return {path.suffix[1:]: path.read_text(encoding="utf-8") for path in paths}


def test_a_caption_says_items_groups_intervals_and_seeds_of_what_its_table_holds(results, tmp_path):
    captions = {
        name: re.search(r"\\caption\{(.*)\}", written(module, results, tmp_path / name)["tex"])[1]
        for name, module in TABLES.items()
    }
    assert captions == {
        "dpo": r"Preference tuning. 114 items in 38 groups; 95 \% intervals: Wilson, by group; "
        "seed 0.",
        "examples": "Answers word for word. Seed 0.",
        "results": r"Results of preference tuning. 114 items in 38 groups; "
        r"95 \% intervals: Wilson, by group; seed 0.",
        "sft": r"Supervised fine-tuning. 57 to 120 items in 12 groups; "
        r"95 \% intervals: Wilson, by group; seed 0.",
        "summary": "Before and after: base model, supervised and preference tuning. "
        r"57 to 120 items in 12 to 38 groups; 95 \% intervals: Wilson, by group; seed 0.",
    }


def test_a_statement_names_only_what_is_there(empty_results, figures):
    empty_results.trial("one", "dpo", {}, seed=7)
    found = subjects(empty_results)
    assert statement(dpo.make(found), found) == "Seed 7."
    empty_results.trial("two", "dpo", figures["preferred"](), seed=2)
    found = subjects(empty_results)
    assert statement(dpo.make(found), found).endswith("by group; seeds 2, 7.")


def test_only_a_sample_that_has_groups_too_is_counted():
    """The comparison has a column of the items behind a claim; the caption counts ours."""
    names = ("claimed_n", "ours_n", "ours_groups", "ours_wilson_low")
    column = Column("", str, names, lambda row: row)
    table = Table("t", "T", (column,), [(5, 1140, 3, 0.1), (5, None, None, None)], [])
    assert statement(table, []) == "1,140 items in 3 groups; 95 % intervals: Wilson."


@pytest.mark.parametrize("name", TABLES)
def test_every_table_names_the_versions(name, results, tmp_path):
    text = written(TABLES[name], results, tmp_path)
    for form in ("md", "tex"):
        assert "Trained with torch 2.13.0+cu128, trl 1.14.2." in text[form]


def test_distinct_versions_are_listed_once_with_their_trials(empty_results):
    for name, torch in (("a", "2.13.0"), ("b", "2.12.0"), ("c", "2.13.0")):
        empty_results.trial(name, "sft", {}, outcome={"versions": {"torch": torch}})
    assert version_notes(subjects(empty_results)) == [
        "Trained with torch 2.13.0 (a, c); torch 2.12.0 (b)."
    ]


def test_no_versions_where_nothing_was_trained(empty_results, figures):
    empty_results.base("tutor", "Tutor", figures["generated"](2.0, 0.1, 0.5))
    empty_results.lookup("tutor", "Tutor", figures["looked_up"]())
    assert version_notes(subjects(empty_results)) == []


@pytest.mark.parametrize("name", TABLES)
def test_each_table_compiles_alone(name, results, tmp_path):
    compiler = shutil.which("pdflatex")
    if compiler is None:
        pytest.skip("pdflatex is not installed, so no table was compiled")
    (tmp_path / "table").mkdir()
    source = written(TABLES[name], results, tmp_path / "table")["tex"]
    (needed,) = re.findall(r"^% (\\usepackage.*)$", source, re.MULTILINE)
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\n{needed}\n\\begin{{document}}\n\\input{{table/table}}\n"
        "\\end{document}\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [compiler, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
