"""The page of a run, opened in a real browser: everything in it works."""

import base64
import re
from pathlib import Path

import pytest

from scripts.report.page import make
from scripts.report.page.answers import PROMPTS
from tests.browser import PHONE, opened
from tests.report.page.conftest import ASKED, arguments, articles, column, header, numbers

pytestmark = pytest.mark.all


def luminance(color: str) -> float:
    """Return the relative luminance of `rgb(…)` (https://www.w3.org/TR/WCAG22/)."""
    parts = [int(it) / 255 for it in re.findall(r"\d+", color)[:3]]
    linear = [it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts]
    return sum(weight * it for weight, it in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_nothing_is_asked_for_and_nothing_complains(chromium, path):
    with opened(chromium, path) as found:
        said = []
        found.page.on("console", lambda message: said.append(message.text))
        found.page.reload()
        assert found.page.locator("#answers article").count() == 10
        assert (said, found.errors, found.requests) == ([], [], [])


def test_without_scripts_all_but_the_answers_is_there(chromium, path):
    with opened(chromium, path, java_script_enabled=False) as found:
        assert found.page.locator("#table-sft tbody tr:visible").count() == 11
        assert found.page.get_by_text("need JavaScript").is_visible()


@pytest.mark.parametrize("device", [PHONE, {"viewport": {"width": 1280, "height": 900}}])
def test_only_tables_are_wider_than_the_window(chromium, path, device):
    with opened(chromium, path, **device) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach(it => it.open = true)")
        width = found.page.evaluate("document.documentElement.scrollWidth")
        assert width <= device["viewport"]["width"]


def test_print_has_no_controls_and_cuts_nothing_off(shown):
    shown.page.emulate_media(media="print")
    assert not shown.page.locator("nav, .tools, .pager").locator("visible=true").count()
    assert shown.page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflow") == (
        "visible"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_ground(chromium, path, scheme):
    with opened(chromium, path, color_scheme=scheme) as found:
        ground = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (luminance(ground) > 0.5) == (scheme == "light")
        for place in ("body", ".note", "nav a", "#answers .wrong", "#answers .right"):
            color = found.page.evaluate(
                f"getComputedStyle(document.querySelector('{place}')).color"
            )
            low, high = sorted((luminance(ground), luminance(color)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, place


def test_a_mark_stands_first(chromium, made):
    out = made.root / "marked.html"
    make.main(arguments(made, out, "--mark", "Rehearsal: tiny models"))
    with opened(chromium, out) as found:
        assert found.page.title().startswith("[Rehearsal: tiny models] ")
        assert found.page.locator("header p").first.text_content() == "Rehearsal: tiny models"


def test_numbers_sort_as_numbers_and_ties_stay(shown):
    names, losses = column(shown, "sft", 1), column(shown, "sft", 14)
    loss = header(shown, "sft", "Held-out loss")
    assert [float(it.split()[0]) for it in losses][:4] == [10.5, 2.5, 9.25, 1.25]
    loss.locator("button").click()
    assert loss.get_attribute("aria-sort") == "ascending"
    values = [float(it.split()[0]) for it in column(shown, "sft", 14)]
    assert values == sorted(values)
    assert values[-1] == 10.5
    assert column(shown, "sft", 1)[-3:] == ["sft-1", "sft-3", names[0]]
    loss.locator("button").click()
    assert loss.get_attribute("aria-sort") == "descending"
    assert column(shown, "sft", 1)[:3] == [names[0], "sft-1", "sft-3"]
    loss.locator("button").click()
    assert loss.get_attribute("aria-sort") == "none"
    assert column(shown, "sft", 1) == names


def test_what_is_missing_is_last_in_both_orders(shown):
    rank = header(shown, "sft", re.compile(r"^r$")).locator("button")
    rank.click()
    assert column(shown, "sft", 3) == ["2"] * 4 + ["4"] * 3 + ["8"] * 3 + ["–"]
    rank.click()
    assert column(shown, "sft", 3) == ["8"] * 3 + ["4"] * 3 + ["2"] * 4 + ["–"]


def test_texts_sort_as_people_count(shown):
    header(shown, "sft", "Trial").locator("button").click()
    assert column(shown, "sft", 1) == [*(f"sft-{number}" for number in range(10)),
                                       "tiny_llama (base)"]  # fmt: skip


def test_one_column_at_a_time_says_that_it_is_sorted(shown):
    for name in ("Trial", "Held-out loss"):
        header(shown, "sft", name).locator("button").click()
    sorts = [
        it.get_attribute("aria-sort") for it in shown.page.locator("#table-sft thead th").all()
    ]
    assert sorted(set(sorts)) == ["ascending", "none"]
    assert sorts.count("ascending") == 1


def test_a_table_is_used_by_keyboard(shown):
    shown.page.locator("#table-sft input").focus()
    shown.page.keyboard.press("Tab")
    assert shown.page.evaluate("document.activeElement.download") == "sft.csv"
    shown.page.keyboard.press("Tab")
    assert shown.page.evaluate("document.activeElement.className") == "scroll"
    shown.page.keyboard.press("Tab")
    shown.page.keyboard.press("Tab")
    shown.page.keyboard.press("Enter")
    assert header(shown, "sft", "Trial").get_attribute("aria-sort") == "ascending"
    shown.page.keyboard.press("Space")
    assert header(shown, "sft", "Trial").get_attribute("aria-sort") == "descending"


def test_a_filter_keeps_rows_and_says_how_many(shown):
    box = shown.page.locator("#table-metrics input")
    found = shown.page.locator("#table-metrics output")
    all_rows = len(column(shown, "metrics", 0))
    assert found.text_content() == f"{all_rows} rows"
    again = shown.page.locator("#table-metrics tbody tr").nth(1).locator("th span")
    assert not again.is_visible()
    box.fill("DPO-b margin")
    assert set(column(shown, "metrics", 1)) == {"dpo-b"}
    assert found.text_content() == f"1 of {all_rows} rows"
    # What stands above the row no more is said in it.
    assert shown.page.locator("#table-metrics tbody tr:visible th span").first.is_visible()
    box.fill("nothing like it")
    assert column(shown, "metrics", 1) == []
    box.fill("")
    assert len(column(shown, "metrics", 0)) == all_rows
    assert not again.is_visible()


def test_what_is_downloaded_is_the_file(shown, made):
    with shown.page.expect_download() as waiting:
        shown.page.locator("#table-dpo a[download]").click()
    assert waiting.value.suggested_filename == "dpo.csv"
    assert Path(waiting.value.path()).read_bytes() == (made.root / "tables/dpo.csv").read_bytes()


def test_figures_are_in_the_page_with_their_caption(shown, made):
    image = shown.page.locator("#figure-accuracy img")
    assert image.get_attribute("alt").startswith("Preference accuracy of each preference trial")
    assert image.get_attribute("alt") in shown.page.locator("#figure-accuracy").text_content()
    assert image.evaluate("it => [it.naturalWidth, it.naturalHeight]") == [30, 20]
    content = image.get_attribute("src").removeprefix("data:image/png;base64,")
    assert base64.b64decode(content) == (made.root / "figures/accuracy.png").read_bytes()


def test_answers_stand_beside_each_other(shown):
    third = articles(shown).nth(2)
    assert third.locator(".prompt").text_content() == "How much is q2?"
    assert third.locator(".known .text").text_content() == "It is q2."
    assert third.locator(".answer b").all_text_contents() == [
        "tiny_llama",
        "sft-0",
        "sft-1",
        "sft-2",
    ]
    assert third.locator(".answer .text").all_text_contents() == [
        "base says 2", "base says 2", "base says 2", "trial 2 says something else",
    ]  # fmt: skip
    assert (
        third.locator("footer").all_text_contents()[1:3]
        == ["3 tokens · ended by itself · same as the base"] * 2
    )
    assert third.locator(".answer header span").all_text_contents() == [
        "✓ right", "✗ wrong", "✗ wrong", "✗ wrong",
    ]  # fmt: skip
    assert articles(shown).nth(1).locator(".prompt").text_content() == (
        "User: First\n\nAssistant: Then"
    )


def test_so_many_prompts_and_no_more_and_the_page_says_so(shown):
    how = shown.page.locator("#answers .how").text_content()
    assert "test split of word-problems, greedy, at most 100 new tokens." in how
    assert f"The first {PROMPTS} of {ASKED} prompts are here; 30 are left out" in how
    status = shown.page.locator("#answers .pager output")
    assert status.text_content() == f"1–10 of {PROMPTS} prompts"


def test_pages_turn_and_end(shown):
    back, on = shown.page.get_by_text("Previous"), shown.page.get_by_text("Next")
    assert back.is_disabled()
    on.click()
    assert numbers(shown) == list(range(11, 21))
    back.click()
    assert numbers(shown) == list(range(1, 11))
    for _ in range(PROMPTS // 10 - 1):
        on.click()
    assert on.is_disabled()
    assert numbers(shown)[-1] == PROMPTS


def test_search_looks_into_prompts_and_every_answer(shown):
    box = shown.page.get_by_label("Search prompts and answers")
    shown.page.get_by_text("Next").click()
    box.fill("SOMETHING  trial")
    assert numbers(shown) == list(range(2, 11))
    box.fill("much is q150?")
    assert numbers(shown) == [151]
    box.fill("مرحبا")
    assert numbers(shown) == [1]
    box.fill("nobody said this")
    assert numbers(shown) == []
    assert shown.page.get_by_text("No prompt is like that.").is_visible()


def test_prompts_are_chosen_by_what_the_shown_trials_made_of_them(shown):
    kind = shown.page.locator("select[name='kind']")
    kind.select_option("differs")
    # The first three trials are shown; the first one answered two prompts in its own way.
    assert numbers(shown) == [1, 2, 3, 4]
    shown.page.get_by_label("sft-1", exact=True).uncheck()
    assert numbers(shown) == [1, 3, 4]
    shown.page.get_by_label("sft-7", exact=True).check()
    assert numbers(shown) == [1, 3, 4, 8]
    kind.select_option("gained")
    assert numbers(shown) == [4]
    kind.select_option("lost")
    assert numbers(shown) == [3]


def test_a_model_without_answers_has_none(shown):
    shown.page.get_by_label("dpo-b", exact=True).check()
    assert articles(shown).first.locator(".answer").last.text_content() == "dpo-bno answer"


def test_a_trial_opens_and_marks_what_differs(shown):
    trial = shown.page.locator("#trials details", has_text="sft-1, seed 0")
    assert not trial.get_by_text("lora.r").is_visible()
    trial.locator("summary").focus()
    shown.page.keyboard.press("Enter")
    assert trial.locator("tr.differs").all_text_contents()[0].split() == [
        "lora.r",
        "4",
        "first:",
        "2",
    ]
    assert trial.get_by_text("versions.torch").is_visible()
