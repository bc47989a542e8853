"""Numbers that are no mean of what documents give (MCC, F1, BLEU, perplexity): lm-eval's own aggregation, resampled.

An item is what a document gives to an aggregation, which may be anything: two labels, a text and its references, a
log-probability and a number of bytes. The statistics of a metric are floats, so an item stands as its place in a list.
"""

from __future__ import annotations

import math
import pickle
import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from lm_eval.api import metrics as theirs

from luthier.metrics.metric import FloatArray, Metric, divide
from luthier.records import Prediction

Aggregation: TypeAlias = Callable[[Sequence[Any]], float]
Items: TypeAlias = Callable[[Sequence[Prediction]], list[Any]]
"""Predictions ``(n,)`` → what each gives to the aggregation; None where it gives nothing."""

_WARNINGS = threading.Lock()
"""Filters of warnings are the process's, and resamples are computed by several threads."""


def aggregated_metric(plain: Metric, aggregation: Aggregation, items: Items) -> Metric:
    """Return a metric of lm-eval whose aggregation is not the plain mean.

    Args:
        plain: Its names and direction.
        aggregation: lm-eval's own.
        items: What the aggregation takes of each prediction.
    """
    if aggregation in _OF_SUMS:
        columns, aggregate = _OF_SUMS[aggregation]
        return replace(plain, statistics=lambda log: _rows(items(log), columns), aggregate=aggregate)
    places = _Places(aggregation)
    return replace(
        plain,
        statistics=lambda log: places.of(items(log)),
        weighted=places.weighted,
        per_example=lambda stats: places.weighted(stats, np.eye(len(stats))),
        details=lambda sums: (),
    )


# Aggregations that are functions of sums.


def _rows(items: Sequence[Any], columns: Callable[[Any], tuple[float, ...]]) -> FloatArray:
    rows = [(0.0, 0.0) if item is None else columns(item) for item in items]
    return np.asarray(rows, dtype=np.float64).reshape(len(items), 2)


def _one(item: Any) -> tuple[float, float]:
    return 1.0, float(item)


def _one_unless_nan(item: Any) -> tuple[float, float]:
    return (0.0, 0.0) if math.isnan(item) else (1.0, float(item))


def _size_first(item: Any) -> tuple[float, float]:
    return float(item[1]), float(item[0])


def _ratio(sums: FloatArray) -> FloatArray:
    return divide(sums[..., 1:2], sums[..., :1])


_OF_SUMS: dict[Aggregation, tuple[Callable[[Any], tuple[float, ...]], Callable[[FloatArray], FloatArray]]] = {
    theirs.nanmean: (_one_unless_nan, _ratio),
    theirs.perplexity: (_one, lambda sums: np.exp(-_ratio(sums))),
    theirs.weighted_perplexity: (_size_first, lambda sums: np.exp(-_ratio(sums))),
    theirs.bits_per_byte: (_size_first, lambda sums: -_ratio(sums) / math.log(2)),
}
"""Aggregation → the columns of an item, and the value of their sums."""


# All others.


@dataclass(frozen=True)
class _Places:
    """The items that an aggregation has been given, each at its place."""

    aggregation: Aggregation
    items: list[Any] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)

    def of(self, items: Sequence[Any]) -> FloatArray:
        """Return float64 ``(n, 2)``: whether there is an item, and its place."""
        return np.asarray([(item is not None, self._place(item)) for item in items], dtype=np.float64)

    def _place(self, item: Any) -> int:
        mark = pickle.dumps(item)
        if mark not in self.known:
            self.known[mark] = len(self.items)
            self.items.append(item)
        return self.known[mark]

    def weighted(self, stats: FloatArray, weights: FloatArray) -> FloatArray:
        """Aggregate items that are drawn so often: statistics ``(n, 2)``, weights ``(b, n)`` → ``(b, 1)``."""
        present = stats[:, 0] > 0
        places, counts = stats[present, 1].astype(int), np.rint(weights[:, present]).astype(int)
        distinct, which = np.unique(places, return_inverse=True)
        if len(weights) == 1 or 2 * len(distinct) > len(places):
            return np.array([[self._value(np.repeat(places, row))] for row in counts])
        # Of few distinct items, such as pairs of labels, many resamples are the same.
        sums = np.zeros((len(counts), len(distinct)), dtype=int)
        np.add.at(sums.T, which, counts.T)
        resamples, back = np.unique(sums, axis=0, return_inverse=True)
        values = np.array([self._value(np.repeat(distinct, row)) for row in resamples])
        return np.asarray(values[back.reshape(-1), None])

    def _value(self, places: Any) -> float:
        if not len(places):
            return math.nan
        try:
            with _WARNINGS, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return float(self.aggregation([self.items[place] for place in places]))
        except (ArithmeticError, ValueError, IndexError, TypeError):  # undefined on this resample
            return math.nan
