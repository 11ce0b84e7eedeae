"""What users open after a run: the page, and Snakemake's own report with the captions."""

from html import unescape
from pathlib import Path

import pytest

from scripts.report import catalog
from tests.browser import browser, opened
from tests.workflow.conftest import CUT_DOWN, Project

TABLES = ("sft", "dpo", "summary")
FIGURES = ("curves", "accuracy", "before_after")
SHOWN = [("table", it) for it in TABLES] + [("figure", it) for it in FIGURES]


def test_the_page_shows_every_table_figure_and_trial(finished: Project) -> None:
    path = finished.folder / "results" / "demo" / "report.html"
    with browser() as running, opened(running, path) as found:
        for kind, name in SHOWN:
            assert found.page.locator(f"#{kind}-{name}").is_visible()
        trials = found.page.locator("#trials summary h4").all_text_contents()
        assert trials == [f"{it}, seed 0" for it in ("sft-r16", "sft-r4", "dpo-r8", "titles-r16")]
        first = found.page.locator("#answers article").first
        assert first.locator(".known .text").text_content()
        assert first.locator(".answer").count() == 4
        sets = found.page.locator("select[name='set'] option")
        found.page.locator("select[name='set']").select_option(str(sets.count() - 1))
        assert found.page.locator("#answers .known").count() == 0
        # It works without a network.
        assert found.errors == []
        assert found.requests == []


@pytest.mark.all
def test_snakemakes_report_has_everything_with_its_caption(rerun: Project, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    rerun.run(*CUT_DOWN, "--report", str(path))
    text = unescape(path.read_text(encoding="utf-8"))
    for kind, name in SHOWN:
        ending = {"table": "csv", "figure": "png"}[kind]
        assert f"results/demo/{kind}s/{name}.{ending}" in text
        assert f'"labels": {{"{kind}": "{name}"}}' in text
        # The report curls quotes, and the caption may contain some.
        caption = {"table": catalog.TABLES, "figure": catalog.FIGURES}[kind][name].caption
        assert max(caption.split("'"), key=len) in text
    with browser() as running, opened(running, path) as found:
        assert found.page.locator("body").inner_text().strip()
        assert found.errors == []
        assert found.requests == []
