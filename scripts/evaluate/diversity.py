"""How much answers differ from each other, and how long they are."""

from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random

from scripts.common.files import Row
from scripts.evaluate.intervals import JACKKNIFE, SEED, group_jackknife
from scripts.evaluate.scores import AnyMetric, MeanMetric, WholeMetric, item_metric

ORDER = 4
LARGEST = 200

Gram = tuple[str, ...]


def diversity_metrics(rows: list[Row], groups: dict[str, str]) -> list[AnyMetric]:
    """Return distinct-1, distinct-2, the number of words, and self-BLEU of two or more answers."""
    metrics: list[AnyMetric] = [
        distinct(rows, groups, 1),
        distinct(rows, groups, 2),
        item_metric(rows, groups, "answer_words", lambda row: len(row["text"].split())),
    ]
    return [*metrics, self_bleu(rows, groups)] if len(rows) > 1 else metrics


def distinct(rows: list[Row], groups: dict[str, str], order: int) -> WholeMetric:
    """Return the number of different n-grams divided by that of words; 0 if there are no words.

    Li et al. 2016, https://aclanthology.org/N16-1014: distinct-2 is divided by the number of words
    as well.
    """
    words: Counter[str] = Counter()
    owners: dict[Gram, set[str]] = defaultdict(set)
    for row, tokens in zip(rows, map(_tokenizer(), rows), strict=True):
        group = groups[row["id"]]
        words[group] += len(tokens)
        for gram in _grams(tokens, order):
            owners[gram].add(group)
    alone = Counter(next(iter(having)) for having in owners.values() if len(having) == 1)

    def rate(grams: int, total: int) -> float:
        return grams / total if total else 0.0

    total = words.total()
    value = rate(len(owners), total)
    without = [rate(len(owners) - alone[group], total - words[group]) for group in words]
    interval = group_jackknife(value, without)
    return WholeMetric(
        f"distinct_{order}",
        value,
        [groups[row["id"]] for row in rows],
        JACKKNIFE,
        interval and (max(interval[0], 0.0), min(interval[1], 1.0)),
    )


def self_bleu(rows: list[Row], groups: dict[str, str]) -> MeanMetric:
    """Return the mean sentence BLEU, from 0 to 100, of each answer against all others.

    Zhu et al. 2018, https://arxiv.org/abs/1802.01886. Of more than 200 answers 200 are drawn with a
    fixed seed: the same prompts for every model. There must be two answers at least.
    """
    from sacrebleu.metrics import BLEU

    metric = BLEU(effective_order=True)
    drawn = len(rows) > LARGEST
    rows = Random(SEED).sample(rows, LARGEST) if drawn else rows
    scores = dict(zip((row["id"] for row in rows), _against_others(rows), strict=True))
    # sacrebleu has a signature only after it has seen references.
    metric.sentence_score(rows[0]["text"], [row["text"] for row in rows[1:]])
    return item_metric(
        rows,
        groups,
        "self_bleu",
        lambda row: scores[row["id"]],
        signature=str(metric.get_signature()),
        detail=f"a seeded draw of {LARGEST} of the answers" if drawn else None,
    )


def _against_others(rows: list[Row]) -> list[float]:
    """Return sacrebleu's sentence BLEU of each answer against all others.

    sacrebleu would read all answers again for each: 11 s for 200 answers of 60 words instead of
    0.1 s. An n-gram matches at most as often as it occurs in one other answer, so that its two
    largest counts are all that is needed.
    """
    from sacrebleu.metrics import BLEU

    tokens = [*map(_tokenizer(), rows)]
    counts = [
        Counter(gram for order in range(1, ORDER + 1) for gram in _grams(words, order))
        for words in tokens
    ]
    most: dict[Gram, list[int]] = defaultdict(lambda: [0, 0])
    for count in counts:
        for gram, times in count.items():
            most[gram] = sorted([*most[gram], times])[1:]
    lengths = Counter(map(len, tokens))

    def score(words: list[str], count: Counter[Gram]) -> float:
        correct, total = [0] * ORDER, [0] * ORDER
        for gram, times in count.items():
            second, first = most[gram]
            total[len(gram) - 1] += times
            # If this answer has the largest count, the largest elsewhere is the second largest.
            correct[len(gram) - 1] += min(times, second if times == first else first)
        others = lengths - Counter([len(words)])
        nearest = min(others, key=lambda length: (abs(length - len(words)), length))
        found = BLEU.compute_bleu(
            correct, total, len(words), nearest, smooth_method="exp", effective_order=True
        )
        return found.score

    return [score(words, count) for words, count in zip(tokens, counts, strict=True)]


def _tokenizer() -> Callable[[Row], list[str]]:
    """Return a function that splits an answer into words as sacrebleu does."""
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenize = Tokenizer13a()
    return lambda row: tokenize(row["text"].rstrip()).split()


def _grams(words: list[str], order: int) -> list[Gram]:
    return [tuple(words[at : at + order]) for at in range(len(words) - order + 1)]
