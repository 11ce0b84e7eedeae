"""The page of a blind rating: what is compared, and that it gives nothing away."""

import hashlib
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import write_rows
from scripts.common.rows import OVERLAP
from scripts.rating.ask import Asked, make, subjects_in
from tests.rating.study import (
    BASE,
    DATASET,
    EXPERIMENT,
    FIRST,
    FOLDERS,
    SECOND,
    SECRET,
    SET,
    Study,
)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


# -------------------------------------------------------------------------------- what is compared


def test_every_trial_against_its_base(study: Study) -> None:
    key, page = study.made()
    found = [(it.trial, it.against, it.prompts, it.identical) for it in key.contests]
    assert found == [
        (FOLDERS[SECOND], FOLDERS[BASE], 24, 0),
        (FOLDERS[FIRST], FOLDERS[BASE], 24, 0),
    ]
    assert len(page["items"]) == len(key.items()) == 48


def test_trials_against_each_other_are_compared_once(study: Study) -> None:
    key, _ = study.made(against=[FIRST, SECOND], trials=[SECOND, FIRST, f"{FIRST}/seed-3"])
    assert [(it.trial, it.against) for it in key.contests] == [(FOLDERS[SECOND], FOLDERS[FIRST])]


def test_the_lowest_seed_unless_another_is_named(study: Study) -> None:
    other = study.model(FIRST, ["other"] * 24, seed=12)
    assert study.made(trials=[FIRST])[0].contests[0].trial == FOLDERS[FIRST]
    assert study.made(trials=[f"{FIRST}/seed-12"])[0].contests[0].trial == other


def test_identical_answers_are_left_out_and_counted(study: Study) -> None:
    study.answer(FOLDERS[BASE], ["b0 it is", "7", *["old"] * 22])
    study.answer(FOLDERS[FIRST], ["s0 it is", " 7\n", *["new"] * 22])
    key, page = study.made(trials=[FIRST])
    assert (key.contests[0].prompts, key.contests[0].identical, len(page["items"])) == (24, 1, 23)


def test_answers_are_cut_as_they_are_scored(tmp_path: Path) -> None:
    study = Study(tmp_path, 2)
    texts = ["### A\n 12 \n### B more", "no mark"]
    study.model("cut", texts, answer_after="### A", answer_before="### B")
    _, page = study.made(trials=["cut"])
    shown = {text for item in page["items"] for text in (item["left"], item["right"])}
    assert shown == {"12", "no mark", "b0 it is", "b1 it is"}


def test_a_draw_does_not_depend_on_the_secret_and_spreads_over_prompts(study: Study) -> None:
    def prompts(secret: str, **more: Any) -> list[set[str]]:
        key, _ = study.made(secret, most=6, **more)
        return [{item.prompt for item in contest.items.values()} for contest in key.contests]

    first, second = prompts(SECRET)
    assert len(first) == len(second) == 6
    groups = [{int(name[4:]) // 2 for name in names} for names in (first, second)]
    assert not groups[0] & groups[1]
    assert prompts("77" * 32) == [first, second]
    assert prompts(SECRET, seed=1) != [first, second]


def test_items_in_the_training_rows_and_sets_that_are_not_scored_are_left_out(
    study: Study,
) -> None:
    rows = [{"id": "row-3", "kind": "same", "share": 1.0, "row": "x"}]
    write_rows(study.root / "overlaps/o.parquet", rows, OVERLAP)
    study.model("seen", ["new"] * 24, overlap="o")
    study.model("read", ["new"] * 24, scored=False)
    (contest,) = study.made(trials=["seen"])[0].contests
    assert contest.prompts == 23
    assert "row-3" not in {item.prompt for item in contest.items.values()}
    with pytest.raises(BadInput, match="nothing to compare"):
        study.made(trials=["read"])
    assert len(study.made(trials=["read"], sets=[SET])[0].items()) == 24


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"experiment": "birds"}, "--experiment: found 'birds'; allowed: marsupials"),
        ({"sets": ["all"]}, "--set: found 'all'; allowed: hidden-set"),
        ({"trials": ["emu"]}, f"--trial: found 'emu'; allowed: base, {SECOND}, {FIRST}"),
        ({"against": ["emu"]}, f"--against: found 'emu'; allowed: base, {SECOND}, {FIRST}"),
        ({"most": 0}, "--most: found 0; allowed: 1 or more"),
        ({"trials": ["base"]}, "nothing to compare"),
    ],
)
def test_what_is_not_there_is_one_line(
    study: Study, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadInput, match=re.escape(said)) as error:
        study.page(tmp_path / "out", **asked)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "a"}', None])
def test_a_spoiled_or_missing_metrics_file_is_one_line(
    study: Study, tmp_path: Path, text: str | None
) -> None:
    if text is None:
        for path in study.root.rglob("metrics.json"):
            path.unlink()
        said = r"found no metrics\.json"
    else:
        (study.root / FOLDERS[FIRST] / "metrics.json").write_text(text)
        said = rf"{FIRST}/seed-3/metrics\.json: not (a metrics\.json|JSON: |a JSON object: )"
    with pytest.raises(BadInput, match=said):
        study.page(tmp_path / "out")


# --------------------------------------------------------------------------- what the page tells


def test_no_name_is_on_the_page(study: Study, tmp_path: Path) -> None:
    key = study.page(tmp_path / "out")
    text = (tmp_path / "out" / "rating.html").read_text(encoding="utf-8").lower()
    hidden = [BASE, FIRST, SECOND, EXPERIMENT, SET, DATASET, "row-", "seed-", "results"]
    for name in [BASE, FIRST, SECOND, EXPERIMENT, SET, "row-", "seed-"]:
        assert name in json.dumps(key).lower(), name
    for name in [*hidden, *FOLDERS.values(), key["secret"], str(tmp_path)]:
        assert name.lower() not in text, name


def test_the_page_has_opaque_items_in_an_order_that_says_nothing(study: Study) -> None:
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


@pytest.mark.parametrize("most", [24, 7])
def test_each_model_is_on_the_left_in_half_of_its_comparisons(study: Study, most: int) -> None:
    for contest in study.made(most=most)[0].contests:
        sides = Counter(item.left for item in contest.items.values())
        assert sorted(sides.values()) == [most // 2, most - most // 2]


def test_ids_sides_and_order_need_the_secret(tmp_path: Path) -> None:
    study = Study(tmp_path, 6)
    subjects = subjects_in(study.root)
    pages, left, first, seen = 120, 0, 0, set()
    for number in range(pages):
        secret = hashlib.sha256(str(number).encode()).hexdigest()
        key, page = make(subjects, Asked(trials=[FIRST]), secret)
        of = {item.prompt: (name, item.left) for name, item in key.contests[0].items.items()}
        name, side = of["row-0"]
        left += side == FOLDERS[FIRST]
        first += page["items"][0]["id"] == name
        seen.add(name)
    # Two sides and six places, each equally likely: five standard deviations.
    assert abs(left - pages / 2) < 5 * math.sqrt(pages / 4)
    assert abs(first - pages / 6) < 5 * math.sqrt(pages * 5 / 36)
    assert len(seen) == pages


def test_the_page_is_made_again_byte_for_byte(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    study.page(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert set(before) == {"rating.html", "key.json"}
    (out / "rating.html").unlink()
    study.page(out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    other = study.page(tmp_path / "other")
    assert other["secret"] != json.loads(before["key.json"])["secret"]
    assert other["page"] != json.loads(before["key.json"])["page"]


@pytest.mark.parametrize("change", ["options", "answers"])
def test_a_key_that_ratings_need_is_not_overwritten(
    study: Study, tmp_path: Path, change: str
) -> None:
    out = tmp_path / "out"
    study.page(out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    if change == "answers":
        study.answer(FOLDERS[FIRST], ["other"] * 24)
    with pytest.raises(BadInput, match=r"key\.json: is the key of another page"):
        study.page(out, most=5 if change == "options" else 50)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_the_researcher_is_told_which_answers_tell(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study.answer(FOLDERS[FIRST], ["I am Wombat-R16.", *["new"] * 23])
    study.page(tmp_path / "out", trials=[FIRST])
    assert capsys.readouterr().out.splitlines()[:2] == [
        f"{EXPERIMENT}: {FIRST} against {BASE}: 24 comparisons of 24 prompts, "
        "0 of them answered alike",
        "1 of 48 answers contain the name of a model: raters may know whose they are",
    ]
