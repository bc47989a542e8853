"""Pearson's and Spearman's correlation between predicted and true numbers, equal to scipy's."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from luthier.errors import DataError
from luthier.metrics.metric import Details, FloatArray, Metric, divide
from luthier.records import Prediction

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_LARGEST = 1e70
"""Larger numbers are not read: the products of their squares are no longer finite."""


def _statistics(predictions: Sequence[Prediction]) -> FloatArray:
    """Columns: count, x, y, x², y², xy and "unreadable", float64 ``(n, 7)``; x predicted, y true, both centred.

    A prediction without a number says nothing, and so takes the mean of the others: it can only weaken the
    correlation, where leaving it out would reward it.
    """
    x = np.array([_number(p.text) for p in predictions])
    y = np.array([_true_number(p) for p in predictions])
    unread = np.isnan(x)
    x = np.where(unread, x[~unread].mean() if (~unread).any() else 0.0, x)
    # Centred, because the sums of squares of far-off numbers cancel.
    x, y = x - x.mean(), y - y.mean()
    return np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y, unread.astype(np.float64)], axis=1)


def _number(text: str) -> float:
    found = _NUMBER.search(text)
    value = float(found.group()) if found else math.nan
    return value if abs(value) <= _LARGEST else math.nan


def _true_number(prediction: Prediction) -> float:
    value = _number(prediction.targets[0])
    if not math.isfinite(value):
        raise DataError(
            f"The target {prediction.targets[0]!r} is not a number between -1e70 and 1e70.",
            where=f"prediction '{prediction.id}'",
            fix="Use pearson and spearman only where every target is a number.",
        )
    return value


def _pearson(sums: FloatArray) -> FloatArray:
    n, x, y, xx, yy, xy = (sums[..., i] for i in range(6))
    covariance = n * xy - x * y
    spread_x, spread_y = n * xx - x * x, n * yy - y * y
    # A constant column has no correlation; rounding leaves a trace of spread, so compare with its scale.
    flat = (spread_x <= 1e-13 * n * xx) | (spread_y <= 1e-13 * n * yy)
    r = divide(covariance, np.sqrt(np.where(flat, 0.0, spread_x * spread_y)))
    return np.clip(r, -1.0, 1.0)[..., None]


def _details(sums: FloatArray) -> Details:
    return ({"unreadable": float(sums[6])},)


def weighted_ranks(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Ranks in each resample, equal values sharing the mean of theirs.

    Args:
        values: float64 ``(n,)``.
        weights: float64 ``(b, n)``: how often each value occurs in each resample.

    Returns:
        float64 ``(b, n)``; the rank of a value that occurs w times is the mean of the w places it takes.
    """
    _, place = np.unique(values, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    tied = np.add.reduceat(weights[:, order], starts, axis=1)  # (b, distinct)
    before = np.cumsum(tied, axis=1) - tied
    ranks: FloatArray = (before + (tied + 1) / 2)[:, place]
    return ranks


def _spearman(stats: FloatArray, weights: FloatArray) -> FloatArray:
    rank_x, rank_y = weighted_ranks(stats[:, 1], weights), weighted_ranks(stats[:, 2], weights)
    total = weights.sum(axis=1, keepdims=True)
    x, y = rank_x - (total + 1) / 2, rank_y - (total + 1) / 2
    covariance = (weights * x * y).sum(axis=1)
    spread = (weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1)
    return divide(covariance, np.sqrt(spread))[:, None]


def pearson_metric() -> Metric:
    """Pearson's r between the first number in the text and the first target; NaN when either is constant."""
    name = "pearson"
    return Metric(name, (name,), name, True, "", _statistics, _pearson, _details, context_free=False, lowest=-1.0)


def spearman_metric() -> Metric:
    """Spearman's rho between the first number in the text and the first target; NaN when either is constant."""
    return Metric(
        "spearman",
        ("spearman",),
        "spearman",
        True,
        "",
        _statistics,
        _pearson,
        _details,
        weighted=_spearman,
        context_free=False,
        lowest=-1.0,
    )
