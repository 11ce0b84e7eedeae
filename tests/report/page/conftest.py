"""A run by hand with a page, and the page opened in a browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.common.files import write_rows
from scripts.common.rows import DEMONSTRATIONS, ITEMS
from scripts.report.page import make
from scripts.report.page.answers import PROMPTS
from scripts.report.tables import dpo, metrics, sft
from tests.browser import Opened, browser, opened
from tests.report.conftest import LORA, Results, answered, generated, looked_up, preferred

HOSTILE = (
    '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
    "<!-- &amp; {{ 7 * 7 }} \u2028 \u202e مرحبا بالعالم 🎉 שלום"
)
ASKED = PROMPTS + 30
TABLES = {"sft": sft, "dpo": dpo, "metrics": metrics}
IDS = [f"q{number}" for number in range(ASKED)]


def write_items(made: Results, folder: str, right: dict[str, float]) -> None:
    """Write whether each answer matches the known one."""
    items = [
        {"set": "problems", "metric": "exact_match", "id": key, "group": key, "score": score,
         "weight": 1.0}
        for key, score in right.items()
    ]  # fmt: skip
    write_rows(made.root / folder / "items.parquet", items, ITEMS)


def write_prompts(made: Results) -> None:
    """Write the rows that the prompts come from; the second one is a conversation."""
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
    """Return a base and twelve trials that answered more prompts than a page has, and pairs."""
    from matplotlib.image import imsave
    from numpy import ones

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
    imsave(made.root / "figures/accuracy.png", ones((20, 30)))
    return made


def arguments(made: Results, out: Path, *more: str) -> list[str]:
    """Return the page's command line."""
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
    """Return the cells of a table's column that are to be seen, from above."""
    rows = shown.page.locator(f"#table-{table} tbody tr:visible")
    return [row.locator("th, td").nth(place).text_content() for row in rows.all()]


def header(shown: Opened, table: str, text: str):
    return shown.page.locator(f"#table-{table} thead th", has_text=text)


def articles(shown: Opened):
    return shown.page.locator("#answers article")


def numbers(shown: Opened) -> list[int]:
    """Return the numbers of the prompts that are shown."""
    return [int(it.split()[1]) for it in articles(shown).locator("> header b").all_text_contents()]
