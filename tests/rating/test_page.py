"""The rating page in a real browser."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.common.wilson import wilson
from scripts.rating import ratings
from tests.browser import PHONE, browser, opened
from tests.rating.study import BASE, FIRST, FOLDERS, Study


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """The folder of a page with ten comparisons of the first trial and the base."""
    study = Study(tmp_path, 10)
    study.page(tmp_path / "out", trials=[FIRST])
    return tmp_path / "out"


def begin(page: Any, name: str = "A. B.") -> None:
    page.get_by_label("Your name or initials").fill(name)
    page.get_by_role("button", name="Begin").click()


def progress(page: Any) -> str:
    return page.locator("#progress").inner_text()


def prompt(page: Any) -> str:
    return page.locator("#prompt").inner_text()


def saved(page: Any, folder: Path) -> Path:
    """Saves the ratings as a file and returns it."""
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Save ratings").click()
    path = folder / waiting.value.suggested_filename
    waiting.value.save_as(path)
    return path


def by_key(page: Any, choice: str) -> None:
    page.keyboard.press({"left": "ArrowLeft", "right": "2", "tie": "=", "skip": "s"}[choice])


def by_mouse(page: Any, choice: str) -> None:
    page.locator(f'[data-choice="{choice}"]').click()


def prefer(page: Any, wanted: str, press: Callable[[Any, str], None]) -> None:
    """Chooses the trial's answer (win), the base's (loss), a tie, or nothing (skip)."""
    trial_left = page.locator("#left").inner_text().startswith("s")
    sides = {"win": ("right", "left")[trial_left], "loss": ("left", "right")[trial_left]}
    press(page, sides.get(wanted, wanted))


def test_ten_comparisons_by_keyboard_and_mouse(running: Any, ten: Path, tmp_path: Path) -> None:
    with opened(running, ten / "rating.html") as found:
        page = found.page
        begin(page)
        assert progress(page) == "1 of 10"
        for wanted, press in (("win", by_key), ("loss", by_mouse), ("tie", by_key)):
            prefer(page, wanted, press)
        fourth = prompt(page)
        # A slip, and back.
        prefer(page, "loss", by_key)
        assert prompt(page) != fourth
        page.keyboard.press("u")
        assert (progress(page), prompt(page)) == ("4 of 10", fourth)
        prefer(page, "win", by_mouse)
        fifth = prompt(page)

        page.reload()
        assert (progress(page), prompt(page)) == ("5 of 10", fifth)
        page.get_by_role("button", name="Undo").click()
        assert prompt(page) == fourth
        prefer(page, "win", by_key)
        early = saved(page, tmp_path)
        assert len(json.loads(early.read_text())["ratings"]) == 4

        for wanted, press in (
            ("skip", by_mouse), ("win", by_key), ("win", by_mouse), ("tie", by_mouse),
            ("skip", by_key), ("loss", by_key),
        ):  # fmt: skip
            prefer(page, wanted, press)
        assert progress(page) == "All 10 done"
        assert "rated 8 of 10 comparisons (2 ties)" in page.locator("#summary").inner_text()
        page.get_by_role("button", name="Rate what you skipped (2)").click()
        prefer(page, "win", by_key)
        prefer(page, "skip", by_key)
        path = saved(page, tmp_path)
        assert (found.requests, found.errors) == ([], [])

    assert path.name == "rating-A-B.json"
    assert set(json.loads(path.read_text())) == {"page", "rater", "ratings"}
    ratings.write([path], ten.parent / "results", ten)
    (contest,) = json.loads((ten / "ratings.json").read_text())["contests"]
    # Won 1, 4, 6, 7 and the one skipped at first; tied 3 and 8; lost 2 and 10; one never rated.
    counts = [contest[name] for name in ("wins", "ties", "losses", "skipped")]
    assert counts == [5, 2, 2, 1]
    assert contest["win_rate"]["value"] == (5 + 2 / 2) / 9
    assert contest["win_rate"]["intervals"]["wilson"] == list(wilson(6, 9))


@pytest.mark.all
def test_each_rater_has_an_order_and_a_sheet(running: Any, ten: Path) -> None:
    def order(page: Any, name: str) -> list[str]:
        begin(page, name)
        seen = []
        for _ in range(10):
            seen.append(prompt(page))
            page.keyboard.press("ArrowRight")
        return seen

    with opened(running, ten / "rating.html") as found:
        page = found.page
        first = order(page, "A")
        page.get_by_role("button", name="Rate as someone else").click()
        second = order(page, "constructor")
        assert set(first) == set(second)
        assert len(set(first)) == 10
        assert first != second
        page.get_by_role("button", name="Rate as someone else").click()
        begin(page, " A ")
        assert progress(page) == "All 10 done"
        assert found.errors == []


@pytest.mark.all
def test_going_on_from_a_saved_file(running: Any, ten: Path, tmp_path: Path) -> None:
    with opened(running, ten / "rating.html") as found:
        begin(found.page)
        found.page.keyboard.press("1")
        second = prompt(found.page)
        path = saved(found.page, tmp_path)
    foreign = tmp_path / "foreign.json"
    foreign.write_text(path.read_text().replace('"page": "', '"page": "0'))
    with opened(running, ten / "rating.html") as found:
        page = found.page
        page.locator("#file").set_input_files(foreign)
        page.get_by_role("alert").wait_for()
        assert (
            "foreign.json cannot be read: it belongs to another page"
            in page.get_by_role("alert").inner_text()
        )
        page.locator("#file").set_input_files(path)
        page.locator("#rate").wait_for()
        assert (progress(page), prompt(page)) == ("2 of 10", second)
        assert page.locator("#problem").is_hidden()
        assert (found.requests, found.errors) == ([], [])


@pytest.mark.all
def test_on_a_phone(running: Any, ten: Path, tmp_path: Path) -> None:
    with opened(running, ten / "rating.html", **PHONE) as found:
        page = found.page
        begin(page)
        left, right = (page.locator(f"#{side}").bounding_box() for side in ("left", "right"))
        assert right["y"] > left["y"] + left["height"]
        for choice in ("left", "tie", "right", "skip"):
            box = page.locator(f'[data-choice="{choice}"]').bounding_box()
            assert box["y"] + box["height"] <= PHONE["viewport"]["height"]
            assert box["height"] >= 36
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.locator('[data-choice="left"]').tap()
        page.get_by_role("button", name="Undo").tap()
        page.locator('[data-choice="tie"]').tap()
        assert progress(page) == "2 of 10"
        assert json.loads(saved(page, tmp_path).read_text())["ratings"][0]["choice"] == "tie"
        assert (found.requests, found.errors) == ([], [])


@pytest.mark.all
def test_any_text_is_shown_as_it_is(running: Any, tmp_path: Path) -> None:
    study = Study(tmp_path, 1)
    hostile = "</script><img src=http://x.invalid/a onerror=alert(1)>\u2028<!-- & {{ 7 }}\n  two"
    study.rows(["<b>bold</b> </title>"])
    study.answer(FOLDERS[FIRST], [hostile])
    study.answer(FOLDERS[BASE], ["   "])
    study.page(tmp_path / "out", trials=[FIRST], question="Which <i>title</i> & why?")
    with opened(running, tmp_path / "out" / "rating.html") as found:
        page = found.page
        begin(page)
        texts = {page.locator(f"#{side}").text_content() for side in ("left", "right")}
        assert texts == {hostile, "(nothing)"}
        assert page.locator("#prompt").text_content() == "<b>bold</b> </title>"
        assert page.locator("#rate h1").text_content() == "Which <i>title</i> & why?"
        assert (found.requests, found.errors) == ([], [])


@pytest.mark.all
def test_the_page_may_not_ask_for_anything(running: Any, ten: Path) -> None:
    with opened(running, ten / "rating.html") as found:
        ask = "fetch('http://x.invalid/').then(() => 'answered', () => 'refused')"
        assert found.page.evaluate(ask) == "refused"
        found.page.evaluate("new Image().src = 'http://x.invalid/a.png'")
        assert found.page.evaluate(ask) == "refused"
        assert found.requests == []


@pytest.mark.all
def test_keys_rate_nothing_by_accident(running: Any, ten: Path) -> None:
    with opened(running, ten / "rating.html") as found:
        page = found.page
        page.get_by_label("Your name or initials").press_sequentially("12 s=u")
        page.get_by_role("button", name="Begin").click()
        assert progress(page) == "1 of 10"
        for held in ("ctrlKey", "metaKey", "altKey", "repeat"):
            event = {"key": "ArrowLeft", held: True, "bubbles": True}
            page.dispatch_event("body", "keydown", event)
        assert progress(page) == "1 of 10"
        page.dispatch_event("body", "keydown", {"key": "ArrowLeft", "bubbles": True})
        assert progress(page) == "2 of 10"
        assert page.locator("#said").text_content() == "Answer 1. 2 of 10"


@pytest.mark.all
def test_what_can_be_pressed_has_a_name_and_a_visible_focus(running: Any, ten: Path) -> None:
    with opened(running, ten / "rating.html") as found:
        page = found.page
        begin(page)
        page.keyboard.press("ArrowLeft")
        names = []
        for _ in range(7):
            page.keyboard.press("Tab")
            names.append(
                page.evaluate(
                    "(it => [it.ariaLabel ?? it.textContent.trim(),"
                    " getComputedStyle(it).outlineStyle])(document.activeElement)"
                )
            )
        assert [name.split("\n")[0] for name, _ in names] == [
            "Rate as someone else", "Save ratings", "Answer 1 ←", "Tie ↓", "Answer 2 →", "Undo u",
            "Skip s",
        ]  # fmt: skip
        assert {outline for _, outline in names} == {"solid"}


@pytest.mark.all
def test_two_tabs_are_one_sheet(running: Any, ten: Path, tmp_path: Path) -> None:
    with opened(running, ten / "rating.html") as found:
        page = found.page
        begin(page)
        page.keyboard.press("ArrowLeft")
        other = page.context.new_page()
        other.goto(page.url)
        assert progress(other) == "2 of 10"
        other.keyboard.press("ArrowRight")
        page.get_by_text("3 of 10").first.wait_for()
        page.keyboard.press("=")
        made = json.loads(saved(page, tmp_path).read_text())["ratings"]
        assert [it["choice"] for it in made] == ["left", "right", "tie"]


@pytest.mark.all
@pytest.mark.parametrize("kept", ["{", "7", '{"rater": "A", "sheets": {}}', '{"sheets": {"A": 1}}'])
def test_what_is_kept_and_cannot_be_read_is_ignored(running: Any, ten: Path, kept: str) -> None:
    with opened(running, ten / "rating.html") as found:
        page = found.page
        page.evaluate("text => localStorage.setItem(PLACE, text)", kept)
        page.reload()
        begin(page)
        assert progress(page) == "1 of 10"
        assert found.errors == []


@pytest.mark.all
def test_a_browser_that_keeps_nothing_says_so(running: Any, ten: Path, tmp_path: Path) -> None:
    with opened(running, ten / "rating.html") as found:
        page = found.page
        page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
        begin(page)
        page.keyboard.press("ArrowLeft")
        assert "keeps nothing: save your ratings" in page.get_by_role("alert").inner_text()
        assert len(json.loads(saved(page, tmp_path).read_text())["ratings"]) == 1
