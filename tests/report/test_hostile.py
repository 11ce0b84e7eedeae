"""What a model, a dataset or an error says is text: in every form of a table, and on the page."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from scripts.common.files import write_json, write_rows
from scripts.common.rows import DEMONSTRATIONS
from scripts.report.page import make
from scripts.report.tables import examples, sft
from scripts.report.tables.write import FIT
from scripts.report.text import markdown, printable
from tests.browser import browser, opened
from tests.report.conftest import Results, answered, generated
from tests.report.page.conftest import write_items
from tests.report.test_data_notes import dropped

SCRIPT = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
TEXTS = [
    f"</script><!--{SCRIPT}]]>{SCRIPT}</textarea></title></style></div>",
    "[a](javascript:window.hacked=1) ![b](http://x) [c]: http://x <http://x> &lt;b&gt; [d][e]",
    "`a` **b** __c__ ~~d~~ $e$ $$f$$ | g \\| h \\` # i",
    "# a\n- b\n1. c\n> d\n===\n    e\n```\nf\n```\n[g]: http://x",
    r"\input{/etc/passwd} \end{table} \write18{touch x} $\frac{1}{2}$ %a ^^M ~ & # _ {",
    '=HYPERLINK("http://x")',
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "=1\n=2",
    "a\r=1",
    "{{ 7 * 7 }} {% raw %} ${x} <%= 1 %>",
    "\x1b[2J\x1b]0;t\x07 \u202eabc\u202c \u2066x\u2069 \u200b \x00 \x9b31m \u2028 \x85 \x0c",
]
"""What would be a script, markup, a command, a formula, or an order to a terminal."""
HOSTILE = " ".join(TEXTS)
STATES = {"trials/sft_2/seed-0": ["failed"]}
IDS = [f"q{number}" for number in range(len(TEXTS))]


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """Return the forms of two tables in which these texts are answers, prompts, a title, a mark, a
    reason why a trial failed, and why rows were left out.
    """
    return {name: made(name, tmp_path_factory.mktemp(name)) for name in ("examples", "sft")}


def made(name: str, folder: Path) -> dict[str, str]:
    results = hostile_run(folder)
    paths = [folder / f"{name}.{form}" for form in ("csv", "md", "tex", "json")]
    words = results.arguments(*paths)
    words += ["--mark", HOSTILE, "--states", json.dumps(STATES), "--logs", "logs"]
    words += ["--data", str(dropped(folder, "pairs", HOSTILE, *TEXTS))]
    module: Any = {"examples": examples, "sft": sft}[name]
    assert module.main(words) == 0
    return {path.suffix[1:]: path.read_bytes().decode() for path in paths}


def hostile_run(folder: Path) -> Results:
    results = Results(folder / "results")
    answers = [
        row | {"prompt": text}
        for row, text in zip(answered("problems", *TEXTS, prompts=IDS), TEXTS, strict=True)
    ]
    results.base("tutor", HOSTILE, generated(1.0, 0.1, 0.5), answers=answers)
    for trial in ("sft_1", "sft_2"):
        results.trial(trial, "sft", generated(1.0, 0.1, 0.5), title=HOSTILE, answers=answers)
    shutil.rmtree(results.root / "trials/sft_2/seed-0")
    failed = {"reason": HOSTILE, "traceback": ""}
    write_json(results.root / "trials/sft_2/seed-0/work/failed.json", failed)
    results.show("tutor", "problems", "sft_1/seed-0")
    return results


def cells(text: str) -> Iterator[str]:
    for row in csv.reader(io.StringIO(text, newline="")):
        yield from row


def test_no_cell_of_a_csv_is_a_formula(forms: dict[str, dict[str, str]]) -> None:
    """As spreadsheets tell one, but for numbers."""
    found = {cell for text in forms.values() for cell in cells(text["csv"])}
    begin = {cell[:1] for cell in found}
    assert not begin & set("=+@\t\r\n＝＋＠")
    assert all(re.fullmatch(r"-[\d.e-]+", cell) for cell in found if cell.startswith("-"))
    # Nothing else is changed.
    assert {text if text[0] not in "=+-@\t\r\n" else f"'{text}" for text in TEXTS} <= found


def test_markdown_has_no_markup_of_theirs(forms: dict[str, dict[str, str]]) -> None:
    for text in forms.values():
        tokens = MarkdownIt("commonmark").enable("table").parse(text["md"])
        inside = [it for token in tokens for it in (token.children or [])]
        assert {it.type for it in tokens} <= ALLOWED
        assert {it.type for it in inside} <= {"text", "strong_open", "strong_close", "html_inline"}
        assert {it.content for it in inside if it.type == "html_inline"} <= {"<br>"}
        assert text["md"].replace("\n", "").isprintable()
    rendered = MarkdownIt("commonmark").enable("table").render(forms["examples"]["md"])
    assert "[a](javascript:window.hacked=1) ![b](http://x)" in rendered


ALLOWED = {
    "paragraph_open", "paragraph_close", "inline", "bullet_list_open", "bullet_list_close",
    "list_item_open", "list_item_close", "table_open", "table_close", "thead_open", "thead_close",
    "tbody_open", "tbody_close", "tr_open", "tr_close", "th_open", "th_close", "td_open",
    "td_close",
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_a_line_of_markdown_says_what_the_text_says(text: str) -> None:
    for whole in (False, True):
        (block,) = (
            MarkdownIt("commonmark").enable("strikethrough").parseInline(markdown(text, whole))
        )
        assert {it.type for it in block.children or []} <= {"text"}
        said = "".join(it.content for it in block.children or [])
        assert said == " ".join(printable(text).split())


OWN = (
    r"usepackage|begin|end|centering|caption|label|smallskip|setlength|tabcolsep|resizebox|ifdim|"
    r"width|linewidth|else|fi|multicolumn|toprule|midrule|bottomrule|textbf|newline|par|alpha|"
    r"footnotesize|raggedright|shortstack|times|text(?:backslash|ascii\w+|less|greater|bar)"
)
"""The table's own commands, and those that print a sign."""


def test_latex_has_no_command_of_theirs(forms: dict[str, dict[str, str]]) -> None:
    for text in forms.values():
        assert text["tex"].isascii()
        assert text["tex"].replace("\n", "").isprintable()
        commands = re.findall(r"\\([a-zA-Z]+)", text["tex"].replace(r"\\", ""))
        assert [it for it in commands if not re.fullmatch(OWN, it)] == []
        assert set(re.findall(r"\\(?:begin|end)\{(\w+)\}", text["tex"])) == {"table", "tabular"}
        bare = re.sub(r"\\[{}%$&#_]", "", text["tex"].replace(r"\\", ""))
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        # A blank line would end a caption.
        assert "\n\n" not in text["tex"]
        comments = set(re.findall(r"(?m)^.*%.*$", bare))
        assert comments <= {r"% \usepackage{booktabs,graphicx}", FIT}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the page of the same run, in which prompts and known answers are such texts too."""
    folder = tmp_path_factory.mktemp("page")
    results = hostile_run(folder)
    results.plan[0]["trials"]["sft"] = ["sft_1/seed-0"]
    rows = [
        {"id": key, "group": key, "prompt": [{"role": "user", "content": text}],
         "completion": [{"role": "assistant", "content": text}]}
        for key, text in zip(IDS, TEXTS, strict=True)
    ]  # fmt: skip
    write_rows(results.root / "data/word-problems/test.parquet", rows, DEMONSTRATIONS)
    for name in ("bases/tutor", "trials/sft_1/seed-0"):
        write_items(results, name, {})
    tables = [results.root / "tables" / f"examples.{form}" for form in ("csv", "json")]
    assert examples.main([*results.arguments(*tables), "--mark", HOSTILE]) == 0
    out = results.root / "report.html"
    words = [*results.arguments(out), "--tables", "examples", "--mark", HOSTILE]
    assert make.main(words) == 0
    return out


def test_in_a_browser_it_is_text(page: Path) -> None:
    with browser() as chromium, opened(chromium, page) as found:
        said: list[str] = []
        found.page.on("console", lambda message: said.append(message.text))
        found.page.reload()
        assert found.page.evaluate("window.hacked") is None
        assert (said, found.errors, found.requests) == ([], [], [])
        # Only those of the page itself.
        assert found.page.locator("img").count() == 0
        assert found.page.locator("script").count() == 2
        assert not found.page.locator("a[href^='http'], a[href^='javascript']").count()
        first = found.page.locator("#answers article").first
        for place in (".prompt", ".known .text", ".answer .text"):
            assert first.locator(place).first.text_content() == TEXTS[0]
        assert SCRIPT in found.page.locator("header .mark").text_content()
        assert SCRIPT in found.page.title()
        texts = found.page.locator("#table-examples .text").all_text_contents()
        assert TEXTS[0] in texts
        # A script that came in all the same would not run.
        found.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=\"x\">')")
        found.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), "
            "{textContent: 'window.hacked = 1'}))"
        )
        assert found.page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in line for line in said)
