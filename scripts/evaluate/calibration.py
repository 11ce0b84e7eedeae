"""Calibration of margins: whether they are right as often as they are confident."""

from typing import TYPE_CHECKING

from scripts.common.files import Row
from scripts.evaluate.intervals import BOOTSTRAP, corpus_bootstrap
from scripts.evaluate.scores import WholeMetric

if TYPE_CHECKING:
    from numpy import ndarray

BINS = 10


def calibration_error(rows: list[Row], groups: dict[str, str]) -> WholeMetric:
    """Return the expected calibration error of the pairs' margins, with its interval.

    Guo et al. 2017, https://arxiv.org/abs/1706.04599, section 2, with bins over the confidences
    that a choice between two can have, 0.5 to 1.
    """
    statistics = _statistics([row["margin"] for row in rows])
    belongs = [groups[row["id"]] for row in rows]
    return WholeMetric(
        "calibration_error",
        float(_error(statistics.sum(0))),
        belongs,
        BOOTSTRAP,
        corpus_bootstrap(statistics, belongs, _error),
    )


def _statistics(margins: list[float]) -> "ndarray":
    """Return pairs × (bins + 1).

    The column of a pair's bin holds right minus confidence, the other bins' 0, and the last one 1.
    """
    from numpy import abs as absolute
    from numpy import arange, array, exp, linspace, ones, searchsorted, sign, zeros

    margins = array(margins)
    confidence = 1 / (1 + exp(-absolute(margins)))
    right = (sign(margins) + 1) / 2
    inner = linspace(0.5, 1, BINS + 1)[1:-1]
    gaps = zeros((len(margins), BINS))
    gaps[arange(len(margins)), searchsorted(inner, confidence)] = right - confidence
    return array([*gaps.T, ones(len(margins))]).T


def _error(sums: "ndarray") -> "ndarray":
    return abs(sums[..., :-1]).sum(-1) / sums[..., -1]
