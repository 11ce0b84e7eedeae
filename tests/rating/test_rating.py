"""The blind rating: a page that gives nothing away, and what its ratings come to."""

import csv
import hashlib
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_rows
from scripts.common.rows import DEMONSTRATIONS, GENERATIONS, OVERLAP
from scripts.common.wilson import wilson
from scripts.rating import ask as rating
from scripts.rating import ratings
from scripts.rating.figures import (
    Rating,
    agreement,
    bradley_terry,
    krippendorff_alpha,
    left_share,
    win_rate,
)
from scripts.rating.key import keyed
from tests.browser import PHONE, browser, opened
from tests.report.conftest import SETTINGS, Results

Row = dict[str, Any]

EXPERIMENT, SET, DATASET = "marsupials", "hidden-set", "hidden-dataset"
BASE, FIRST, SECOND = "quokka-9b", "wombat-r16", "numbat-r8"
FOLDERS = {
    BASE: f"bases/{EXPERIMENT}",
    FIRST: f"trials/{FIRST}/seed-3",
    SECOND: f"trials/{SECOND}/seed-3",
}
SECRET = "5e" * 32
ROOT = Path(__file__).parents[2]


class Study:
    """A results folder with a base and two trials that answered the same prompts."""

    def __init__(self, folder: Path, prompts: int = 24):
        self.root = folder / "results"
        self.ids = [f"row-{number}" for number in range(prompts)]
        self.results = Results(self.root)
        self.rows([f"What is {number} + 1?" for number in range(prompts)])
        for name, method in ((BASE, "base"), (FIRST, "sft"), (SECOND, "dpo")):
            self.model(name, method, [f"{method[0]}{place} it is" for place in range(prompts)])

    def rows(self, questions: list[str]) -> None:
        """Writes the canonical rows behind the prompts, two to a group."""
        rows = [
            {
                "id": name,
                "group": f"g{place // 2}",
                "prompt": [{"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": "none"}],
            }
            for place, (name, question) in enumerate(zip(self.ids, questions, strict=True))
        ]
        write_rows(self.root / f"data/{DATASET}/test.parquet", rows, DEMONSTRATIONS)

    def model(self, name: str, method: str, answers: list[str], **settings: Any) -> None:
        """Writes a model's folder."""
        seed = None if method == "base" else 3
        row = {"experiment": EXPERIMENT, "title": "T", "name": name, "method": method, "seed": seed}
        how = SETTINGS | {"dataset": DATASET} | settings
        metrics = row | {"metrics": {}, "sets": {SET: {"settings": how, "left_out": 0}}}
        folder = FOLDERS.get(name, f"trials/{name}/seed-3")
        self.results.write(row | {"folder": folder}, metrics=metrics, generations=[])
        self.answer(folder, answers)

    def answer(self, folder: str, answers: list[str]) -> None:
        """Writes what a model answered."""
        rows = [
            {"set": SET, "id": name, "prompt": "", "text": text, "tokens": 1, "stop": "eos"}
            for name, text in zip(self.ids, answers, strict=True)
        ]
        write_rows(self.root / folder / "generations.parquet", rows, GENERATIONS)

    def made(self, secret: str = SECRET, **more: Any) -> tuple[Any, Row]:
        """Returns the key and the page's content."""
        options = {"trials": None, "against": ["base"]}
        options |= {key: more.pop(key) for key in tuple(more) if key in options}
        pairs = rating.opponents(rating.subjects_in(self.root), **options)
        asked = {"sets": None, "most": 50, "seed": 0, "question": "Which?"} | more
        return rating.make(pairs, secret=secret, **asked)

    def page(self, out: Path, *options: str) -> Row:
        """Writes the page by the command line and returns its key."""
        assert rating.main(["--root", str(self.root), "--out", str(out), *options]) == 0
        return json.loads((out / "key.json").read_text())


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


# -------------------------------------------------------------------------------- what is compared


def test_every_trial_against_its_base(study):
    key, page = study.made()
    found = [(it.trial, it.against, it.prompts, it.identical) for it in key.contests]
    assert found == [
        (FOLDERS[SECOND], FOLDERS[BASE], 24, 0),
        (FOLDERS[FIRST], FOLDERS[BASE], 24, 0),
    ]
    assert len(page["items"]) == len(key.items()) == 48


def test_trials_against_each_other_are_compared_once(study):
    key, _ = study.made(against=[FIRST, SECOND], trials=[SECOND, FIRST, f"{FIRST}/seed-3"])
    assert [(it.trial, it.against) for it in key.contests] == [(FOLDERS[SECOND], FOLDERS[FIRST])]


def test_the_lowest_seed_unless_another_is_named(study):
    metrics = json.loads((study.root / FOLDERS[FIRST] / "metrics.json").read_text())
    other = f"trials/{FIRST}/seed-12"
    study.results.write(
        metrics | {"folder": other, "title": "T", "seed": 12},
        metrics=metrics | {"seed": 12},
        generations=[],
    )
    study.answer(other, ["other"] * 24)
    assert study.made(trials=[FIRST])[0].contests[0].trial == FOLDERS[FIRST]
    assert study.made(trials=[f"{FIRST}/seed-12"])[0].contests[0].trial == other


def test_identical_answers_are_left_out_and_counted(study):
    same = ["s0 it is", " 7\n", *[f"new {place}" for place in range(22)]]
    study.answer(FOLDERS[BASE], ["b0 it is", "7", *["old"] * 22])
    study.answer(FOLDERS[FIRST], same)
    key, page = study.made(trials=[FIRST])
    assert (key.contests[0].prompts, key.contests[0].identical, len(page["items"])) == (24, 1, 23)


def test_answers_are_cut_as_they_are_scored(tmp_path):
    study = Study(tmp_path, 2)
    texts = ["### A\n 12 \n### B more", "no mark"]
    study.model("cut", "sft", texts, answer_after="### A", answer_before="### B")
    _, page = study.made(trials=["cut"])
    shown = {text for item in page["items"] for text in (item["left"], item["right"])}
    assert shown == {"12", "no mark", "b0 it is", "b1 it is"}


def test_a_draw_is_the_same_whatever_the_secret_and_spreads_over_prompts(study):
    def prompts(secret: str, **more: Any) -> list[set[str]]:
        key, _ = study.made(secret, most=6, **more)
        return [{item.prompt for item in contest.items.values()} for contest in key.contests]

    first, second = prompts(SECRET)
    assert len(first) == len(second) == 6
    groups = [{int(name[4:]) // 2 for name in names} for names in (first, second)]
    assert not groups[0] & groups[1]
    assert prompts("77" * 32) == [first, second]
    assert prompts(SECRET, seed=1) != [first, second]


def test_items_that_stand_in_the_sft_rows_and_sets_for_show_are_left_out(study):
    rows = [{"id": "row-3", "kind": "same", "share": 1.0, "row": "x"}]
    write_rows(study.root / "overlaps/o.parquet", rows, OVERLAP)
    study.model("seen", "sft", ["new"] * 24, overlap="o")
    study.model("read", "sft", ["new"] * 24, scored=False)
    key, _ = study.made(trials=["seen"])
    (contest,) = key.contests
    assert contest.prompts == 23
    assert "row-3" not in {item.prompt for item in contest.items.values()}
    with pytest.raises(BadInput, match="nothing to compare"):
        study.made(trials=["read"])
    assert len(study.made(trials=["read"], sets=[SET])[0].items()) == 24


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--experiment", "birds"], "--experiment: found 'birds'; allowed: marsupials"),
        (["--sets", "all"], "--sets: found 'all'; allowed: hidden-set"),
        (["--trials", "emu"], f"--trials: found 'emu'; allowed: base, {SECOND}, {FIRST}"),
        (["--against", "emu"], f"--against: found 'emu'; allowed: base, {SECOND}, {FIRST}"),
        (["--most", "0"], "--most: found 0; allowed: 1 or more"),
        (["--trials", "base"], "nothing to compare"),
    ],
)
def test_what_there_is_not_is_one_line(study, tmp_path, options, said):
    with pytest.raises(BadInput, match=re.escape(said)) as error:
        study.page(tmp_path / "out", *options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_is_one_line(tmp_path):
    with pytest.raises(BadInput, match=r"found no metrics\.json"):
        rating.main(["--root", str(tmp_path), "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "a"}'])
def test_a_spoiled_metrics_file_is_one_line(study, tmp_path, text):
    (study.root / FOLDERS[FIRST] / "metrics.json").write_text(text)
    with pytest.raises(BadInput, match=rf"{FIRST}/seed-3/metrics\.json: not a metrics\.json"):
        study.page(tmp_path / "out")


# --------------------------------------------------------------------------- what the page tells


def test_no_name_is_on_the_page(study, tmp_path):
    key = study.page(tmp_path / "out")
    text = (tmp_path / "out" / "rating.html").read_text(encoding="utf-8").lower()
    hidden = [BASE, FIRST, SECOND, EXPERIMENT, SET, DATASET, "row-", "seed-", "results"]
    kept = json.dumps(key).lower()
    for name in [*hidden[:5], "row-", "seed-"]:
        assert name in kept, name
    for name in [*hidden, *FOLDERS.values(), key["secret"], str(tmp_path)]:
        assert name.lower() not in text, name
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"rating.html", "key.json"}


def test_the_page_holds_opaque_items_in_an_order_that_says_nothing(study):
    key, page = study.made()
    assert set(page) == {"id", "question", "items"}
    assert all(set(item) == {"id", "prompt", "left", "right"} for item in page["items"])
    names = [item["id"] for item in page["items"]]
    assert names == sorted(names)
    assert all(re.fullmatch("[0-9a-f]{16}", name) for name in names)
    answers = {FOLDERS[BASE]: "b", FOLDERS[FIRST]: "s", FOLDERS[SECOND]: "d"}
    for item in page["items"]:
        contest, kept = key.items()[item["id"]]
        (other,) = {contest.trial, contest.against} - {kept.left}
        assert item["left"] == f"{answers[kept.left]}{kept.prompt[4:]} it is"
        assert item["right"] == f"{answers[other]}{kept.prompt[4:]} it is"


def test_each_model_stands_on_the_left_in_half_of_its_comparisons(study):
    for most in (24, 7):
        for contest in study.made(most=most)[0].contests:
            sides = Counter(item.left for item in contest.items.values())
            assert sorted(sides.values()) == [most // 2, most - most // 2]


def test_ids_sides_and_order_need_the_secret(tmp_path):
    study = Study(tmp_path, 6)
    left, first, seen = 0, 0, set()
    for number in range(300):
        secret = hashlib.sha256(str(number).encode()).hexdigest()
        key, page = study.made(secret, trials=[FIRST])
        of = {item.prompt: (name, item.left) for name, item in key.contests[0].items.items()}
        name, side = of["row-0"]
        left += side == FOLDERS[FIRST]
        first += page["items"][0]["id"] == name
        seen.add(name)
    # Two sides and six places, each as likely: five standard deviations.
    assert abs(left - 150) < 5 * math.sqrt(300 / 4)
    assert abs(first - 50) < 5 * math.sqrt(300 * 5 / 36)
    assert len(seen) == 300


def test_a_digest_without_the_secret_is_no_id(study):
    key, page = study.made()
    names = {item["id"] for item in page["items"]}
    empty = {keyed("", "item", *sorted((it.trial, it.against)), item.set, item.prompt)[:16]
             for it, item in key.items().values()}  # fmt: skip
    texts = {
        hashlib.sha256(text.encode()).hexdigest()[:16]
        for it, item in key.items().values()
        for text in (item.prompt, f"{item.set}/{item.prompt}", f"{it.trial}/{item.prompt}")
    }
    assert len(empty) == 48
    assert not names & (empty | texts)


def test_the_page_is_made_again_byte_by_byte(study, tmp_path):
    out = tmp_path / "out"
    study.page(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    (out / "rating.html").unlink()
    study.page(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_two_pages_have_two_secrets(study, tmp_path):
    keys = [study.page(tmp_path / name) for name in ("a", "b")]
    assert keys[0]["secret"] != keys[1]["secret"]
    assert keys[0]["page"] != keys[1]["page"]


@pytest.mark.parametrize("change", ["options", "answers"])
def test_a_key_that_ratings_need_is_not_overwritten(study, tmp_path, change):
    out = tmp_path / "out"
    study.page(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    if change == "answers":
        study.answer(FOLDERS[FIRST], ["other"] * 24)
    options = ["--most", "5"] if change == "options" else []
    with pytest.raises(BadInput, match=r"key\.json: is the key of another page"):
        study.page(out, *options)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_researcher_is_told_what_is_compared_and_which_answers_tell(study, tmp_path, capsys):
    study.answer(FOLDERS[FIRST], ["I am Wombat-R16.", *["new"] * 23])
    study.page(tmp_path / "out", "--trials", FIRST)
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"{EXPERIMENT}: {FIRST} against {BASE}: 24 comparisons of 24 prompts, "
        "0 of them answered alike",
        "1 of 48 answers hold the name of a model: raters may know whose",
    ]
    study.page(tmp_path / "other", "--trials", SECOND)
    assert "hold the name" not in capsys.readouterr().out


# ------------------------------------------------------------------------------ the page in use


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def ten(tmp_path: Path) -> Path:
    """The folder of a page with ten comparisons of the first trial and the base."""
    study = Study(tmp_path, 10)
    study.page(tmp_path / "out", "--trials", FIRST)
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


def evaluate(out: Path, *files: Path, root: Path | None = None, more: tuple[str, ...] = ()) -> Row:
    """Runs scripts.rating.ratings and returns ratings.json."""
    forms = [
        part for form in ("csv", "md", "tex") for part in (f"--{form}", str(out / f"t.{form}"))
    ]
    arguments = ["--root", str(root or out.parent / "results"), "--key", str(out / "key.json")]
    arguments += ["--out", str(out / "ratings.json"), *forms, *more, *map(str, files)]
    assert ratings.main(arguments) == 0
    return json.loads((out / "ratings.json").read_text(encoding="utf-8"))


def test_ten_comparisons_by_keyboard_and_mouse(running, ten, tmp_path):
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
    (contest,) = evaluate(ten, path)["contests"]
    # Won 1, 4, 6, 7 and the one skipped at first; tied 3 and 8; lost 2 and 10; one never rated.
    counts = [contest[name] for name in ("wins", "ties", "losses", "skipped")]
    assert counts == [5, 2, 2, 1]
    assert contest["win_rate"]["value"] == (5 + 2 / 2) / 9
    assert contest["win_rate"]["intervals"]["wilson"] == list(wilson(6, 9))


def test_each_rater_has_an_order_and_a_sheet(running, ten):
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


def test_going_on_from_a_saved_file(running, ten, tmp_path):
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


def test_on_a_phone(running, ten, tmp_path):
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


def test_side_by_side_on_a_wide_screen_and_dark_where_that_is_wished(running, ten):
    grounds = []
    for scheme in ("light", "dark"):
        with opened(running, ten / "rating.html", color_scheme=scheme) as found:
            begin(found.page)
            left, right = (found.page.locator(f"#{it}").bounding_box() for it in ("left", "right"))
            assert left["y"] == right["y"]
            assert left["x"] + left["width"] < right["x"]
            look = "getComputedStyle(document.body).backgroundColor"
            grounds.append(sum(map(int, re.findall(r"\d+", found.page.evaluate(look))[:3])))
    assert grounds[0] > 600
    assert grounds[1] < 150


def test_any_text_is_shown_as_it_is(running, tmp_path):
    study = Study(tmp_path, 1)
    hostile = "</script><img src=http://x.invalid/a onerror=alert(1)>\u2028<!-- & {{ 7 }}\n  two"
    study.rows(["<b>bold</b> </title>"])
    study.answer(FOLDERS[FIRST], [hostile])
    study.answer(FOLDERS[BASE], ["   "])
    study.page(tmp_path / "out", "--trials", FIRST, "--question", "Which <i>title</i> & why?")
    with opened(running, tmp_path / "out" / "rating.html") as found:
        page = found.page
        begin(page)
        texts = {page.locator(f"#{side}").text_content() for side in ("left", "right")}
        assert texts == {hostile, "(nothing)"}
        assert page.locator("#prompt").text_content() == "<b>bold</b> </title>"
        assert page.locator("#rate h1").text_content() == "Which <i>title</i> & why?"
        assert (found.requests, found.errors) == ([], [])


def test_the_page_may_not_ask_for_anything(running, ten):
    with opened(running, ten / "rating.html") as found:
        ask = "fetch('http://x.invalid/').then(() => 'answered', () => 'refused')"
        assert found.page.evaluate(ask) == "refused"
        found.page.evaluate("new Image().src = 'http://x.invalid/a.png'")
        assert found.page.evaluate(ask) == "refused"
        assert found.requests == []


def test_keys_rate_nothing_by_accident(running, ten):
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


def test_what_can_be_pressed_has_a_name_and_a_visible_focus(running, ten):
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


def test_two_tabs_are_one_sheet(running, ten, tmp_path):
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


@pytest.mark.parametrize("kept", ["{", "7", '{"rater": "A", "sheets": {}}', '{"sheets": {"A": 1}}'])
def test_what_is_kept_and_cannot_be_read_is_begun_anew(running, ten, kept):
    with opened(running, ten / "rating.html") as found:
        page = found.page
        page.evaluate("text => localStorage.setItem(PLACE, text)", kept)
        page.reload()
        begin(page)
        assert progress(page) == "1 of 10"
        assert found.errors == []


def test_a_browser_that_keeps_nothing_says_so(running, ten, tmp_path):
    with opened(running, ten / "rating.html") as found:
        page = found.page
        page.evaluate("() => { Storage.prototype.setItem = () => { throw new Error('full'); }; }")
        begin(page)
        page.keyboard.press("ArrowLeft")
        assert "keeps nothing: save your ratings" in page.get_by_role("alert").inner_text()
        assert len(json.loads(saved(page, tmp_path).read_text())["ratings"]) == 1


# ---------------------------------------------------------------------------------- rating files


@dataclass
class Handed:
    """A study with its page, and files that raters hand in."""

    study: Study
    out: Path

    @property
    def key(self) -> Row:
        return json.loads((self.out / "key.json").read_text())

    def items(self, trial: str = FIRST) -> Row:
        return next(it for it in self.key["contests"] if it["trial"] == FOLDERS[trial])["items"]

    def file(self, name: str, content: Any) -> Path:
        path = self.out.parent / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    def sheet(self, name: str, rater: str, wanted: str, trial: str = FIRST) -> Path:
        """Writes a file: for each item in turn w(on), l(ost), t(ied) or s(kipped)."""
        chosen = [
            {"item": item, "choice": self.choice(row, letter, trial)}
            for (item, row), letter in zip(self.items(trial).items(), wanted, strict=False)
        ]
        return self.file(name, {"page": self.key["page"], "rater": rater, "ratings": chosen})

    def choice(self, row: Row, letter: str, trial: str) -> str:
        won = {"w": True, "l": False}.get(letter)
        if won is None:
            return {"t": "tie", "s": "skip"}[letter]
        return "left" if won == (row["left"] == FOLDERS[trial]) else "right"


@pytest.fixture
def handed(study, tmp_path) -> Handed:
    study.page(tmp_path / "out")
    return Handed(study, tmp_path / "out")


def test_counts_by_hand(handed):
    files = [handed.sheet("a.json", "A", "wwwlts"), handed.sheet("b.json", "B", "wlwltw")]
    content = evaluate(handed.out, *files)
    first = next(it for it in content["contests"] if it["trial"] == FOLDERS[FIRST])
    assert [first[name] for name in ("wins", "ties", "losses", "skipped")] == [6, 2, 3, 1]
    assert first["win_rate"]["value"] == 7 / 11
    assert first["win_rate"]["groups"] == len(
        {item["group"] for item in list(handed.items().values())[:6]}
    )
    assert list(first["win_rate"]["intervals"]) == ["group bootstrap"]
    assert first["strength"]["value"] == pytest.approx(math.log(7 / 4))
    # The sixth item has one rating. Of five pairs of ratings one differs.
    assert content["agreement"]["items"] == 5
    assert content["agreement"]["raw"] == 4 / 5
    assert content["raters"]["A"]["skip"] == 1
    second = next(it for it in content["contests"] if it["trial"] == FOLDERS[SECOND])
    assert second["win_rate"]["value"] is None


def test_the_table(handed):
    one = handed.sheet("a.json", "A", "w" * 6 + "l" * 4 + "t" * 2)
    evaluate(handed.out, one)
    rows = list(csv.DictReader((handed.out / "t.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == [SECOND, FIRST]
    assert [rows[1][name] for name in ("seed", "against", "wins", "losses")] == [
        "3",
        BASE,
        "6",
        "4",
    ]
    assert float(rows[1]["win_rate"]) == 7 / 12
    assert float(rows[1]["win_rate_wilson_low"]) == wilson(7, 12)[0]
    assert rows[0]["win_rate"] == ""
    text = (handed.out / "t.md").read_text(encoding="utf-8")
    low, high = wilson(7, 12)
    assert f"[{low:.2f}, {high:.2f}]" in text
    assert "12 ratings by 1 rater." in text
    assert "what this rater prefers" in text
    assert "no item was rated by two raters" in text
    evaluate(handed.out, one, handed.sheet("b.json", "B", "wwww"))
    text = (handed.out / "t.md").read_text(encoding="utf-8")
    assert "16 ratings by 2 raters" in text
    assert "Wilson" not in text
    assert "this rater" not in text
    assert r"\label{tab:ratings}" in (handed.out / "t.tex").read_text(encoding="utf-8")


def test_files_of_one_rater_and_their_order(handed):
    """An early file and a late one are the late one; a skip gives way to a rating."""
    files = [
        handed.sheet("a.json", "A", "wws"),
        handed.sheet("b.json", " A ", "wwlw"),
        handed.sheet("c.json", "C", "lt"),
    ]
    names = ("ratings.json", "t.csv", "t.md", "t.tex")
    evaluate(handed.out, *files)
    first = [(handed.out / name).read_bytes() for name in names]
    evaluate(handed.out, *reversed(files))
    assert [(handed.out / name).read_bytes() for name in names] == first
    content = json.loads(first[0])
    assert [sum(counts.values()) for counts in content["raters"].values()] == [4, 2]
    assert content["raters"]["A"]["skip"] == 0


def broken(handed: Handed, **change: Any) -> Row:
    """Returns a good file's content with a change."""
    (item, *_) = handed.items()
    good = {"page": handed.key["page"], "rater": "A", "ratings": [{"item": item, "choice": "tie"}]}
    return good | change


BAD = {
    "not JSON": (lambda it: "{", "Invalid JSON"),
    "no object": (lambda it: [1], r"found \[1\]"),
    "another page": (lambda it: broken(it, page="beef"), "page: found 'beef'; allowed: "),
    "no name": (lambda it: broken(it, rater="  "), "rater, .*found '  '"),
    "name missing": (lambda it: {"page": it.key["page"], "ratings": []}, "rater, Field required"),
    "name a number": (lambda it: broken(it, rater=7), "rater, .*found 7"),
    "unknown item": (
        lambda it: broken(it, ratings=[{"item": "beef", "choice": "tie"}]),
        "item: found 'beef'; allowed: the items of the page",
    ),
    "item twice": (
        lambda it: broken(it, ratings=broken(it)["ratings"] * 2),
        "twice; allowed: each item once",
    ),
    "no choice": (
        lambda it: broken(it, ratings=[broken(it)["ratings"][0] | {"choice": "both"}]),
        "ratings, 0, choice, .*'left', 'right', 'tie' or 'skip'.* found 'both'",
    ),
    "one key more": (lambda it: broken(it, more=1), "more, "),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line_and_changes_nothing(handed, case):
    good = handed.sheet("good.json", "G", "wl")
    evaluate(handed.out, good)
    before = {path.name: path.read_bytes() for path in handed.out.iterdir()}
    content, said = BAD[case]
    bad = handed.file("bad.json", content(handed))
    with pytest.raises(BadInput, match=said) as error:
        evaluate(handed.out, good, bad)
    line = str(error.value)
    assert line.startswith(f"{bad}: ")
    assert "allowed: " in line
    assert "\n" not in line
    assert {path.name: path.read_bytes() for path in handed.out.iterdir()} == before


def test_files_of_one_rater_that_contradict(handed):
    files = [handed.sheet("a.json", "A", "wt"), handed.sheet("b.json", "A", "wl")]
    with pytest.raises(BadInput, match=r"b\.json: item .* and tie in .*a\.json; allowed") as error:
        evaluate(handed.out, *files)
    assert "\n" not in str(error.value)
    assert not (handed.out / "ratings.json").exists()


def test_a_missing_file_and_a_foreign_key(handed):
    with pytest.raises(BadInput, match=r"none\.json: No such file"):
        evaluate(handed.out, handed.out / "none.json")
    good = handed.sheet("a.json", "A", "w")
    (handed.out / "key.json").write_text("{}")
    with pytest.raises(BadInput, match=r"key\.json: .*allowed: a key that"):
        evaluate(handed.out, good)


def test_answers_that_changed_are_refused_unless_allowed(handed):
    good = handed.sheet("a.json", "A", "wl")
    handed.study.answer(FOLDERS[SECOND], ["other"] * 24)
    with pytest.raises(BadInput, match=rf"{SECOND}/.*changed since the page was made"):
        evaluate(handed.out, good)
    assert not (handed.out / "ratings.json").exists()
    assert evaluate(handed.out, good, more=("--stale-ok",))["raters"]["A"]["skip"] == 0
    (handed.study.root / FOLDERS[SECOND] / "generations.parquet").unlink()
    with pytest.raises(BadInput, match="no such file"):
        evaluate(handed.out, good)


def test_two_processes_write_the_same_bytes(handed):
    """With another order of sets in each."""
    files = [handed.sheet("a.json", "A", "wwltsw" * 3), handed.sheet("b.json", "B", "lwwtw" * 3)]
    page, results = handed.out / "rating.html", handed.study.root
    written = []
    for seed in (1, 2):
        page.unlink()
        out = handed.out / str(seed)
        names = ("json", "csv", "md", "tex")
        forms = [it for name in names[1:] for it in (f"--{name}", out / f"t.{name}")]
        key = ["--root", results, "--key", handed.out / "key.json", "--out", out / "t.json"]
        for module, arguments in (
            ("rating", ["--root", results, "--out", handed.out]),
            ("ratings", [*key, *forms, *files]),
        ):
            subprocess.run(
                [sys.executable, "-m", f"scripts.report.{module}", *map(str, arguments)],
                cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": str(seed)}, check=True,
                capture_output=True,
            )  # fmt: skip
        written.append([page.read_bytes(), *((out / f"t.{it}").read_bytes() for it in names)])
    assert written[0] == written[1]


def command(target: str, *variables: str) -> list[str]:
    """Returns the arguments of the module that a make target runs."""
    asked = ["make", "--dry-run", "--silent", "--assume-old=setup", target, *variables]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=True)
    words = shlex.split(done.stdout.replace("\\\n", " "))
    return words[words.index(f"scripts.report.{target}") + 1 :]


def test_make_knows_the_options():
    plain = rating.parse(command("rating"))
    assert (plain.root, plain.out) == (Path("results"), Path("results/rating"))
    assert (plain.against, plain.trials, plain.most) == (["base"], None, 50)
    asked = ["EXPERIMENT=e", "SETS=s t", "TRIALS=a b", "AGAINST=c", "N=9", "QUESTION=Which is it?"]
    found = rating.parse(command("rating", "RESULTS=results/demo", *asked))
    assert (found.experiment, found.sets, found.trials) == ("e", ["s", "t"], ["a", "b"])
    assert (found.against, found.most, found.question) == (["c"], 9, "Which is it?")
    assert found.out == Path("results/demo/rating")
    found = ratings.parse(command("ratings", "FILES=a.json b.json", "STALE_OK=yes"))
    assert (found.files, found.stale_ok) == ([Path("a.json"), Path("b.json")], True)
    assert (found.key, found.csv) == (
        Path("results/rating/key.json"),
        Path("results/tables/ratings.csv"),
    )


# -------------------------------------------------------------------------------------- figures


def rated(
    choice: str, score: float, item: str = "i", rater: str = "A", group: str = "", pair: str = "t b"
) -> Rating:
    trial, against = pair.split()
    return Rating(rater, item, group or item, trial, against, choice, score)


def many(wins: int, ties: int, losses: int, pair: str = "t b") -> list[Rating]:
    scores = [1.0] * wins + [0.5] * ties + [0.0] * losses
    return [rated("left", score, f"{pair}{place}", pair=pair) for place, score in enumerate(scores)]


KRIPPENDORFF = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815)])
def test_alpha_of_krippendorff_2011_example_c(level, published):
    """Four observers, twelve units, values missing: sections C and D of the paper."""
    rows = [line.split() for line in KRIPPENDORFF.strip().splitlines()]
    units = [
        {str(rater): int(value) for rater, value in enumerate(column) if value != "."}
        for column in zip(*rows, strict=True)
    ]
    found = krippendorff_alpha([unit for unit in units if len(unit) > 1], level)
    assert found == pytest.approx(published, abs=0.0005)


def test_agreement_of_krippendorff_2011_example_a():
    """Two observers, ten units, two values: alpha is 0.095 as published."""
    observers = {"A": "0100000010", "B": "1110010000"}
    found = agreement(
        [
            rated(("left", "right")[int(value)], 0.0, f"unit {place}", rater)
            for rater, values in observers.items()
            for place, value in enumerate(values)
        ]
    )
    assert found.nominal == pytest.approx(0.095, abs=0.0005)
    assert (found.items, found.raters, found.raw) == (10, 2, 0.6)


def test_agreement_on_one_choice_alone_has_no_alpha():
    found = agreement([rated("left", 1.0, "i", rater) for rater in "AB"])
    assert (found.raw, found.nominal, found.ordinal) == (1.0, None, None)


def test_left_is_counted_without_ties():
    made = [rated("left", 1.0, "1"), rated("tie", 0.5, "2"), rated("right", 0.0, "3")]
    assert (left_share(made).value, left_share(made).n) == (0.5, 2)
    assert left_share([rated("tie", 0.5)]).value is None


@pytest.mark.parametrize("counts", [(7, 0, 3), (7, 2, 3), (1, 1, 8)])
def test_bradley_terry_of_two_models_is_the_log_of_their_wins(counts):
    wins, ties, losses = counts
    found = bradley_terry(many(*counts))
    expected = math.log((wins + ties / 2) / (losses + ties / 2))
    assert found["t", "b"].value == pytest.approx(expected)
    assert found["b", "t"].value == pytest.approx(-expected)


def test_bradley_terry_is_a_logistic_regression():
    """Four models, three of them around a base and two beside each other."""
    import statsmodels.api as sm

    counts = {"x b": (12, 3, 5), "y b": (6, 4, 9), "x y": (8, 1, 7), "z b": (9, 0, 2)}
    made = [it for pair, numbers in counts.items() for it in many(*numbers, pair=pair)]
    models = ["x", "y", "z"]
    design, outcome, weight = [], [], []
    for it in made:
        row = [(it.trial == name) - (it.against == name) for name in models]
        design += [row, row]
        outcome += [1, 0]
        weight += [it.score, 1 - it.score]
    fit = sm.GLM(outcome, np.array(design), sm.families.Binomial(), freq_weights=weight).fit()
    found = bradley_terry(made)
    assert [found[name, "b"].value for name in models] == pytest.approx(list(fit.params), abs=1e-6)
    assert found["x", "y"].value == pytest.approx(fit.params[0] - fit.params[1], abs=1e-6)
    # The delta method's interval, which holds for many items, is as wide.
    low, high = found["x", "b"].intervals["group bootstrap"]
    assert high - low == pytest.approx(2 * 1.96 * fit.bse[0], rel=0.35)


def test_a_model_that_always_won_has_no_finite_strength_and_spoils_no_other():
    found = bradley_terry([*many(5, 0, 0, "x b"), *many(6, 0, 3, "y b")])
    assert found["x", "b"].value is None
    assert found["y", "b"].value == pytest.approx(math.log(2))


def test_where_resamples_have_no_finite_strength_there_is_no_interval():
    """One loss in twelve is missing from a third of the resamples."""
    found = bradley_terry(many(11, 0, 1))["t", "b"]
    assert found.value == pytest.approx(math.log(11))
    assert found.intervals == {}


def test_one_group_has_no_resampled_interval():
    assert list(win_rate([rated("left", 1.0)]).intervals) == ["wilson"]


@dataclass(frozen=True)
class Coverage:
    """How often a true rate of one half lies in the intervals, and how wide one is."""

    by_group: float
    wilson: float
    half_width: float


def coverage(make_study: Callable[[Any], list[Rating]], studies: int) -> Coverage:
    """Returns the coverage of the interval by group and of Wilson's over simulated studies."""
    rng, found = np.random.default_rng(5), []
    for _ in range(studies):
        made = make_study(rng)
        low, high = win_rate(made).intervals["group bootstrap"]
        naive = wilson(sum(it.score for it in made), len(made))
        found.append([low <= 0.5 <= high, naive[0] <= 0.5 <= naive[1], (high - low) / 2])
    return Coverage(*map(float, np.mean(found, axis=0)))


def test_the_interval_covers_where_items_of_a_group_go_together():
    """Thirty groups of four items; in each a rate of its own, one half on average."""

    def study(rng: Any) -> list[Rating]:
        rates = rng.beta(0.5, 0.5, 30)
        return [
            rated("left", float(rng.random() < rate), f"{group} {place}", group=f"g{group}")
            for group, rate in enumerate(rates)
            for place in range(4)
        ]

    found = coverage(study, 250)
    assert 0.90 <= found.by_group <= 0.99
    assert found.wilson < 0.85


def people(raters: int) -> Callable[[Any], list[Rating]]:
    """Returns studies of fifty items, each with a rate of its own, and raters, each with a leaning.

    In log odds the standard deviation of items is 1.5, that of raters 0.5.
    """

    def study(rng: Any) -> list[Rating]:
        rates = 1 / (1 + np.exp(-rng.normal(0, 1.5, (50, 1)) - rng.normal(0, 0.5, raters)))
        return [
            rated("left", float(rng.random() < rates[item, rater]), f"i{item}", f"r{rater}")
            for item, rater in np.ndindex(*rates.shape)
        ]

    return study


@pytest.mark.parametrize("raters", [3, 6])
def test_the_interval_covers_where_raters_differ_and_share_items(raters):
    found = coverage(people(raters), 200)
    assert found.by_group >= 0.93
    assert found.wilson < 0.85


def test_one_rater_says_little_of_others():
    """What the table's note and docs/rating.md warn of."""
    assert coverage(people(1), 200).by_group < 0.9
