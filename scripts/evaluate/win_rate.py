"""Metrics of a judge's verdicts: how often the trial's answer is better than its base's."""

import warnings
from typing import Any

from scripts.common.files import Row
from scripts.evaluate.intervals import BOOTSTRAP, LEVEL, RESAMPLES, SEED
from scripts.evaluate.scores import MeanMetric, item_metric, summary


class WinRate(MeanMetric):
    """A share of wins, with how many there are of each verdict beside it."""

    def summary(self) -> Row:
        """Return what any metric does, and `wins`, `ties` and `losses`."""
        scores = [item["score"] for item in self.items]
        counts = {"wins": 1.0, "ties": 0.5, "losses": 0.0}
        return super().summary() | {name: scores.count(score) for name, score in counts.items()}


def with_verdicts(generations: list[Row], verdicts: list[Row]) -> list[Row]:
    """Return the answers, those that were judged with their verdict."""
    found = {(row["set"], row["id"]): row for row in verdicts}
    return [row | found.get((row["set"], row["id"]), {}) for row in generations]


def win_metrics(rows: list[Row], groups: dict[str, str]) -> list[MeanMetric]:
    """Return `win_rate` and `judge_disagreement`; none where no answer was judged."""
    judged = _judged(rows)
    if not judged:
        return []
    wins = item_metric(judged, groups, "win_rate", lambda row: row["verdict"], share=True)
    metrics: list[MeanMetric] = [WinRate(**vars(wins))]
    asked = [row for row in judged if row["margin_as_a"] is not None]
    if asked:

        def differs(row: Row) -> bool:
            return (row["margin_as_a"] > 0) != (row["margin_as_b"] > 0)

        metrics.append(item_metric(asked, groups, "judge_disagreement", differs, share=True))
    return metrics


def length_controlled(rows: list[Row], groups: dict[str, str]) -> dict[str, Row]:
    """Return the summary of `win_rate_length_controlled` under its name; empty without a fit.

    What the win rate would be were both answers as long, as AlpacaEval 2 has it (Dubois et al.
    2024, https://arxiv.org/abs/2404.04475, section 3): a logistic regression of the verdict on
    tanh(d / s), d the trial's tokens less the base's and s their standard deviation, evaluated at
    d = 0. Their third term, how hard a prompt is, needs many models on each prompt. There is no
    maximum of the likelihood, and so no metric, where lengths part wins from losses or all are the
    same; and nothing to regress where all verdicts are the same.

    The interval is the percentile one of 2000 resamples of whole groups; s stays that of all.
    """
    from numpy import array, tanh

    judged = _judged(rows)
    verdicts = array([row["verdict"] for row in judged], dtype=float)
    longer = array([row["tuned_tokens"] - row["base_tokens"] for row in judged], dtype=float)
    if len(set(verdicts)) < 2 or not longer.std():
        return {}
    lengths = tanh(longer / longer.std())
    if _separated(lengths, verdicts):
        return {}
    names = [groups[row["id"]] for row in judged]
    interval = _interval(lengths, verdicts, names)
    value, intervals = _rate_at_zero(lengths, verdicts), {BOOTSTRAP: interval} if interval else {}
    return {"win_rate_length_controlled": summary(value, names, intervals)}


def _judged(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.get("verdict") is not None]


def _separated(x: Any, verdicts: Any) -> bool:
    """Return True if one threshold of x separates wins from losses, so no finite fit is best.

    Albert & Anderson 1984, https://doi.org/10.1093/biomet/71.1.1; a tie is on both sides.
    """
    won, lost = x[verdicts > 0], x[verdicts < 1]
    return bool(lost.max() <= won.min() or won.max() <= lost.min())


ITERATIONS = 25
"""Several times as many as a fit takes that has a maximum: four or five."""


def _rate_at_zero(x: Any, verdicts: Any) -> float:
    """Return the fitted probability at x = 0.

    A resample may part wins from losses, and then has no maximum: its rate is that of the last
    step towards its limit. Where all its verdicts are the same, that is the limit.
    """
    from numpy import column_stack, ones
    from scipy.special import expit
    from statsmodels.api import GLM, families

    if (verdicts == verdicts[0]).all():
        return float(verdicts[0])
    model = GLM(verdicts, column_stack([ones(len(x)), x]), family=families.Binomial())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = model.fit(maxiter=ITERATIONS)
    return float(expit(fit.params[0]))


def _interval(x: Any, verdicts: Any, groups: list[str]) -> tuple[float, float] | None:
    from numpy import array, concatenate, flatnonzero, quantile
    from numpy.random import default_rng

    names = array(groups)
    places = [flatnonzero(names == name) for name in dict.fromkeys(groups)]
    if len(places) < 2:
        return None
    draws = default_rng(SEED).integers(len(places), size=(RESAMPLES, len(places)))
    rates = []
    for draw in draws:
        rows = concatenate([places[group] for group in draw])
        rates.append(_rate_at_zero(x[rows], verdicts[rows]))
    low, high = quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
