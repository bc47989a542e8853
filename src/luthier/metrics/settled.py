"""How many resamples an interval needs: as many as it takes until its ends are settled.

The ends of a BCa interval are quantiles far out, moved by a bias that is estimated from the same resamples. With 1,000
of them another seed can move an end by a tenth of the interval's width where there are few examples, or skewed ones.

The rule: the standard error of either end over resamples is at most 1 % of the interval's width. It is estimated by
the jackknife that leaves out a tenth of the resamples at a time (Shao and Wu 1989). Until then the number of resamples
is doubled, up to 16,000, or to 20 million draws of an example, whichever comes first: intervals of many examples are
narrow, and so is what the seed can do to them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from luthier.metrics.metric import FloatArray
from luthier.metrics.resampling import bca_interval

TOLERANCE = 0.01
MOST_RESAMPLES = 16_000
UNVARIED = 1e-12
"""Width of an interval, for numbers of the size of 1, below which it is rounding: nothing varied."""
_MOST_DRAWS = 20_000_000
_PARTS = 10
_LEAST_DEFINED = 0.9


def end_noise(samples: FloatArray, value: float, left_out: FloatArray, confidence: float) -> float:
    """Standard error of the ends of a BCa interval over resamples, the larger, as a share of its width.

    Args:
        samples: Values on the resamples, float64 ``(b,)``; those that are not defined do not count.
        value: Value on the data.
        left_out: Values with one cluster left out, float64 ``(groups,)``.
        confidence: Level of the interval.

    Returns:
        0 where there is no interval, or one of no width.
    """
    low, high = defined_interval(samples, value, left_out, confidence)
    if not high > low:
        return 0.0
    defined = samples[np.isfinite(samples)]
    parts = np.array(
        [
            bca_interval(np.delete(defined, np.s_[k::_PARTS]), value, left_out, confidence)
            for k in range(min(_PARTS, len(defined) - 1))
        ]
    )
    errors = np.sqrt((len(parts) - 1) * parts.var(axis=0))
    return float(errors.max() / (high - low))


def defined_interval(samples: FloatArray, value: float, left_out: FloatArray, confidence: float) -> tuple[float, float]:
    """BCa interval from the resamples on which a number is defined; NaN where it is undefined on more than a tenth.

    A resample may leave a number undefined: a constant column has no correlation.
    """
    defined = samples[np.isfinite(samples)]
    if not math.isfinite(value) or len(defined) < _LEAST_DEFINED * len(samples):
        return math.nan, math.nan
    return bca_interval(defined, value, left_out, confidence)


def until_settled(
    draw: Callable[[Sequence[int], int, int], list[FloatArray]],
    noise: Callable[[int, FloatArray], float],
    *,
    count: int,
    clusters: int,
    resamples: int,
) -> list[FloatArray]:
    """Draw resamples until the ends of every interval are settled, by the module's rule.

    Args:
        draw: ``(which of the numbers, resamples, round)`` → for each of them float64 ``(resamples, m)``; every round is
            another draw.
        noise: ``(which, its samples)`` → standard error of its ends as a share of the width.
        count: Number of numbers that are resampled.
        clusters: Number of clusters of examples.
        resamples: The least number of resamples.

    Returns:
        For each number its samples, float64 ``(b, m)`` with ``b >= resamples``; the first ``resamples`` do not depend
        on the rule.
    """
    samples = draw(range(count), resamples, 0)
    most = min(MOST_RESAMPLES, _MOST_DRAWS // clusters)
    drawn, rounds = resamples, 0
    unsettled = list(range(count))
    while 2 * drawn <= most:
        unsettled = [i for i in unsettled if noise(i, samples[i]) > TOLERANCE]
        if not unsettled:
            break
        rounds += 1
        for i, more in zip(unsettled, draw(unsettled, drawn, rounds), strict=True):
            samples[i] = np.concatenate([samples[i], more])
        drawn *= 2
    return samples
