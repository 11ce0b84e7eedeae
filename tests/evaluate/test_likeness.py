"""BLEU, chrF and ROUGE-L against hand-worked cases, their papers' formulas and other libraries."""

import math
import random
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from nltk.translate.bleu_score import SmoothingFunction, corpus_bleu
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from scripts.evaluate.likeness import likeness_metrics

ANSWERS = [
    "Ada has 3 + 4 = 7 pens.\n#### 7",
    "First, 12 / 4 = 3. Then 3 - 1 = 2 apples are left.",
    "The answer is $1,200.50 (twice 600.25).",
]
PREDICTIONS = [
    "Ada has 3 + 4 = 8 pens.\n#### 8",
    "First, 12 / 4 = 3. Then 2 apples are left over.",
    "The answer is 1200.50.",
]


def metrics(
    predictions: list[str], answers: list[str], groups: list[str] | None = None
) -> dict[str, Any]:
    names = [str(place) for place in range(len(predictions))]
    rows = [{"id": name, "text": text} for name, text in zip(names, predictions, strict=True)]
    belongs = dict(zip(names, groups or names, strict=True))
    found = likeness_metrics(rows, belongs, dict(zip(names, answers, strict=True)))
    return {metric.name: metric.summary() for metric in found}


def value(name: str, predictions: list[str], answers: list[str]) -> float:
    return metrics(predictions, answers)[name]["value"]


def bleu_by_formula(predictions: list[str], references: list[str]) -> float:
    """Corpus BLEU of Papineni et al. 2002: geometric mean of precisions times brevity penalty."""
    tokenize = Tokenizer13a()
    hits, totals, length, reference_length = Counter(), Counter(), 0, 0
    for prediction, reference in zip(predictions, references, strict=True):
        said, known = tokenize(prediction).split(), tokenize(reference).split()
        length, reference_length = length + len(said), reference_length + len(known)
        for n in range(1, 5):
            grams = Counter(zip(*(said[i:] for i in range(n)), strict=False))
            clipped = grams & Counter(zip(*(known[i:] for i in range(n)), strict=False))
            hits[n] += sum(clipped.values())
            totals[n] += sum(grams.values())
    if not all(hits[n] for n in range(1, 5)):
        return 0.0
    precision = math.exp(sum(math.log(hits[n] / totals[n]) for n in range(1, 5)) / 4)
    return precision * min(1.0, math.exp(1 - reference_length / length))


def chrf_by_formula(predictions: list[str], references: list[str]) -> float:
    """Corpus chrF2: F2 of the mean precision and the mean recall of character n-grams, 1 to 6."""
    precisions, recalls = [], []
    for n in range(1, 7):
        both, said, known = 0, 0, 0
        for texts in zip(predictions, references, strict=True):
            squeezed = ["".join(text.split()) for text in texts]
            one, other = (Counter(t[i : i + n] for i in range(len(t) - n + 1)) for t in squeezed)
            # An order counts in a sentence that is long enough for it on both sides.
            both += (one & other).total()
            said += one.total() if other else 0
            known += other.total() if one else 0
        if said and known:
            precisions.append(both / said)
            recalls.append(both / known)
    precision, recall = (sum(part) / len(part) for part in (precisions, recalls))
    return 100 * 5 * precision * recall / (4 * precision + recall)


def rouge_by_recursion(prediction: str, reference: str) -> float:
    """F1 of the longest common subsequence of words."""
    said, known = (
        "".join(c if c in "abcdefghijklmnopqrstuvwxyz0123456789" else " " for c in text.lower())
        .split()
        for text in (prediction, reference)
    )  # fmt: skip

    @cache
    def longest(i: int, j: int) -> int:
        if i == len(said) or j == len(known):
            return 0
        if said[i] == known[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    return 2 * longest(0, 0) / (len(said) + len(known))


def test_against_the_formulas() -> None:
    found = metrics(PREDICTIONS, ANSWERS)
    assert found["bleu"]["value"] == pytest.approx(bleu_by_formula(PREDICTIONS, ANSWERS))
    assert found["chrf"]["value"] == pytest.approx(chrf_by_formula(PREDICTIONS, ANSWERS))
    rouge = map(rouge_by_recursion, PREDICTIONS, ANSWERS)
    assert found["rouge_l"]["value"] == pytest.approx(sum(rouge) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_against_another_library(seed: int) -> None:
    """nltk's corpus BLEU, whose third smoothing is sacrebleu's default."""
    draw = random.Random(seed)
    texts = [[" ".join(draw.choices("abcdefgh", k=draw.randint(4, 9))) for _ in range(4)]
             for _ in range(2)]  # fmt: skip
    words = [[text.split() for text in side] for side in texts]
    references = [[known] for known in words[1]]
    found = metrics(*texts)
    smooth = corpus_bleu(references, words[0], smoothing_function=SmoothingFunction().method3)
    assert found["sacrebleu"]["value"] == pytest.approx(100 * smooth)
    assert found["bleu"]["value"] == pytest.approx(bleu_by_formula(*texts))
    assert found["chrf"]["value"] == pytest.approx(chrf_by_formula(*texts))
    rouge = [rouge_by_recursion(*pair) for pair in zip(*texts, strict=True)]
    assert found["rouge_l"]["value"] == pytest.approx(sum(rouge) / 4)


def test_by_hand() -> None:
    """`a b c d e` against `a b c d f`: precisions 4/5, 3/4, 2/3, 1/2 and no brevity penalty."""
    found = metrics(["a b c d e"], ["a b c d f"])
    expected = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert found["bleu"]["value"] == pytest.approx(expected)
    assert found["sacrebleu"]["value"] == pytest.approx(100 * expected)
    # abcde against abcdf: each side has n-grams of 5 orders, of which 4, 3, 2, 1, 0 match.
    assert found["chrf"]["value"] == pytest.approx(100 * (4 / 5 + 3 / 4 + 2 / 3 + 1 / 2) / 5)
    assert found["rouge_l"]["value"] == pytest.approx(4 / 5)


def test_an_order_without_a_match_is_smoothed_by_default_alone() -> None:
    """`a b c x y` against `a b c d e`: 3/5, 2/4, 1/3, and half a match of two."""
    found = metrics(["a b c x y"], ["a b c d e"])
    assert found["bleu"]["value"] == 0
    assert found["sacrebleu"]["value"] == pytest.approx(100 * (3 / 5 * 2 / 4 / 3 / 4) ** 0.25)


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_texts_are_compared_in_one_unicode_form(forms: tuple[str, str]) -> None:
    told = ["Tiếng Việt rất đẹp và hay lắm", "Đường phố hôm nay đông người quá"]
    answers, known = ([normalize(form, text) for text in told] for form in forms)
    found = metrics(answers, known)
    assert found == metrics(told, told)
    assert found["bleu"]["value"] == pytest.approx(1)
    assert found["chrf"]["value"] == pytest.approx(100)


def test_brevity() -> None:
    assert value("bleu", ["a b c d"], ["a b c d e f"]) == pytest.approx(math.exp(1 - 6 / 4))


def test_equal_texts_and_no_common_order() -> None:
    found = metrics(ANSWERS, ANSWERS)
    whole = {"bleu": 1, "sacrebleu": 100, "chrf": 100, "rouge_l": 1}
    assert {name: metric["value"] for name, metric in found.items()} == pytest.approx(whole)
    assert value("bleu", ["a b c"], ["a b c"]) == 0


def test_an_empty_answer_scores_nothing() -> None:
    found = metrics([""], ["a b c d"])
    assert [metric["value"] for metric in found.values()] == [0, 0, 0, 0]
    assert [metric["intervals"] for metric in found.values()] == [{}, {}, {}, {}]
    half = metrics(["", "a b c d"], ["a b c d", "a b c d"])
    assert half["rouge_l"]["value"] == 0.5
    assert half["bleu"]["value"] == pytest.approx(math.exp(-1))


def test_the_interval_by_hand() -> None:
    """Two groups: a resample is the first twice, the second twice, or both."""
    texts, answers = ["a b c d e", "a b c d e"], ["a b c d e", "a b c d f"]
    second = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    found = metrics(texts, answers, ["g", "h"])
    bounds = {name: metric["intervals"]["group bootstrap"] for name, metric in found.items()}
    assert bounds["bleu"] == pytest.approx((second, 1))
    assert bounds["sacrebleu"] == pytest.approx((100 * second, 100))
    assert bounds["chrf"] == pytest.approx((value("chrf", texts[1:], answers[1:]), 100))
    assert bounds["rouge_l"] == pytest.approx((0.8, 1))
    one_group = metrics(texts, answers, ["g", "g"])
    assert all(metric["intervals"] == {} for metric in one_group.values())


def test_the_interval_of_bleu_covers_the_truth_about_as_often_as_it_says() -> None:
    """40 data sets of 50 answers, some words of each replaced: 34 to 40 cover the whole's BLEU."""
    draw = random.Random(0)

    def pairs(n: int) -> tuple[list[str], list[str]]:
        known = [draw.choices("abcdefghijklmnop", k=draw.randint(8, 16)) for _ in range(n)]
        rates = [draw.choice([0.05, 0.4]) for _ in range(n)]
        said = [[draw.choice("qrst") if draw.random() < rate else word for word in words]
                for words, rate in zip(known, rates, strict=True)]  # fmt: skip
        return [" ".join(words) for words in said], [" ".join(words) for words in known]

    truth = bleu_by_formula(*pairs(4000))
    bounds = [metrics(*pairs(50))["bleu"]["intervals"]["group bootstrap"] for _ in range(40)]
    covered = sum(low <= truth <= high for low, high in bounds)
    assert 34 <= covered <= 40


def test_signatures_say_what_they_are() -> None:
    found = {name: metric["signature"] for name, metric in metrics(["a"], ["a"]).items()}
    assert found["rouge_l"] is None
    assert "tok:13a|smooth:none" in found["bleu"]
    assert "tok:13a|smooth:exp" in found["sacrebleu"]
    assert "nc:6|nw:0|space:no" in found["chrf"]


def test_rouge_does_not_wait_for_scipys_statistics() -> None:
    """Which can be imported afterwards all the same."""
    code = (
        "import sys; from scripts.evaluate.likeness import rouge_metric;"
        "rouge_metric([{'id': 'a', 'text': 'x'}], {'a': 'g'}, {'a': 'x'});"
        "assert 'nltk' in sys.modules and 'scipy.stats' not in sys.modules;"
        "from scipy.stats import bootstrap"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
