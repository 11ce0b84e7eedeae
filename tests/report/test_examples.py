"""The table of examples: which answers it shows, and that any text survives every format."""

import csv
import io
import re
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.report.tables import examples

FORMS = ("csv", "md", "tex")
HOSTILE = (
    "one | two\n`code` *bold* <b>html</b> &amp; [link](http://x) ![image](y)\n\n$x^2$ # 50 % {a}_b "
    '\\end{table} ~ “quoted” 🎉 a\u200bb\x07 été\r\n[0] * last, "said"'
)


def written(made, folder: Path) -> dict[str, str]:
    paths = [folder / f"examples.{form}" for form in FORMS]
    assert examples.main(made.arguments(*paths)) == 0
    return {path.suffix[1:]: path.read_bytes().decode() for path in paths}


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_prompts_by_models(results, tmp_path):
    rows = records(written(results, tmp_path)["csv"])
    assert [(row["id"], row["trial"], row["seed"], row["text"]) for row in rows] == [
        ("q0", "tiny_llama", "", "5"),
        ("q0", "sft_1", "0", "It is 5.\n#### 5"),
        ("q1", "tiny_llama", "", "7"),
        ("q1", "sft_1", "0", "7 | `x`"),
    ]
    assert {row["set"] for row in rows} == {"problems"}
    assert [row["prompt"] for row in rows] == ["Ask q0", "Ask q0", "Ask q1", "Ask q1"]
    assert [row["tokens"] for row in rows] == ["1", "5", "1", "3"]
    assert {row["stop"] for row in rows} == {"eos"}


def test_people_read_a_prompt_once_and_how_it_was_answered(results, tmp_path):
    text = written(results, tmp_path)["md"]
    assert text.count("Ask q0") == text.count("Ask q1") == 1
    assert "| It is 5.<br>\\#\\#\\#\\# 5 |" in text
    assert "| tiny\\_llama (base) |" in text
    assert "- Prompts problems: test split of word-problems, greedy, at most 100 new" in text


def test_only_shown_sets_and_trials(results, figures, tmp_path):
    second = figures["answered"]("examples", "later")
    results.trial("sft_9", "sft", {}, answers=second, sets={"examples": {}})
    assert {row["trial"] for row in records(written(results, tmp_path)["csv"])} == {
        "tiny_llama", "sft_1",
    }  # fmt: skip


def test_a_trial_that_stands_in_no_list_of_methods_is_shown(results, tmp_path):
    for part in results.plan:
        part["trials"] = {}
    assert len(records(written(results, tmp_path)["csv"])) == 4


def test_nothing_to_show(results, tmp_path):
    for part in results.plan:
        part["shown"] = {}
    texts = written(results, tmp_path)
    assert records(texts["csv"]) == []
    assert r"\end{table}" in texts["tex"]


@pytest.fixture
def hostile(empty_results, figures, tmp_path) -> dict[str, str]:
    """Return three formats of a table with a text that could break each of them."""
    answers = figures["answered"]("problems", HOSTILE, "")
    empty_results.base("tutor", "Tutor", figures["generated"](1.0, 0.1, 0.5), answers=answers)
    empty_results.show("tutor", "problems")
    return written(empty_results, tmp_path)


def test_csv_holds_any_text_as_it_is(hostile):
    assert [row["text"] for row in records(hostile["csv"])] == [HOSTILE, ""]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("＝1+1", "'＝1+1"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("1=1", "1=1"),
        (" =1", " =1"),
        ("'=1", "'=1"),
    ],
)
def test_no_cell_is_a_formula(empty_results, figures, tmp_path, text, cell):
    answers = figures["answered"]("problems", text)
    empty_results.base("tutor", "Tutor", figures["generated"](1.0, 0.1, 0.5), answers=answers)
    empty_results.show("tutor", "problems")
    assert [row["text"] for row in records(written(empty_results, tmp_path)["csv"])] == [cell]


def test_markdown_survives_any_text(hostile):
    header, _, row, nothing = hostile["md"].splitlines()[2:6]
    cells = re.split(r"(?<!\\)\|", row)
    assert len(cells) == len(header.split("|"))
    assert cells[5].strip() == (
        r"one \| two<br>\`code\` \*bold\* \<b\>html\</b\> \&amp; \[link\](http://x) "
        r"\!\[image\](y)<br><br>\$x^2\$ \# 50 % {a}\_b \\end{table} \~ “quoted” 🎉 "
        r'a\[U+200B\]b\[U+0007\] été<br>\[0\] \* last, "said"'
    )
    assert "(nothing)" in nothing


def test_latex_survives_any_text(hostile):
    text = hostile["tex"]
    assert text.isascii()
    (row,) = (line for line in text.splitlines() if "quoted" in line)
    assert row.endswith(r" \\")
    assert len(re.split(r"(?<!\\)&", row)) == 6
    answer = re.split(r"(?<!\\)&", row)[3]
    assert r"\textbackslash{}end\{table\}" in answer
    assert r"\newline  \newline \$x\textasciicircum{}2\$ \# 50 \% \{a\}\_b" in answer
    assert r"[U+1F389] a[U+200B]b[U+0007] \'{e}t\'{e} \newline {}[0] *" in answer
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "table"]
    bare = re.sub(r"\\[{}]", "", text.replace(r"\\", ""))
    assert bare.count("{") == bare.count("}")


def test_a_model_that_did_not_answer_is_named(results, figures, tmp_path):
    results.trial("sft_9", "sft", {}, answers=figures["answered"]("problems", "one"))
    results.show("tutor", "problems", "sft_1/seed-0", "sft_9/seed-0")
    paths = [tmp_path / f"examples.{form}" for form in FORMS]
    with pytest.raises(BadInput, match=r"sft_9/seed-0/generations\.parquet: no answer to the "
                       r"prompt q1 of the set problems$"):  # fmt: skip
        examples.main(results.arguments(*paths))
    assert not any(path.exists() for path in paths)


def test_a_set_that_nobody_answered_is_named(results, tmp_path):
    results.show("tutor", "others", "sft_1/seed-0")
    with pytest.raises(BadInput, match=r"bases/tutor/generations\.parquet: no answer to a prompt"):
        examples.main(results.arguments(*(tmp_path / f"examples.{form}" for form in FORMS)))
