"""The lookup of win counts: by hand, on the real titles, and where nothing repeats."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, read_rows, write_rows
from scripts.common.rows import DEMONSTRATIONS, PREFERENCES
from scripts.evaluate import lookup
from scripts.evaluate.lookup import lookup_metrics


def pair(name: str, chosen: str, rejected: str, group: str = "g") -> dict[str, Any]:
    return {
        "id": name,
        "group": group,
        "prompt": [{"role": "user", "content": group}],
        "chosen": [{"role": "assistant", "content": chosen}],
        "rejected": [{"role": "assistant", "content": rejected}],
    }


def values(train: list[dict[str, Any]], test: list[dict[str, Any]]) -> dict[str, float]:
    return {metric.name: metric.summary()["value"] for metric in lookup_metrics(train, test)}


# a wins 2 of 3, b 1 of 1, c 0 of 2
TRAIN = [pair("0", "a", "c"), pair("1", "a", "c"), pair("2", "b", "a")]


@pytest.mark.parametrize(
    ("chosen", "rejected", "score"),
    [
        ("b", "a", 1.0),  # the higher win rate, with fewer wins
        ("c", "a", 0.0),
        ("a", "new", 1.0),  # two of three against a half
        ("new", "c", 1.0),
        ("new", "newer", 0.5),
    ],
)
def test_the_higher_win_rate_is_predicted(chosen: str, rejected: str, score: float) -> None:
    found = values(TRAIN, [pair("t", chosen, rejected)])
    assert found == {
        "preference_accuracy": score,
        "known_pairs": float("new" not in chosen + rejected),
    }


def test_a_completion_is_known_in_its_group_alone() -> None:
    found = values(TRAIN, [pair("t", "b", "a", group="other")])
    assert found == {"preference_accuracy": 0.5, "known_pairs": 0.0}


def test_where_nothing_repeats_it_scores_one_half() -> None:
    train = [pair(f"r{i}", f"a{i}", f"b{i}", f"g{i}") for i in range(20)]
    test = [pair(f"t{i}", f"a{i}", f"b{i}", f"h{i}") for i in range(20)]
    assert values(train, test) == {"preference_accuracy": 0.5, "known_pairs": 0.0}


def run(folder: Path, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> Any:
    write_rows(folder / "train.parquet", train, PREFERENCES)
    write_rows(folder / "test.parquet", test, PREFERENCES)
    files = {name: str(folder / name) for name in
             ("train.parquet", "test.parquet", "metrics.json", "items.parquet")}  # fmt: skip
    assert lookup.main(["--train", files["train.parquet"], "--test", files["test.parquet"],
                        "--root", str(folder), "--dataset", "titles",
                        "--metrics", files["metrics.json"],
                        "--items", files["items.parquet"]]) == 0  # fmt: skip
    return read_json(folder / "metrics.json")


def test_command_line(tmp_path: Path) -> None:
    test = [pair("t0", "a", "c"), pair("t1", "c", "a"), pair("t2", "b", "new", "h")]
    found = run(tmp_path, TRAIN, test)
    assert {key: found[key] for key in ("name", "dataset", "method", "seed")} == {
        "name": "lookup", "dataset": "titles", "method": "lookup", "seed": None}  # fmt: skip
    assert found["read"] == {"pairs": "test.parquet"}
    accuracy = found["metrics"]["preference_accuracy"]
    assert (accuracy["value"], accuracy["n"], accuracy["groups"]) == (0.5, 3, 2)
    assert accuracy["intervals"].keys() == {"wilson", "group bootstrap"}
    items = read_rows(tmp_path / "items.parquet")
    scores = [row["score"] for row in items if row["metric"] == "preference_accuracy"]
    assert scores == [1.0, 0.0, 0.5]
    assert len(items) == 6


def test_rows_that_are_no_pairs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"train.parquet: found no rows; a lookup needs preference"):
        run(tmp_path, [], [pair("t", "a", "b")])
    row = pair("d", "a", "b")
    demonstration = {**row, "completion": row["chosen"]}
    write_rows(tmp_path / "d.parquet", [demonstration], DEMONSTRATIONS)
    with pytest.raises(BadInput, match="found columns id, group, tools, prompt, completion"):
        lookup._pairs(tmp_path / "d.parquet")


def real_titles(hub: Path) -> dict[str, list[dict[str, Any]]]:
    folder = hub / "datasets" / "EliasHossain" / "youtube-titles-dpo" / "data"
    return {
        split: [
            {**row, "id": f"{split}-{place}", "group": row["prompt"][-1]["content"]}
            for place, row in enumerate(read_rows(next(folder.glob(f"{split}-*"))))
        ]
        for split in ("train", "valid")
    }


def test_the_real_titles(hub: Path, tmp_path: Path) -> None:
    """Every pair of the published validation split is known; the lookup is right in 82 of 114."""
    splits = real_titles(hub)
    metrics = run(tmp_path, splits["train"], splits["valid"])["metrics"]
    accuracy, known = metrics["preference_accuracy"], metrics["known_pairs"]
    assert accuracy["value"] == 82 / 114
    assert 0.71 < accuracy["value"] < 0.72
    assert (accuracy["n"], accuracy["groups"]) == (114, 76)
    assert (known["value"], known["n"]) == (1.0, 114)


def test_other_definitions_on_the_real_titles(hub: Path) -> None:
    """The two that the module's documentation names beside the win rate."""
    splits = real_titles(hub)
    wins, net = Counter(), Counter()
    for row in splits["train"]:
        for side, worth in (("chosen", 1), ("rejected", -1)):
            key = row["group"], row[side][-1]["content"]
            wins[key] += worth > 0
            net[key] += worth
    shares = []
    for counts in (wins, net):
        score = 0.0
        for row in splits["valid"]:
            chosen, rejected = (counts[row["group"], row[side][-1]["content"]]
                                for side in ("chosen", "rejected"))  # fmt: skip
            score += 0.5 if chosen == rejected else chosen > rejected
        shares.append(round(score / 114, 3))
    assert shares == [0.706, 0.724]


def test_real_titles_split_by_idea_are_not_known(hub: Path) -> None:
    """Every other idea is held out: the lookup knows nothing of them."""
    rows = real_titles(hub)["train"]
    ideas = list(dict.fromkeys(row["group"] for row in rows))[::2]
    train = [row for row in rows if row["group"] not in ideas]
    test = [row for row in rows if row["group"] in ideas]
    assert len(test) > 400
    assert values(train, test) == {"preference_accuracy": 0.5, "known_pairs": 0.0}
