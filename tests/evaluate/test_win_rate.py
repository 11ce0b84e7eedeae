"""Win rates: by hand, and at equal lengths against another way to the same maximum."""

import json
from math import exp, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from scripts.common.files import read_json, read_rows, write_rows
from scripts.common.rows import COMPLETIONS, DEMONSTRATIONS, GENERATIONS, PAIRS, VERDICTS
from scripts.evaluate import measure
from scripts.evaluate.win_rate import length_controlled, win_metrics, with_verdicts


def judged(name: int | str, verdict: float, longer: int = 0, **more: Any) -> dict[str, Any]:
    """Returns an answer with its verdict; margins agree with it unless they are given."""
    margins = {1.0: (1.0, 2.0), 0.0: (-1.0, -2.0), 0.5: (1.0, -1.0)}[verdict]
    margins = dict(zip(("margin_as_a", "margin_as_b"), margins, strict=True))
    lengths = {"tuned_tokens": 10 + longer, "base_tokens": 10}
    return {"id": str(name), "verdict": verdict, **margins, **lengths, **more}


def each_its_own(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["id"]: row["id"] for row in rows}


def rate(rows: list[dict[str, Any]], groups: dict[str, str] | None = None) -> dict[str, Any]:
    return length_controlled(rows, groups or each_its_own(rows))["win_rate_length_controlled"]


def test_by_hand() -> None:
    same = judged("d", 0.5) | {"margin_as_a": None, "margin_as_b": None}
    rows = [judged("a", 1.0), judged("b", 0.5), judged("c", 0.0), same, judged("e", 1.0)]
    wins, disagreement = (metric.summary() for metric in win_metrics(rows, each_its_own(rows)))
    assert (wins["value"], wins["n"]) == (0.6, 5)
    assert (wins["wins"], wins["ties"], wins["losses"]) == (2, 2, 1)
    assert wins["intervals"].keys() == {"wilson", "group bootstrap"}
    # Nobody was asked about answers that are the same.
    assert (disagreement["value"], disagreement["n"]) == (0.25, 4)


def test_nothing_judged_no_metrics() -> None:
    rows = [{"id": "a"}, {"id": "b", "verdict": None}]
    assert win_metrics(rows, {}) == []
    assert length_controlled(rows, {}) == {}


def test_verdicts_join_the_answers_of_their_set() -> None:
    rows = [{"set": "s", "id": "a"}, {"set": "t", "id": "a"}]
    joined = with_verdicts(rows, [{"set": "t", "id": "a", "verdict": 1.0}])
    assert joined == [rows[0], rows[1] | {"verdict": 1.0}]


def test_at_equal_lengths_by_hand() -> None:
    """Longer answers win 3 of 4, shorter ones 2 of 4: log odds ln 3 and 0, ln 3 / 2 between."""
    rows = [judged(i, verdict, 5) for i, verdict in enumerate([1.0, 1.0, 1.0, 0.0])]
    rows += [judged(4 + i, verdict, -5) for i, verdict in enumerate([1.0, 1.0, 0.0, 0.0])]
    assert rate(rows)["value"] == pytest.approx(sqrt(3) / (1 + sqrt(3)))


def random_rows(count: int) -> list[dict[str, Any]]:
    """Returns verdicts that follow length: the trial's answers are longer, and win for that."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(-4, 21, size=count)
    odds = 0.15 * lengths - 1
    wins, ties = generator.random(count) < 1 / (1 + np.exp(-odds)), generator.random(count) < 0.1
    verdicts = np.where(ties, 0.5, wins)
    pairs = zip(verdicts.tolist(), lengths.tolist(), strict=True)
    return [judged(i, verdict, longer) for i, (verdict, longer) in enumerate(pairs)]


def by_descent(rows: list[dict[str, Any]]) -> float:
    """Returns the rate where another method finds the likelihood's maximum."""
    longer = np.array([row["tuned_tokens"] - row["base_tokens"] for row in rows])
    x, y = np.tanh(longer / longer.std()), np.array([row["verdict"] for row in rows])

    def loss(parameters: np.ndarray) -> float:
        odds = parameters[0] + parameters[1] * x
        return float(np.sum(np.logaddexp(0, odds) - y * odds))

    return 1 / (1 + exp(-minimize(loss, [0.0, 0.0], tol=1e-12).x[0]))


def test_at_equal_lengths_against_another_optimizer() -> None:
    rows = random_rows(120)
    wins, _ = win_metrics(rows, each_its_own(rows))
    found = rate(rows)
    assert found["value"] == pytest.approx(by_descent(rows), abs=1e-4)
    # Wins that come from length are taken off.
    assert found["value"] < wins.summary()["value"] - 0.1
    low, high = found["intervals"]["group bootstrap"]
    assert low < found["value"] < high


def test_the_interval_resamples_groups_by_hand() -> None:
    """Of two groups a resample is the first twice, the second twice, or both."""
    first = [(1.0, 5), (0.0, 5), (1.0, -5), (0.0, -5)]
    second = [(1.0, 5), (1.0, 5), (0.0, 5), (1.0, -5), (1.0, -5), (0.0, -5)]
    rows = [judged(i, verdict, longer) for i, (verdict, longer) in enumerate(first + second)]
    groups = {row["id"]: "g" if int(row["id"]) < len(first) else "h" for row in rows}
    found = rate(rows, groups)
    assert found["groups"] == 2
    assert found["value"] == pytest.approx(0.6)
    assert found["intervals"]["group bootstrap"] == pytest.approx((1 / 2, 2 / 3))
    assert rate(rows, dict.fromkeys(groups, "g"))["intervals"] == {}


@pytest.mark.parametrize(
    "pairs",
    [
        [(1.0, 3), (1.0, -3), (1.0, 1)],
        [(0.0, 3), (0.0, -3)],
        [(0.5, 3), (0.5, -3), (0.5, 1)],
        [(0.5, 3), (0.5, 3), (1.0, 3)],
        [(1.0, 3), (1.0, 2), (0.0, 1), (0.0, -3)],
        [(0.0, 3), (0.5, 2), (1.0, 2), (1.0, -3)],
    ],
    ids=[
        "all won",
        "all lost",
        "all ties",
        "one difference",
        "length parts",
        "length parts but for a tie",
    ],
)
def test_no_number_where_there_is_no_fit(pairs: list[tuple[float, int]]) -> None:
    rows = [judged(i, verdict, longer) for i, (verdict, longer) in enumerate(pairs)]
    assert length_controlled(rows, each_its_own(rows)) == {}


def test_measuring_joins_verdicts_and_divergence(tmp_path: Path) -> None:
    asked = [{"role": "user", "content": "q"}]
    settings = {"answer_after": None, "answer_before": None, "overlap": None, "scored": True,
                "rules": None}  # fmt: skip
    answer = {"set": "s", "prompt": "q", "text": "x", "tokens": 1, "stop": "eos"}
    verdicts = [judged(i, v, d) for i, (v, d) in enumerate([(1.0, 1), (0.0, 2), (1.0, 3)])]
    rows = {
        "completions": ([], COMPLETIONS),
        "pairs": ([], PAIRS),
        "generations": ([answer | {"id": row["id"], "logp": -1.0, "reference_logp": -3.0}
                         for row in verdicts], GENERATIONS),
        "verdicts": ([row | {"set": "s"} for row in verdicts], VERDICTS),
        "sets-rows": ([{"id": row["id"], "group": row["id"], "prompt": asked, "completion": asked}
                       for row in verdicts], DEMONSTRATIONS),
    }  # fmt: skip
    subject = {"name": "t", "experiment": "e", "method": "dpo", "seed": 0}
    command = [
        "--subject",
        json.dumps(subject),
        "--sets",
        json.dumps({"s": settings}),
        "--root",
        str(tmp_path),
    ]
    for name, (content, schema) in rows.items():
        write_rows(tmp_path / f"{name}.parquet", content, schema)
        command += [f"--{name}", str(tmp_path / f"{name}.parquet")]
    metrics, items = tmp_path / "metrics.json", tmp_path / "items.parquet"
    assert measure.main([*command, "--metrics", str(metrics), "--items", str(items)]) == 0
    metrics = read_json(metrics)["sets"]["s"]["metrics"]
    assert (metrics["kl"]["value"], metrics["kl_per_token"]["value"]) == (2, 1)
    assert metrics["win_rate"]["value"] == pytest.approx(2 / 3)
    assert (metrics["win_rate"]["wins"], metrics["win_rate"]["losses"]) == (2, 1)
    assert metrics["win_rate_length_controlled"]["n"] == 3
    scored = {(row["metric"], row["id"]): row["score"] for row in read_rows(items)}
    assert [scored["win_rate", row["id"]] for row in verdicts] == [1, 0, 1]
    assert scored["kl", "0"] == 2
