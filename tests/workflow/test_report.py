"""What people open of a finished run: the page, and Snakemake's own report with the captions."""

import shutil
from html import unescape
from pathlib import Path

import pytest

from scripts.report.page import captions
from tests.browser import browser, opened
from tests.conftest import ROOT
from tests.workflow.conftest import CUT_DOWN, Project

TABLES = ("sft", "dpo", "summary")
FIGURES = ("curves", "accuracy", "before_after")
SHOWN = [("table", it) for it in TABLES] + [("figure", it) for it in FIGURES]


@pytest.fixture(scope="module")
def snakemakes(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Snakemake's report of the finished run, from a copy: it locks the folder."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "report.html"
    shutil.copytree(finished.folder, folder / "project", symlinks=True)
    Project(folder / "project").run(*CUT_DOWN, "--report", str(path))
    return path


@pytest.mark.parametrize(("kind", "name"), SHOWN)
def test_snakemakes_report_has_everything_with_its_caption(
    snakemakes: Path, kind: str, name: str
) -> None:
    text = unescape(snakemakes.read_text(encoding="utf-8"))
    ending = {"table": "csv", "figure": "png"}[kind]
    assert f"results/demo/{kind}s/{name}.{ending}" in text
    assert f'"labels": {{"{kind}": "{name}"}}' in text
    # The report curls quotes, and the caption may hold some.
    caption = captions(ROOT / f"report/{kind}.rst", kind)(name)
    assert max(caption.split("'"), key=len) in text


@pytest.mark.parametrize("which", ["ours", "snakemakes"])
def test_both_open_without_a_network(finished: Project, snakemakes: Path, which: str) -> None:
    ours = finished.folder / "results" / "demo" / "report.html"
    with browser() as running, opened(running, ours if which == "ours" else snakemakes) as found:
        assert found.page.locator("body").inner_text().strip()
        assert found.errors == []
        assert found.requests == []


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
