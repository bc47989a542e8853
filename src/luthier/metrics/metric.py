"""A metric: sufficient statistics of each example, and a function from their sums to the values.

Resampling (confidence intervals, paired tests) needs only these statistics, which are computed once, so that 1,000
resamples cost one matrix product instead of 1,000 evaluations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from luthier.records import Prediction

FloatArray: TypeAlias = npt.NDArray[np.float64]
Details: TypeAlias = tuple[dict[str, float], ...]


def _no_details(sums: FloatArray) -> Details:
    return ()


@dataclass(frozen=True)
class Metric:
    """A named family of values, computed together from one set of sufficient statistics.

    Attributes:
        name: Its name in the registry, without options (``"rouge"``).
        outputs: Names of its values, in the order of the last axis of `aggregate`.
        primary: The output that represents the metric where one number is needed.
        higher_is_better: Whether a higher value of its outputs is better.
        options: Settings that change the value, as ``key:value|key:value``; part of the signature.
        statistics: Predictions ``(n,)`` → float64 ``(n, k)``; column 0 is 1 wherever the metric is a mean.
        aggregate: Summed statistics ``(..., k)`` → outputs ``(..., m)``; NaN where the number is undefined.
        details: Summed statistics ``(k,)`` → for each output, the numbers that explain it; empty when there are none.
        proportion: Every output is a mean of zeros and ones, so that a Wilson interval applies.
        weighted: For numbers that are not a function of sums (ranks): statistics ``(n, k)`` and weights ``(b, n)`` →
            ``(b, m)``. None for all others.
        scale: The value that counts as 100 points: 1 for shares, 100 for BLEU; None for numbers without a bound
            (losses), which have no points.
        lowest: Lowest value that the outputs can have, where they have a scale.
        context_free: The statistics of an example do not depend on the other examples (they do where labels, bins or
            means are taken from the data), so that two systems' statistics can be exchanged.
        per_example: Statistics ``(n, k)`` → ``(n, m)`` where one example alone is not scored like a corpus of one.
    """

    name: str
    outputs: tuple[str, ...]
    primary: str
    higher_is_better: bool
    options: str
    statistics: Callable[[Sequence[Prediction]], FloatArray]
    aggregate: Callable[[FloatArray], FloatArray]
    details: Callable[[FloatArray], Details] = _no_details
    proportion: bool = False
    weighted: Callable[[FloatArray, FloatArray], FloatArray] | None = None
    scale: float | None = 1.0
    lowest: float = 0.0
    context_free: bool = True
    per_example: Callable[[FloatArray], FloatArray] | None = None

    def evaluate(self, stats: FloatArray, weights: FloatArray | None = None) -> FloatArray:
        """Compute the outputs for the data, or for many resamples of it.

        Args:
            stats: float64 ``(n, k)`` from `statistics`.
            weights: float64 ``(b, n)``: how often each example is drawn in each resample. None: each once.

        Returns:
            float64 ``(m,)`` without weights, ``(b, m)`` with them.
        """
        if weights is None:
            if self.weighted is None:
                return self.aggregate(stats.sum(axis=0))
            return np.asarray(self.weighted(stats, np.ones((1, len(stats))))[0])
        if self.weighted is None:
            return self.aggregate(weights @ stats)
        return self.weighted(stats, weights)

    def rows(self, stats: FloatArray) -> FloatArray:
        """Score every example on its own: statistics ``(n, k)`` → outputs ``(n, m)``."""
        return self.aggregate(stats) if self.per_example is None else self.per_example(stats)

    def signature(self, references: str = "") -> str:
        """Return what was computed, as ``key:value|key:value``.

        Args:
            references: Number of references per example (``"1"``, ``"var"``), where it is known.
        """
        parts = [f"metric:{self.name}", f"nrefs:{references}" if references else "", self.options]
        return "|".join(part for part in parts if part)


def divide(numerator: FloatArray, denominator: FloatArray, otherwise: float = np.nan) -> FloatArray:
    """Divide elementwise, with ``otherwise`` where the denominator is not positive."""
    safe = np.where(denominator > 0, denominator, 1.0)
    return np.asarray(np.where(denominator > 0, numerator / safe, otherwise))


def mean_of(sums: FloatArray) -> FloatArray:
    """Aggregate a metric that is a mean: ``(..., 1 + m)`` with the count first → ``(..., m)``."""
    return divide(sums[..., 1:], sums[..., :1])


def with_count(values: Sequence[float] | Sequence[Sequence[float]] | FloatArray) -> FloatArray:
    """Prepend the column of ones: values ``(n,)`` or ``(n, m)`` → statistics ``(n, 1 + m)``."""
    columns = np.asarray(values, dtype=np.float64)
    columns = columns.reshape(len(columns), -1)
    return np.hstack([np.ones((len(columns), 1)), columns])
