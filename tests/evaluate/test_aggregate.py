"""The seeds of a trial together: means, deviations, and intervals over seeds and groups."""

import json
import random
from pathlib import Path
from statistics import mean, stdev

import pytest

from scripts.common.cli import BadInput
from scripts.common.files import read_json, write_rows
from scripts.common.rows import ITEMS
from scripts.evaluate.aggregate import main, over_seeds, read_metrics
from scripts.evaluate.scores import MeanMetric

SUBJECT = {"name": "dpo-1", "experiment": "tutor", "method": "dpo"}


def items_of(scores: list[float], groups: int = 10) -> list[dict[str, object]]:
    return [
        {"id": f"i{place}", "group": f"g{place % groups}", "score": score, "weight": 1.0}
        for place, score in enumerate(scores)
    ]


def metric_of(items: list[dict[str, object]], share: bool = True) -> dict[str, object]:
    return MeanMetric("accuracy", items, share).summary()


@pytest.fixture
def run(tmp_path: Path):
    """Write runs as measuring does, puts them together and returns what was written."""

    def together(*runs: tuple[int, list[float]], lacking: int | None = None):
        files = {"metrics": [], "items": []}
        for seed, scores in runs:
            folder = tmp_path / f"seed-{seed}"
            folder.mkdir(exist_ok=True)
            items = items_of(scores)
            bleu = {"value": mean(scores) / 2, "n": len(items), "groups": 10}
            bleu |= {"intervals": {"group bootstrap": [0.1, 0.9]}}
            answered = {} if seed == lacking else {"exact": metric_of(items)}
            metrics = {
                "seed": seed,
                "read": {"pairs": "data/d/test.parquet"},
                "signs": [{"sign": "preference_loss_rose", "note": False}][:seed],
                "metrics": {"accuracy": metric_of(items)},
                "sets": {
                    "problems": {
                        "settings": {"limit": 3}, "left_out": 2,
                        "metrics": {"bleu": bleu, **answered},
                    }
                },
            }  # fmt: skip
            (folder / "metrics.json").write_text(json.dumps(metrics))
            rows = [
                {"set": of_set, "metric": name, **item}
                for of_set, name in ((None, "accuracy"), ("problems", "exact"))
                for item in items
            ]
            write_rows(folder / "items.parquet", rows, ITEMS)
            files["metrics"].append(str(folder / "metrics.json"))
            files["items"].append(str(folder / "items.parquet"))
        out = tmp_path / "metrics.json"
        words = [word for name, paths in files.items() for word in (f"--{name}", *paths)]
        assert main(["--subject", json.dumps(SUBJECT), *words, "--out", str(out)]) == 0
        return read_json(out), [read_json(path) for path in files["metrics"]]

    return together


def shares(seed: int) -> list[float]:
    draw = random.Random(seed)
    return [float(draw.random() < 0.7) for _ in range(60)]


def test_one_seed_has_exactly_the_metrics_that_it_had(run) -> None:
    whole, (alone,) = run((7, shares(7)))
    assert (whole["name"], whole["seeds"]) == ("dpo-1", [7])
    for mine, seeds in (
        (whole["metrics"], alone["metrics"]),
        (whole["sets"]["problems"]["metrics"], alone["sets"]["problems"]["metrics"]),
    ):
        for name, metric in seeds.items():
            value = metric["value"]
            assert mine[name] == metric | {"sd": None, "seeds": {"7": value}}
    assert set(whole["metrics"]["accuracy"]["intervals"]) == {"wilson", "group bootstrap"}
    assert whole["sets"]["problems"]["settings"] == {"limit": 3}
    assert whole["sets"]["problems"]["left_out"] == 2


def test_several_seeds_have_a_mean_a_deviation_and_an_interval_of_both(run) -> None:
    runs = [(seed, shares(seed)) for seed in (0, 1, 2)]
    whole, each = run(*runs)
    found = whole["metrics"]["accuracy"]
    values = [mean(scores) for _, scores in runs]
    assert found["value"] == pytest.approx(mean(values))
    assert found["sd"] == pytest.approx(stdev(values))
    assert found["seeds"] == pytest.approx(dict(zip("012", values, strict=True)))
    assert (found["n"], found["groups"]) == (60, 10)
    # The first seed has no sign that it went wrong.
    assert [(sign["sign"], sign["seed"]) for sign in whole["signs"]] == [
        ("preference_loss_rose", 1), ("preference_loss_rose", 2)
    ]  # fmt: skip
    assert list(found["intervals"]) == ["group bootstrap"]
    low, high = found["intervals"]["group bootstrap"]
    assert low < found["value"] < high
    assert whole["sets"]["problems"]["metrics"]["exact"] == found
    assert whole["seeds"] == [0, 1, 2]
    assert [one["seed"] for one in each] == [0, 1, 2]


def test_a_metric_that_is_no_mean_over_items_has_no_interval_over_seeds(run) -> None:
    whole, each = run((0, shares(0)), (1, shares(1)))
    found = whole["sets"]["problems"]["metrics"]["bleu"]
    values = [one["sets"]["problems"]["metrics"]["bleu"]["value"] for one in each]
    assert found["value"] == pytest.approx(mean(values))
    assert found["sd"] == pytest.approx(stdev(values))
    assert found["intervals"] == {}
    assert found["n"] == 60


def test_by_hand() -> None:
    """Seeds of 1/4 and 3/4: mean 1/2, deviation 1/2 / √2."""
    scores = ([1, 0, 0, 0], [1, 1, 1, 0])
    found = over_seeds(
        {str(seed): metric_of(items_of(list(map(float, one)))) for seed, one in enumerate(scores)},
        [items_of(list(map(float, one))) for one in scores],
    )
    assert found["value"] == 0.5
    assert found["sd"] == pytest.approx(0.5 / 2**0.5)


def test_seeds_that_measured_other_items_are_put_together_by_group() -> None:
    """The second seed has no item of two groups: they weigh nothing in it."""
    first, second = items_of([1.0, 0.0, 1.0, 1.0], 4), items_of([0.0, 1.0], 4)
    metrics = {"0": metric_of(first), "1": metric_of(second)}
    found = over_seeds(metrics, [first, second])
    assert (found["n"], found["groups"], found["value"]) == (4, 4, 0.625)
    low, high = found["intervals"]["group bootstrap"]
    assert 0 <= low < 0.625 < high <= 1


def test_a_seed_without_a_value_leaves_no_mean() -> None:
    nothing = {"value": None, "n": 0, "groups": 0, "intervals": {}}
    found = over_seeds({"0": metric_of(items_of([1.0])), "1": nothing}, [items_of([1.0]), []])
    assert (found["value"], found["sd"], found["intervals"]) == (None, None, {})
    assert found["seeds"] == {"0": 1.0, "1": None}


def test_a_metric_that_a_seed_lacks_has_no_mean(run) -> None:
    """As a regression without a fit; whichever seed it is, and the others have theirs."""
    for lacking in (0, 1):
        found, _ = run((0, shares(0)), (1, shares(1)), lacking=lacking)
        exact = found["sets"]["problems"]["metrics"]["exact"]
        assert (exact["value"], exact["sd"], exact["intervals"]) == (None, None, {})
        assert exact["seeds"][str(lacking)] is None
        assert exact["seeds"][str(1 - lacking)] == pytest.approx(mean(shares(1 - lacking)))
        assert found["metrics"]["accuracy"]["value"] is not None


def test_a_seed_that_lacks_a_set_of_prompts_is_named(run, tmp_path: Path) -> None:
    run((0, shares(0)), (1, shares(1)))
    path = tmp_path / "seed-1" / "metrics.json"
    path.write_text(json.dumps(read_json(path) | {"sets": {}}))
    with pytest.raises(
        BadInput, match=r"seed-1/metrics\.json: has no sets\.problems, which .*seed-0"
    ):
        read_metrics([tmp_path / "seed-0" / "metrics.json", path])
