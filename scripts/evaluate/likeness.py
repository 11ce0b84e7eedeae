"""How like the known answers a model's answers are: BLEU, chrF and ROUGE-L, with no network."""

from dataclasses import replace
from typing import TYPE_CHECKING

from scripts.common.files import Row
from scripts.evaluate.figures import AnyFigure, Figure, WholeFigure, item_figure
from scripts.evaluate.imports import not_importable
from scripts.evaluate.intervals import BOOTSTRAP, corpus_bootstrap

if TYPE_CHECKING:
    from sacrebleu.metrics.base import Metric

SACREBLEU_DEFINITION = (
    "corpus BLEU as sacrebleu has it unless told otherwise (Post 2018): an order without a match "
    "is smoothed"
)
CHRF_DEFINITION = (
    "corpus chrF2 (Popovic 2015): F-score of character n-grams up to order 6, recall twice as "
    "important, white space left out"
)
ROUGE_DEFINITION = (
    "mean ROUGE-L (Lin 2004): F1 of the longest common subsequence of words, lower case, letters "
    "a-z and digits alone, no stemmer (rouge-score)"
)


def likeness_figures(
    rows: list[Row], groups: dict[str, str], known: dict[str, str]
) -> list[AnyFigure]:
    """Returns BLEU as published and as sacrebleu's default, chrF and ROUGE-L of the answers."""
    from sacrebleu.metrics import BLEU, CHRF

    from scripts.evaluate import bleu

    texts = [row["text"] for row in rows], [known[row["id"]] for row in rows]
    belongs = [groups[row["id"]] for row in rows]
    published = corpus_figure(bleu.METRIC, 0.01, "bleu", "0 to 1", bleu.DEFINITION, *texts, belongs)
    return [
        # The interval is of sacrebleu's counts; the value, that library's own.
        replace(published, value=bleu.bleu(*texts)),
        corpus_figure(
            BLEU(force=True), 1, "sacrebleu", "0 to 100", SACREBLEU_DEFINITION, *texts, belongs
        ),
        corpus_figure(CHRF(), 1, "chrf", "0 to 100", CHRF_DEFINITION, *texts, belongs),
        rouge_figure(rows, groups, known),
    ]


def corpus_figure(
    metric: "Metric",
    scale: float,
    name: str,
    unit: str,
    definition: str,
    texts: list[str],
    answers: list[str],
    groups: list[str],
) -> WholeFigure:
    """Returns a corpus metric of sacrebleu, times `scale`, with the interval of its resamples."""
    # The counts of each sentence, from which sacrebleu's own tests of significance resample.
    statistics = metric._extract_corpus_statistics(texts, [answers])
    interval = corpus_bootstrap(
        statistics,
        groups,
        lambda sums: [metric._compute_score_from_stats(one).score * scale for one in sums.tolist()],
    )
    value = metric._aggregate_and_compute(statistics).score * scale
    signature = str(metric.get_signature())
    # Below a table stands the definition, so it says the signature too.
    definition = f"{definition}; sacrebleu {signature}"
    return WholeFigure(name, unit, definition, value, groups, BOOTSTRAP, interval, signature)


def rouge_figure(rows: list[Row], groups: dict[str, str], known: dict[str, str]) -> Figure:
    """Returns the mean ROUGE-L of the answers (https://aclanthology.org/W04-1013)."""
    # rouge-score imports nltk for its stemmer, and nltk scipy.stats, if it can, for a test that
    # nobody asks for here: half of the time that measuring takes.
    with not_importable("scipy.stats"):
        from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=False)

    def score(row: Row) -> float:
        return scorer.score(known[row["id"]], row["text"])["rougeL"].fmeasure

    return item_figure(rows, groups, "rouge_l", "0 to 1", ROUGE_DEFINITION, score)
