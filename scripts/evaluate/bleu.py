"""BLEU as the `evaluate` library's own metric of that name defines it, with no network.

`evaluate.load("bleu")` would fetch its code from the hub: here stands a metric of that library that
lets sacrebleu count.
"""

from typing import Any

import datasets
from sacrebleu.metrics import BLEU

from scripts.evaluate.imports import not_importable

# `evaluate` does without transformers, which it wants for its evaluator alone, in a fourth of the
# time (1.8 s instead of 6.8 s), and every model is measured in a process of its own.
with not_importable("transformers"):
    import evaluate

METRIC = BLEU(tokenize="13a", smooth_method="none", force=True)


class Bleu(evaluate.Metric):
    """Corpus BLEU, from 0 to 1, of predictions against one reference each."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="corpus BLEU: 13a tokenizer, order 4, no smoothing, brevity penalty",
            citation="Papineni et al. 2002, https://aclanthology.org/P02-1040",
            inputs_description="predictions: strings; references: one string for each",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return {"bleu": METRIC.corpus_score(predictions, [references]).score / 100}


def bleu(predictions: list[str], references: list[str]) -> float:
    """Returns corpus BLEU, from 0 to 1."""
    metric = Bleu(keep_in_memory=True)
    return metric.compute(predictions=predictions, references=references)["bleu"]
