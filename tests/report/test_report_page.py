"""The page of a run, opened in a real browser: what it says, and that everything in it works."""

import base64
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_rows
from scripts.common.rows import DEMONSTRATIONS, ITEMS
from scripts.report import headline
from scripts.report.page import make
from scripts.report.page.answers import PROMPTS, sets_of
from scripts.report.page.findings import sentences
from scripts.report.page.trials import flat, groups_of
from scripts.report.results import Results as Read
from scripts.report.tables import dpo, metrics, sft
from tests.browser import PHONE, Opened, browser, opened
from tests.report.conftest import LORA, Results, answered, generated, looked_up, measured, preferred

ROOT = Path(__file__).parents[2]
HOSTILE = (
    '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
    "<!-- &amp; {{ 7 * 7 }} \u2028 \u202e مرحبا بالعالم 🎉 שלום"
)
ASKED = PROMPTS + 30
TABLES = {"sft": sft, "dpo": dpo, "metrics": metrics}
IDS = [f"q{number}" for number in range(ASKED)]


# ------------------------------------------------------------------------------- a run by hand


def png(width: int, height: int) -> bytes:
    """Returns a white image (https://www.w3.org/TR/png/)."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    rows = (b"\0" + b"\xff" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    )


def write_items(made: Results, folder: str, right: dict[str, float]) -> None:
    """Writes whether each answer matches the known one."""
    items = [
        {"set": "problems", "metric": "exact_match", "id": key, "group": key, "score": score,
         "weight": 1.0}
        for key, score in right.items()
    ]  # fmt: skip
    write_rows(made.root / folder / "items.parquet", items, ITEMS)


def write_prompts(made: Results) -> None:
    """Writes the rows that the prompts come from; the second one is a conversation."""
    rows = [
        {"id": key, "group": key, "prompt": [{"role": "user", "content": f"How much is {key}?"}],
         "completion": [{"role": "assistant", "content": f"It is {key}."}]}
        for key in IDS
    ]  # fmt: skip
    rows[0]["prompt"][0]["content"] = HOSTILE
    said = {"user": "First", "assistant": "Then"}
    rows[1]["prompt"] = [{"role": role, "content": text} for role, text in said.items()]
    write_rows(made.root / "data/word-problems/test.parquet", rows, DEMONSTRATIONS)


def run_by_hand(root: Path) -> Results:
    """Returns a base and twelve trials that answered more prompts than a page has, and pairs."""
    made, title = Results(root), "Word problems & <i>dialogues</i>"
    texts = [f"base says {number % 7}" for number in range(ASKED)]
    base = answered("problems", *texts, prompts=IDS)
    made.base("tutor", title, generated(10.5, 0.07, 0.2), answers=base)
    write_items(made, "bases/tutor", {key: float(number == 2) for number, key in enumerate(IDS)})
    losses = [2.5, 9.25, 1.25, 9.25, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    for number, loss in enumerate(losses):
        own = [*texts]
        own[number] = f"trial {number} says something else"
        if number == 0:
            own[0] = HOSTILE
            own[3] = "A long answer. " * 120
        name = f"sft-{number}"
        made.trial(
            name, "sft", generated(loss, 0.1, 0.3 + number / 100), title=title,
            answers=answered("problems", *own, prompts=IDS),
            setting={"lora": LORA | {"r": 2 ** (number % 3 + 1)}},
            outcome={"versions": {"torch": "2.13.0"}, "layout": {"ran": "shared"}},
        )  # fmt: skip
        write_items(made, f"trials/{name}/seed-0", {key: float(key == "q3") for key in IDS})
    for name, accuracy in (("dpo-a", 0.8125), ("dpo-b", 0.75)):
        made.trial(name, "dpo", preferred(accuracy), title=title, sets={"problems": {}})
        write_items(made, f"trials/{name}/seed-0", {})
    made.lookup("tutor", title, looked_up())
    write_prompts(made)
    for name, module in TABLES.items():
        paths = [made.root / "tables" / f"{name}.{form}" for form in ("csv", "md", "tex", "json")]
        assert module.main(made.arguments(*paths)) == 0
    (made.root / "figures").mkdir()
    (made.root / "figures/accuracy.png").write_bytes(png(30, 20))
    return made


def arguments(made: Results, out: Path, *more: str) -> list[str]:
    """Returns the page's command line."""
    return [
        *made.arguments(out),
        "--tables", *TABLES, "--figures", "accuracy", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Results:
    return run_by_hand(tmp_path_factory.mktemp("page") / "results")


@pytest.fixture(scope="module")
def path(made: Results) -> Path:
    out = made.root / "report.html"
    assert make.main(arguments(made, out)) == 0
    return out


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    with browser() as running:
        yield running


@pytest.fixture
def shown(chromium, path) -> Iterator[Opened]:
    """The page, opened; at the end nothing went wrong in it and it asked for nothing."""
    with opened(chromium, path) as found:
        yield found
        assert found.errors == []
        assert found.requests == []


def column(shown: Opened, table: str, place: int) -> list[str]:
    """Returns the cells of a table's column that are to be seen, from above."""
    rows = shown.page.locator(f"#table-{table} tbody tr:visible")
    return [row.locator("th, td").nth(place).text_content() for row in rows.all()]


def header(shown: Opened, table: str, text: str):
    return shown.page.locator(f"#table-{table} thead th", has_text=text)


# ------------------------------------------------------------------------------------- the page


def test_nothing_is_asked_for_and_nothing_complains(chromium, path):
    with opened(chromium, path) as found:
        said = []
        found.page.on("console", lambda message: said.append(message.text))
        found.page.reload()
        assert found.page.locator("#answers article").count() == 10
        assert (said, found.errors, found.requests) == ([], [], [])


def test_every_address_is_in_the_file(path):
    text = re.sub(r'<script type="application/json".*?</script>', "", path.read_text("utf-8"),
                  flags=re.DOTALL)  # fmt: skip
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses
    assert [it[:40] for it in addresses if not it.startswith(("data:", "#"))] == []
    assert "url(" not in text
    assert "@import" not in text


def test_two_processes_write_the_same_bytes(made, path, tmp_path):
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.html"
        subprocess.run(
            [sys.executable, "-m", "scripts.report.page.make", *arguments(made, out)],
            cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": seed}, check=True,
        )  # fmt: skip
        assert out.read_bytes() == path.read_bytes()


def test_whatever_a_model_wrote_stays_text(shown):
    first = shown.page.locator("#answers article").first
    assert first.locator(".prompt").text_content() == HOSTILE
    assert first.locator(".answer").nth(1).locator(".text").text_content() == HOSTILE
    assert shown.page.evaluate("window.hacked") is None
    assert shown.page.locator("h1").text_content() == "Word problems & <i>dialogues</i>"


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


def luminance(color: str) -> float:
    """Returns the relative luminance of `rgb(…)` (https://www.w3.org/TR/WCAG22/)."""
    parts = [int(it) / 255 for it in re.findall(r"\d+", color)[:3]]
    linear = [it / 12.92 if it <= 0.04045 else ((it + 0.055) / 1.055) ** 2.4 for it in parts]
    return sum(weight * it for weight, it in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


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


# ------------------------------------------------------------------------------------- headline


def test_headline_names_the_best_and_how_far_trials_reach(made):
    assert [it.text for it in sentences(Read(made.root, made.plan))] == [
        "Exact match on problems: 0.20 [0.08, 0.32] with the base tiny_llama; "
        "0.39 [0.27, 0.51] with sft-9, the highest of 10 SFT trials (0.30 to 0.39).",
        "Preference accuracy: 0.81 [0.75, 0.88] with dpo-a, the highest of 2 DPO trials "
        "(0.75 to 0.81); 0.72 [0.62, 0.75] by win counts in train, no model.",
    ]


def test_headline_over_seeds_is_a_mean(empty_results):
    for seed, loss in enumerate((1.0, 2.0, 6.0)):
        figures = {"held_out_loss": measured(loss)}
        empty_results.trial("sft-1", "sft", figures, title="Tutor", seed=seed)
    found = sentences(Read(empty_results.root, empty_results.plan))
    assert [it.text for it in found] == [
        "Held-out loss: 3.000 with sft-1, mean of 3 seeds (1.000 to 6.000)."
    ]


def test_trials_that_are_alike_are_not_ranked(empty_results):
    for name in ("sft-1", "sft-2"):
        empty_results.trial(name, "sft", {"held_out_loss": measured(1.0)}, title="Tutor")
    found = sentences(Read(empty_results.root, empty_results.plan))
    assert found[0].text == "Held-out loss: 1.000 with sft-1, as with each of 2 SFT trials."


def test_a_mark_stands_first(chromium, made, tmp_path):
    out = tmp_path / "report.html"
    make.main(arguments(made, out, "--mark", "Rehearsal: tiny models"))
    with opened(chromium, out) as found:
        assert found.page.title().startswith("[Rehearsal: tiny models] ")
        assert found.page.locator("header p").first.text_content() == "Rehearsal: tiny models"


# ---------------------------------------------------------------------------- tables and figures


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


# ------------------------------------------------------------------------------ before and after


def articles(shown: Opened):
    return shown.page.locator("#answers article")


def numbers(shown: Opened) -> list[int]:
    """Returns the numbers of the prompts that are shown."""
    return [int(it.split()[1]) for it in articles(shown).locator("> header b").all_text_contents()]


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
        "user: First\n\nassistant: Then"
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


def test_sets_without_a_known_answer_show_none(results):
    """Titles, say: there is a prompt, but no right answer."""
    made = results
    write_prompts(made)
    for folder in ("bases/tutor", "bases/titles", *(f"trials/{name}/seed-0" for name in (
        "sft_1", "sft_2", "dpo_1", "titles-1", "titles-2"
    ))):  # fmt: skip
        write_items(made, folder, {})
    (found,) = sets_of(Read(made.root, made.plan))
    assert found["models"][0] == {"name": "tiny_llama", "method": "base", "base": True}
    assert found["items"][0]["answers"][0] == ["5", 1, "itself", None]
    # sft_2 and dpo_1 left no answers.
    assert found["items"][0]["answers"][2:] == [None, None]


# --------------------------------------------------------------------------------------- trials


def test_what_differs_from_the_first_trial(made):
    sft_group, dpo_group = groups_of(Read(made.root, made.plan))
    assert sft_group.differing == ["lora.r"]
    assert [sft_group.value(it, "lora.r") for it in sft_group.trials][:4] == ["2", "4", "8", "2"]
    assert dpo_group.differing == []
    second = sft_group.trials[1]
    assert second.name == "sft-1, seed 0"
    assert (second.settings["lora.r"], sft_group.changed(second)) == ("4", 1)
    assert second.made_with["versions.torch"] == "2.13.0"
    assert second.made_with["layout.ran"] == "shared"
    assert "versions.torch" not in second.outcomes
    assert second.outcomes["train_loss"] == "0.71414"


def test_of_very_many_trials_the_page_has_those_that_lead_and_says_so(made, monkeypatch):
    monkeypatch.setattr(headline, "ROOM", 2)
    text = make.page(Read(made.root, made.plan), [], [], None)
    assert "of 10 trials the 2 that lead in held-out loss" in text
    trials = text[text.index('<section id="trials">') :]
    assert [f"sft-{number}, seed 0" in trials for number in range(10)] == [
        number in (0, 2) for number in range(10)
    ]
    # All of them are counted.
    assert "12 trained models" in text


def test_leaves_by_dotted_names():
    nested = {"a": {"b": None, "c": [1, "x"], "d": True}, "e": 4e-3, "f": "text", "g": 1234567}
    assert flat(nested) == {
        "a.b": "–", "a.c": '[1, "x"]', "a.d": "true", "e": "0.004", "f": "text", "g": "1234567",
    }  # fmt: skip


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


# ------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "missing",
    [
        "tables/dpo.json",
        "tables/dpo.csv",
        "figures/accuracy.png",
        "data/word-problems/test.parquet",
        "trials/sft-0/seed-0/items.parquet",
        "trials/sft-0/seed-0/train.json",
    ],
)
def test_a_missing_file_is_named_and_nothing_written(tmp_path, missing):
    made = run_by_hand(tmp_path / "results")
    (made.root / missing).unlink()
    out = tmp_path / "report.html"
    with pytest.raises(BadInput, match=rf"{re.escape(missing)}: [Nn]o such file"):
        make.main(arguments(made, out))
    assert not out.exists()


def test_a_figure_that_is_no_png_is_told(tmp_path):
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures/curves.png").write_bytes(b"%PDF")
    with pytest.raises(BadInput, match=r"curves\.png: not a PNG"):
        make.picture(tmp_path, "curves")
