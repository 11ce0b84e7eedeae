"""BLEU as the `evaluate` library's own metric of that name defines it, with no network.

13a tokenizer, order 4, no smoothing (Papineni et al. 2002, https://aclanthology.org/P02-1040),
computed by sacrebleu. `evaluate.load("bleu")` would fetch code from the hub.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import datasets
from sacrebleu.metrics import BLEU

from scripts.evaluate.intervals import LEVEL, RESAMPLES, SEED


@contextmanager
def not_importable(module: str) -> Iterator[None]:
    """Makes imports of a module fail in the block, unless it is loaded already."""
    absent = module not in sys.modules
    if absent:
        sys.modules[module] = None
    try:
        yield
    finally:
        if absent:
            del sys.modules[module]


# `evaluate` does without transformers, which it wants for its evaluator alone, in a fourth of the
# time (1.8 s instead of 6.8 s), and every model is measured in a process of its own.
with not_importable("transformers"):
    import evaluate

DESCRIPTION = "corpus BLEU with 13a tokenizer, order 4, no smoothing, brevity penalty"


class Bleu(evaluate.Metric):
    """Corpus BLEU, from 0 to 1, of predictions against one reference each."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation="Papineni et al. 2002, https://aclanthology.org/P02-1040",
            inputs_description="predictions: strings; references: one string for each",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        metric = BLEU(tokenize="13a", smooth_method="none", max_ngram_order=4, force=True)
        score = metric.corpus_score(predictions, [references])
        return {"bleu": score.score / 100, "signature": str(metric.get_signature())}


def bleu_interval(
    predictions: list[str], references: list[str], groups: list[str]
) -> tuple[float, float] | None:
    """Returns the percentile interval of corpus BLEU when groups of items are resampled.

    Koehn 2004, https://aclanthology.org/W04-3250, with whole groups drawn. None where there are
    fewer than two groups.
    """
    from numpy import array, quantile, zeros
    from numpy.random import default_rng

    metric = BLEU(tokenize="13a", smooth_method="none", force=True)
    names = {group: index for index, group in enumerate(dict.fromkeys(groups))}
    if len(names) < 2:
        return None
    # Of each group: matches and totals of the four orders, and both lengths.
    statistics = zeros((len(names), 10), dtype=int)
    for prediction, reference, group in zip(predictions, references, groups, strict=True):
        item = metric.corpus_score([prediction], [[reference]])
        statistics[names[group]] += [*item.counts, *item.totals, item.sys_len, item.ref_len]
    draws = default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    scores = [_score(statistics[draw].sum(0)) for draw in draws]
    low, high = quantile(array(scores), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _score(sums: Any) -> float:
    correct, total, (length, reference_length) = sums[:4], sums[4:8], sums[8:]
    score = BLEU.compute_bleu(
        correct.tolist(), total.tolist(), int(length), int(reference_length), smooth_method="none"
    )
    return score.score / 100


def bleu(predictions: list[str], references: list[str]) -> dict[str, Any]:
    """Returns `bleu` from 0 to 1 and sacrebleu's `signature`."""
    metric = Bleu(keep_in_memory=True)
    return metric.compute(predictions=predictions, references=references)
