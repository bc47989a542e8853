"""Numbers that are no mean of what documents give (MCC, F1, BLEU, perplexity): lm-eval's own aggregation, resampled.

An item is what a document gives to an aggregation, which may be anything: two labels, a text and its references, a
log-probability and a number of bytes. The statistics of a metric are floats, so an item stands as its place in a list.
Resampling asks for tens of thousands of aggregations. Those that are functions of sums, of counts of labels, or of
n-grams are computed so for all resamples together, to the same values; every other one is lm-eval's, called each time.
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
from luthier.metrics.overlap.bleu import bleu_metric
from luthier.metrics.overlap.chrf import chrf_metric
from luthier.records import Prediction

Aggregation: TypeAlias = Callable[[Sequence[Any]], float]
Items: TypeAlias = Callable[[Sequence[Prediction]], list[Any]]
"""Predictions ``(n,)`` → what each gives to the aggregation; None where it gives nothing."""

MOST_RESAMPLED = 2000
"""Documents above which an aggregation that only lm-eval can compute has no interval: it would take minutes."""
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
    if aggregation in _OF_TEXTS:
        ours = _OF_TEXTS[aggregation]
        return replace(plain, statistics=lambda log: _counted(ours, items(log)), aggregate=ours.aggregate)
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


def _one_of_classes(item: Any) -> tuple[float, float]:
    gold, shares = item
    return 1.0, float(np.sum((np.asarray(shares) - np.eye(len(shares))[gold]) ** 2))


def _ratio(sums: FloatArray) -> FloatArray:
    return divide(sums[..., 1:2], sums[..., :1])


_OF_SUMS: dict[Aggregation, tuple[Callable[[Any], tuple[float, ...]], Callable[[FloatArray], FloatArray]]] = {
    theirs.nanmean: (_one_unless_nan, _ratio),
    theirs.perplexity: (_one, lambda sums: np.exp(-_ratio(sums))),
    theirs.weighted_perplexity: (_size_first, lambda sums: np.exp(-_ratio(sums))),
    theirs.bits_per_byte: (_size_first, lambda sums: -_ratio(sums) / math.log(2)),
    theirs.brier_score: (_one_of_classes, _ratio),
}
"""Aggregation → the columns of an item, and the value of their sums."""


# Aggregations of texts, by sacrebleu's sufficient statistics.

_OF_TEXTS: dict[Aggregation, Metric] = {
    theirs.bleu: bleu_metric(),
    theirs.chrf: chrf_metric(),
    theirs.chrfpp: chrf_metric(word_order=2),
}


def _counted(ours: Metric, items: Sequence[Any]) -> FloatArray:
    """Return our statistics of references and texts, ``(n, k)``; sacrebleu takes one reference or a list of them."""
    log, there = [], []
    for place, item in enumerate(items):
        if item is not None:
            references, text = item
            targets = (references,) if isinstance(references, str) else tuple(references)
            log.append(Prediction(str(place), "", text if isinstance(text, str) else text[0], targets))
            there.append(place)
    stats = ours.statistics(log)
    rows = np.zeros((len(items), stats.shape[1]))
    rows[there] = stats
    return rows


# Aggregations of a right and a given label, by counts of pairs.


def _mcc(golds: FloatArray, given: FloatArray, counts: FloatArray) -> FloatArray:
    """Matthews' correlation of several classes (Gorodkin 2004), 0 where it is undefined, as scikit-learn has it.

    Args:
        golds: Right label of each distinct pair, ``(d,)``.
        given: Answer of each, ``(d,)``.
        counts: How often each pair occurs, ``(b, d)``.
    """
    labels = np.unique(np.concatenate([golds, given]))
    right, answered = (counts @ (own[:, None] == labels).astype(float) for own in (golds, given))
    total, correct = counts.sum(axis=1), counts @ (golds == given).astype(float)
    covariance = correct * total - (right * answered).sum(axis=1)
    spread = (total**2 - (right**2).sum(axis=1)) * (total**2 - (answered**2).sum(axis=1))
    return divide(covariance, np.sqrt(spread), 0.0)


def _f1(golds: FloatArray, given: FloatArray, counts: FloatArray) -> FloatArray:
    """F1 of the label 1, 0 where it is undefined, as scikit-learn has it; see :func:`_mcc`."""
    hits = counts @ ((golds == 1) & (given == 1)).astype(float)
    return divide(2 * hits, counts @ (golds == 1).astype(float) + counts @ (given == 1).astype(float), 0.0)


_OF_LABELS: dict[Aggregation, Callable[[FloatArray, FloatArray, FloatArray], FloatArray]] = {
    theirs.matthews_corrcoef: _mcc,
    theirs.f1_score: _f1,
}


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
        """Aggregate items that are drawn so often: statistics ``(n, 2)``, weights ``(b, n)`` → ``(b, 1)``.

        NaN where it cannot be resampled: what is undefined on the data, and what takes too long.
        """
        present = stats[:, 0] > 0
        places, counts = stats[present, 1].astype(int), np.rint(weights[:, present]).astype(int)
        distinct, which = np.unique(places, return_inverse=True)
        if len(weights) == 1:
            return np.array([[self._value(np.repeat(places, counts[0]))]])
        pairs = self._labels(distinct)
        if pairs is None and (len(places) > MOST_RESAMPLED or math.isnan(self._value(places))):
            return np.full((len(weights), 1), math.nan)
        if 2 * len(distinct) > len(places):
            return np.array([[self._value(np.repeat(places, row))] for row in counts])
        # Of few distinct items, such as pairs of labels, many resamples are the same.
        order = np.argsort(which, kind="stable")
        starts = np.flatnonzero(np.diff(which[order], prepend=-1))
        sums = np.add.reduceat(counts[:, order], starts, axis=1)
        if pairs is not None:
            return _OF_LABELS[self.aggregation](pairs[:, 0], pairs[:, 1], sums.astype(float))[:, None]
        resamples, back = np.unique(sums, axis=0, return_inverse=True)
        values = np.array([self._value(np.repeat(distinct, row)) for row in resamples])
        return np.asarray(values[back.reshape(-1), None])

    def _labels(self, distinct: Any) -> FloatArray | None:
        """Return distinct pairs of labels ``(d, 2)``; None where items are none, or F1 has more than two classes."""
        if self.aggregation not in _OF_LABELS:
            return None
        try:
            pairs = np.asarray([self.items[place] for place in distinct], dtype=np.float64)
        except (TypeError, ValueError):
            return None
        several = self.aggregation is theirs.f1_score and not set(np.unique(pairs)) <= {0.0, 1.0}
        return None if several or pairs.shape != (len(distinct), 2) else pairs

    def _value(self, places: Any) -> float:
        if not len(places):
            return math.nan
        try:
            with _WARNINGS, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return float(self.aggregation([self.items[place] for place in places]))
        except (ArithmeticError, ValueError, IndexError, TypeError):  # undefined on this resample
            return math.nan
