"""BLEU against a hand-worked case and an implementation of the paper's formula."""

import math
from collections import Counter

import pytest
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from scripts.evaluate.bleu import bleu, bleu_interval

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


def by_formula(predictions: list[str], references: list[str]) -> float:
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


def test_against_the_formula() -> None:
    assert bleu(PREDICTIONS, ANSWERS)["bleu"] == pytest.approx(by_formula(PREDICTIONS, ANSWERS))


def test_by_hand() -> None:
    """`a b c d e` against `a b c d f`: precisions 4/5, 3/4, 2/3, 1/2 and no brevity penalty."""
    expected = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu(["a b c d e"], ["a b c d f"])["bleu"] == pytest.approx(expected)


def test_brevity() -> None:
    assert bleu(["a b c d"], ["a b c d e f"])["bleu"] == pytest.approx(math.exp(1 - 6 / 4))


def test_equal_texts_and_no_common_order() -> None:
    assert bleu(ANSWERS, ANSWERS)["bleu"] == pytest.approx(1)
    assert bleu(["a b c"], ["a b c"])["bleu"] == 0


def test_the_interval_by_hand() -> None:
    """Two groups: a resample is the first twice, the second twice, or both."""
    texts, answers = ["a b c d e", "a b c d e"], ["a b c d e", "a b c d f"]
    second = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25
    assert bleu_interval(texts, answers, ["g", "h"]) == pytest.approx((second, 1))
    assert bleu_interval(texts, answers, ["g", "g"]) is None


def test_the_signature_says_what_it_is() -> None:
    signature = bleu(["a"], ["a"])["signature"]
    assert "tok:13a" in signature
    assert "smooth:none" in signature
