"""Distinct n-grams and self-BLEU against hand-worked cases and sacrebleu itself."""

import random
from typing import Any

import pytest
from sacrebleu.metrics import BLEU

from scripts.evaluate import diversity
from scripts.evaluate.diversity import diversity_metrics, self_bleu


def metrics(texts: list[str], groups: list[str] | None = None) -> dict[str, Any]:
    rows = [{"id": str(place), "text": text} for place, text in enumerate(texts)]
    belongs = {row["id"]: row["id"] for row in rows}
    if groups:
        belongs = dict(zip(belongs, groups, strict=True))
    return {metric.name: metric.summary() for metric in diversity_metrics(rows, belongs)}


def test_distinct_by_hand() -> None:
    """Eight words, a b c d different; ab, bc, ca, ad different; both by the number of words."""
    found = metrics(["a b c", "c a b", "a d"])
    assert found["distinct_1"]["value"] == pytest.approx(4 / 8)
    assert found["distinct_2"]["value"] == pytest.approx(4 / 8)
    assert found["answer_words"]["value"] == pytest.approx(8 / 3)


def test_the_interval_of_distinct_by_hand() -> None:
    """Four groups; without one of them 3 of 6, 3 of 7, 3 of 6 or 3 of 5 words differ."""
    found = metrics(["a b", "a", "b c", "c b a"], ["g", "h", "i", "j"])["distinct_1"]
    values = [3 / 6, 3 / 7, 3 / 6, 3 / 5]
    mean = sum(values) / 4
    error = (3 / 4 * sum((value - mean) ** 2 for value in values)) ** 0.5
    t = 3.182446  # 0.975 of Student's t with three degrees of freedom
    bounds = (3 / 8 - t * error, 3 / 8 + t * error)
    assert found["intervals"]["group jackknife"] == pytest.approx(bounds)


def test_the_interval_of_distinct_stays_between_0_and_1() -> None:
    found = metrics(["a a b", "c"])["distinct_1"]
    assert found["value"] == 3 / 4
    assert found["intervals"]["group jackknife"] == (0, 1)


def test_the_interval_of_distinct_covers_what_so_many_answers_have_on_average() -> None:
    """60 sets of 40 answers in words of Zipf's law: 54 to 60 cover the mean of 400 such sets."""
    draw = random.Random(0)
    vocabulary = [f"w{rank}" for rank in range(1, 400)]
    weights = [1 / rank for rank in range(1, 400)]

    def answers() -> list[str]:
        return [" ".join(draw.choices(vocabulary, weights, k=8)) for _ in range(40)]

    def rate(texts: list[str]) -> float:
        words = " ".join(texts).split()
        return len(set(words)) / len(words)

    truth = sum(rate(answers()) for _ in range(400)) / 400
    bounds = [metrics(answers())["distinct_1"]["intervals"]["group jackknife"] for _ in range(60)]
    assert 54 <= sum(low <= truth <= high for low, high in bounds) <= 60


def plain(texts: list[str]) -> list[float]:
    metric = BLEU(effective_order=True)
    return [
        metric.sentence_score(text, texts[:place] + texts[place + 1 :]).score
        for place, text in enumerate(texts)
    ]


@pytest.mark.parametrize("seed", range(8))
def test_self_bleu_is_the_mean_of_sacrebleus_sentence_bleu_against_all_others(seed: int) -> None:
    draw = random.Random(seed)
    texts = [" ".join(draw.choices(["a", "b", "c.", "d", "e", "f"], k=draw.randint(0, 9)))
             for _ in range(draw.randint(2, 12))]  # fmt: skip
    texts[-1] = texts[0]
    rows = [{"id": str(place), "text": text} for place, text in enumerate(texts)]
    found = self_bleu(rows, {row["id"]: "g" for row in rows})
    assert [item["score"] for item in found.items] == pytest.approx(plain(texts))
    assert f"nrefs:{len(texts) - 1}" in found.signature
    assert "eff:yes|tok:13a|smooth:exp" in found.signature


def test_self_bleu_by_hand() -> None:
    """Of `a b c d` and `a b c e` each matches 3/4, 2/3, 1/2 and, smoothed, half of one."""
    score = 100 * (3 / 4 * 2 / 3 * 1 / 2 * 1 / 2) ** 0.25
    assert metrics(["a b c d", "a b c e"])["self_bleu"]["value"] == pytest.approx(score)


def test_all_answers_alike() -> None:
    found = metrics(["a b c d e"] * 4)
    assert found["self_bleu"]["value"] == pytest.approx(100)
    assert found["self_bleu"]["intervals"]["group bootstrap"] == pytest.approx((100, 100))
    assert found["distinct_1"]["value"] == pytest.approx(5 / 20)


def test_of_many_answers_a_draw_is_compared_and_the_detail_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diversity, "LARGEST", 5)
    texts = [f"a b c {place} d e" for place in range(9)]
    first, again = metrics(texts)["self_bleu"], metrics(texts)["self_bleu"]
    assert first == again
    assert first["n"] == 5
    assert "a seeded draw" in first["detail"]
    assert "detail" not in metrics(texts[:5])["self_bleu"]
    assert metrics(texts)["distinct_1"]["n"] == 9


def test_one_answer_has_nothing_to_be_compared_with() -> None:
    found = metrics(["a b"])
    assert found.keys() == {"distinct_1", "distinct_2", "answer_words"}
    assert found["distinct_1"] == {
        "value": 1, "n": 1, "groups": 1, "intervals": {}, "signature": None}  # fmt: skip


def test_empty_answers() -> None:
    found = metrics(["", ""])
    assert {name: metric["value"] for name, metric in found.items()} == {
        "distinct_1": 0, "distinct_2": 0, "answer_words": 0, "self_bleu": 0}  # fmt: skip
    assert metrics(["", "a"])["distinct_1"]["value"] == 1


def test_one_group_has_no_interval() -> None:
    found = metrics(["a b", "a c", "d"], ["g"] * 3)
    assert all(metric["intervals"] == {} for metric in found.values())
