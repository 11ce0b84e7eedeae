"""How like the known answers a model's answers are: BLEU, chrF and ROUGE-L, with no network."""

from dataclasses import replace
from typing import TYPE_CHECKING

from scripts.common.files import Row
from scripts.common.texts import composed
from scripts.evaluate.imports import not_importable
from scripts.evaluate.intervals import BOOTSTRAP, corpus_bootstrap
from scripts.evaluate.scores import AnyMetric, MeanMetric, WholeMetric, item_metric

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric


def likeness_metrics(
    rows: list[Row], groups: dict[str, str], known: dict[str, str]
) -> list[AnyMetric]:
    """Return BLEU as published and as sacrebleu's default, chrF and ROUGE-L of the answers."""
    from sacrebleu.metrics import BLEU, CHRF

    from scripts.evaluate import bleu

    rows = [row | {"text": composed(row["text"])} for row in rows]
    known = {name: composed(text) for name, text in known.items()}
    texts = [row["text"] for row in rows], [known[row["id"]] for row in rows]
    belongs = [groups[row["id"]] for row in rows]
    published = corpus_metric("bleu", bleu.METRIC, 0.01, *texts, belongs)
    return [
        # The interval comes from sacrebleu's counts; the value is that library's own.
        replace(published, value=bleu.bleu(*texts)),
        corpus_metric("sacrebleu", BLEU(force=True), 1, *texts, belongs),
        corpus_metric("chrf", CHRF(), 1, *texts, belongs),
        rouge_metric(rows, groups, known),
    ]


def corpus_metric(
    name: str,
    metric: "Metric",
    scale: float,
    texts: list[str],
    answers: list[str],
    groups: list[str],
) -> WholeMetric:
    """Return a corpus metric of sacrebleu, times `scale`, with the interval of its resamples."""
    # The counts of each sentence, from which sacrebleu's own tests of significance resample.
    statistics = metric._extract_corpus_statistics(texts, [answers])
    interval = corpus_bootstrap(
        statistics,
        groups,
        lambda sums: [metric._compute_score_from_stats(one).score * scale for one in sums.tolist()],
    )
    value = metric._aggregate_and_compute(statistics).score * scale
    signature = str(metric.get_signature())
    detail = f"sacrebleu {signature}"
    return WholeMetric(name, value, groups, BOOTSTRAP, interval, signature, detail)


def rouge_metric(rows: list[Row], groups: dict[str, str], known: dict[str, str]) -> MeanMetric:
    """Return the mean ROUGE-L of the answers (https://aclanthology.org/W04-1013)."""
    # rouge-score imports nltk for its stemmer, and nltk scipy.stats, if it can, for a test that
    # nobody asks for here: half of the time that measuring takes.
    with not_importable("scipy.stats"):
        from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)

    def score(row: Row) -> float:
        return scorer.score(known[row["id"]], row["text"])["rougeL"].fmeasure

    return item_metric(rows, groups, "rouge_l", score)
