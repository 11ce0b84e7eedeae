"""The files that raters hand in, and the table that they become."""

import csv
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.wilson import wilson
from scripts.rating import ratings
from tests.conftest import ROOT
from tests.rating.study import BASE, FIRST, FOLDERS, SECOND, Row, Study


@dataclass
class Handed:
    """A study with its page, and files that raters hand in."""

    study: Study
    out: Path

    @property
    def key(self) -> Row:
        return json.loads((self.out / "key.json").read_text())

    def items(self) -> Row:
        """Return the items in which the first trial is compared."""
        return next(it for it in self.key["contests"] if it["trial"] == FOLDERS[FIRST])["items"]

    def file(self, name: str, content: Any) -> Path:
        path = self.out.parent / name
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8")
        return path

    def sheet(self, name: str, rater: str, wanted: str) -> Path:
        """Write a file: the first trial w(on), l(ost), t(ied) or was s(kipped), item by item."""
        chosen = []
        for (item, row), letter in zip(self.items().items(), wanted, strict=False):
            trial_left = row["left"] == FOLDERS[FIRST]
            won, lost = ("left", "right") if trial_left else ("right", "left")
            choice = {"w": won, "l": lost, "t": "tie", "s": "skip"}[letter]
            chosen.append({"item": item, "choice": choice})
        return self.file(name, {"page": self.key["page"], "rater": rater, "ratings": chosen})

    def evaluate(self, *files: Path, stale_ok: bool = False) -> Row:
        """Return ratings.json of some files."""
        ratings.write(list(files), self.study.root, self.out, stale_ok)
        return json.loads((self.out / "ratings.json").read_text(encoding="utf-8"))

    def table(self, form: str) -> Path:
        return self.study.root / "tables" / f"ratings.{form}"

    def written(self) -> dict[str, bytes]:
        paths = [self.out / "ratings.json", *map(self.table, ("csv", "md", "tex"))]
        return {path.name: path.read_bytes() for path in paths if path.exists()}


@pytest.fixture
def handed(tmp_path: Path) -> Handed:
    study = Study(tmp_path)
    study.page(tmp_path / "out")
    return Handed(study, tmp_path / "out")


def test_counts_by_hand(handed: Handed) -> None:
    files = [handed.sheet("a.json", "A", "wwwlts"), handed.sheet("b.json", "B", "wlwltw")]
    content = handed.evaluate(*files)
    first = next(it for it in content["contests"] if it["trial"] == FOLDERS[FIRST])
    assert [first[name] for name in ("wins", "ties", "losses", "skipped")] == [6, 2, 3, 1]
    assert first["win_rate"]["value"] == 7 / 11
    groups = {item["group"] for item in list(handed.items().values())[:6]}
    assert first["win_rate"]["groups"] == len(groups)
    assert list(first["win_rate"]["intervals"]) == ["group bootstrap"]
    assert first["strength"]["value"] == pytest.approx(math.log(7 / 4))
    # The sixth item has one rating. Of five pairs of ratings one differs.
    assert (content["agreement"]["items"], content["agreement"]["raw"]) == (5, 4 / 5)
    assert content["raters"]["A"]["skip"] == 1
    second = next(it for it in content["contests"] if it["trial"] == FOLDERS[SECOND])
    assert second["win_rate"]["value"] is None


def test_the_table(handed: Handed) -> None:
    one = handed.sheet("a.json", "A", "w" * 6 + "l" * 4 + "t" * 2)
    handed.evaluate(one)
    low, high = wilson(7, 12)
    empty, row = csv.DictReader(handed.table("csv").read_text().splitlines())
    assert (empty["trial"], empty["win_rate"], row["trial"]) == (SECOND, "", FIRST)
    assert [row[it] for it in ("seed", "against", "wins", "losses")] == ["3", BASE, "6", "4"]
    assert (float(row["win_rate"]), float(row["win_rate_wilson_low"])) == (7 / 12, low)
    text = handed.table("md").read_text(encoding="utf-8")
    for said in (
        f"[{low:.2f}, {high:.2f}]", "12 ratings by 1 rater.", "what this rater prefers",
        "no item was rated by two raters",
    ):  # fmt: skip
        assert said in text
    assert r"\label{tab:ratings}" in handed.table("tex").read_text(encoding="utf-8")
    handed.evaluate(one, handed.sheet("b.json", "B", "wwww"))
    text = handed.table("md").read_text(encoding="utf-8")
    assert "16 ratings by 2 raters" in text
    assert "Wilson" not in text
    assert "this rater" not in text


def test_files_of_one_rater_and_their_order(handed: Handed) -> None:
    """An early file and a late one are the late one; a skip gives way to a rating."""
    files = [
        handed.sheet("a.json", "A", "wws"),
        handed.sheet("b.json", " A ", "wwlw"),
        handed.sheet("c.json", "C", "lt"),
    ]
    content = handed.evaluate(*files)
    assert [sum(counts.values()) for counts in content["raters"].values()] == [4, 2]
    assert content["raters"]["A"]["skip"] == 0
    before = handed.written()
    handed.evaluate(*reversed(files))
    assert handed.written() == before


def test_another_process_writes_the_same_bytes(handed: Handed) -> None:
    """With another order of sets, through the command line."""
    files = [handed.sheet("a.json", "A", "wwltsw" * 3), handed.sheet("b.json", "B", "lwwtw" * 3)]
    handed.evaluate(*files)
    before = handed.written()
    subprocess.run(
        [sys.executable, "-P", "-m", "scripts", "ratings", *map(str, files),
         "--results", str(handed.study.root), "--page", str(handed.out)],
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}, check=True,
    )  # fmt: skip
    assert handed.written() == before


def broken(handed: Handed, **change: Any) -> Row:
    """Return a good file's content with a change."""
    item = next(iter(handed.items()))
    good = {"page": handed.key["page"], "rater": "A", "ratings": [{"item": item, "choice": "tie"}]}
    return good | change


BAD: dict[str, tuple[Callable[[Handed], Any], str]] = {
    "not JSON": (lambda it: "{", "Invalid JSON"),
    "no object": (lambda it: [1], r"found \[1\]"),
    "another page": (lambda it: broken(it, page="beef"), "page: found 'beef'; allowed: "),
    "no name": (lambda it: broken(it, rater="  "), "rater, .*found '  '"),
    "name missing": (lambda it: {"page": it.key["page"], "ratings": []}, "rater, Field required"),
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
    "a key of two lines": (lambda it: broken(it, **{"two\nlines": 1}), r' "two\\nlines", Extra'),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_line_and_changes_nothing(handed: Handed, case: str) -> None:
    content, said = BAD[case]
    bad = handed.file("bad.json", content(handed))
    with pytest.raises(BadInput, match=said) as error:
        handed.evaluate(handed.sheet("good.json", "G", "wl"), bad)
    line = str(error.value)
    assert line.startswith(f"{bad}: ")
    assert "allowed: " in line
    assert "\n" not in line
    assert handed.written() == {}


def test_files_of_one_rater_that_contradict(handed: Handed) -> None:
    files = [handed.sheet("a.json", "A", "wt"), handed.sheet("b.json", "A", "wl")]
    said = r"^[^\n]*b\.json: item .* and tie in .*a\.json; allowed[^\n]*$"
    with pytest.raises(BadInput, match=said):
        handed.evaluate(*files)
    assert handed.written() == {}


def test_a_missing_file_and_a_foreign_key(handed: Handed) -> None:
    with pytest.raises(BadInput, match=r"none\.json: No such file"):
        handed.evaluate(handed.out / "none.json")
    good = handed.sheet("a.json", "A", "w")
    (handed.out / "key.json").write_text("{}")
    with pytest.raises(BadInput, match=r"key\.json: .*allowed: a key that"):
        handed.evaluate(good)


def test_answers_that_changed_are_refused_unless_allowed(handed: Handed) -> None:
    good = handed.sheet("a.json", "A", "wl")
    handed.study.answer(FOLDERS[SECOND], ["other"] * 24)
    with pytest.raises(BadInput, match=rf"{SECOND}/.*changed since the page was made"):
        handed.evaluate(good)
    assert handed.written() == {}
    assert handed.evaluate(good, stale_ok=True)["raters"]["A"]["skip"] == 0
    (handed.study.root / FOLDERS[SECOND] / "generations.parquet").unlink()
    with pytest.raises(BadInput, match="no such file"):
        handed.evaluate(good)
