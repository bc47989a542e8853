"""The interval of a difference between two systems on the same examples, and what difference would have been found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from luthier.metrics.metric import FloatArray, Metric
from luthier.metrics.resampling import Clusters, jackknifed, resampled
from luthier.metrics.settled import UNVARIED, defined_interval, end_noise, until_settled

POWER = 0.8
"""Of the test whose smallest detectable difference is stated."""


@dataclass(frozen=True, slots=True)
class DifferenceInterval:
    """Interval of a difference.

    Attributes:
        low: Lower end; NaN where it is unknown.
        high: Upper end.
        detectable: Smallest true difference that would have been found with 80 % power; NaN when unknown.
        samples: Differences on the resamples that were asked for, float64 ``(resamples,)``.
        varied: Whether the difference varied between examples. If not, the ends are the bound for examples that were
            not seen, as `luthier.metrics.seed_estimate.constant_difference_test` has it (for equal shares of right
            answers Tango's interval, 1998): the bootstrap's would have no width.
    """

    low: float
    high: float
    detectable: float
    samples: FloatArray
    varied: bool


@dataclass(frozen=True, slots=True)
class IntervalSettings:
    """How an interval is made.

    Attributes:
        confidence: Its level, as a share.
        alpha: Level of the test that `DifferenceInterval.detectable` is about.
        resamples: Bootstrap resamples, at least (`luthier.metrics.settled`).
        seed: Seed of the resamples.
    """

    confidence: float
    alpha: float
    resamples: int
    seed: int


def difference_interval(
    metric: Metric, at: int, stats: tuple[FloatArray, FloatArray], clusters: Clusters, settings: IntervalSettings
) -> DifferenceInterval:
    """Interval of the difference of one output, first system minus second: the paired BCa bootstrap's.

    Args:
        metric: The metric.
        at: Which of its outputs.
        stats: Its statistics of both systems on the same examples, each ``(n, k)``.
        clusters: Which examples are resampled together; two or more.
        settings: Level and resamples.
    """
    values = [metric.evaluate(rows)[at] for rows in stats]
    value = float(values[0] - values[1])
    sides = [jackknifed(metric, rows, clusters)[:, at] for rows in stats]
    left_out = sides[0] - sides[1]

    def draw(which: Sequence[int], count: int, further: int) -> list[FloatArray]:
        of_a, of_b = resampled([metric, metric], stats, clusters, count, settings.seed, further=further)
        return [(of_a - of_b)[:, at]]

    def noise(_: int, samples: FloatArray) -> float:
        return end_noise(samples, value, left_out, settings.confidence)

    (samples,) = until_settled(draw, noise, count=1, clusters=clusters.count, resamples=settings.resamples)
    asked = samples[: settings.resamples]
    rounding = UNVARIED * max(1.0, *(abs(float(one)) for one in values))
    if math.isfinite(value) and np.isfinite(samples).all() and np.ptp(samples) <= rounding:
        variances = [(len(side) - 1) * float(side.var()) for side in sides]
        return _unvaried(metric, value, max(variances), clusters.count, asked, settings)
    low, high = defined_interval(samples, value, left_out, settings.confidence)
    error = float(np.std(asked, ddof=1)) if len(asked) > 1 else math.nan
    return DifferenceInterval(low, high, detectable_difference(error, settings.alpha, POWER), asked, True)


def detectable_difference(standard_error: float, alpha: float, power: float) -> float:
    """Smallest true difference that a test at ``alpha`` finds with the given power (Miller 2024, section 5)."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * standard_error


def _unvaried(
    metric: Metric, value: float, arms: float, groups: int, samples: FloatArray, settings: IntervalSettings
) -> DifferenceInterval:
    """Bound a difference that is the same on every example.

    Args:
        metric: The metric.
        value: The difference.
        arms: Variance of a system's own score over examples, the larger of the two (the jackknife's).
        groups: Number of clusters.
        samples: Differences on the resamples.
        settings: Level of the interval.
    """
    from luthier.metrics.seed_estimate import Estimate, constant_difference_test  # scipy: heavy, and seldom needed

    span = math.inf if metric.scale is None else metric.scale - metric.lowest
    # Where the systems' own scores do not vary either, the ends of the scale are all that bounds the unseen.
    share = metric.proportion or (arms <= UNVARIED and math.isfinite(span))
    unit = span if share else 1.0
    estimate = Estimate(value / unit, None, True, 1, groups)
    found = constant_difference_test(estimate, arms, 1 - settings.confidence, share=share)
    low, high = value - unit * found.half_width, value + unit * found.half_width
    low, high = (max(low, -span), min(high, span)) if math.isfinite(found.half_width) else (low, high)
    return DifferenceInterval(low, high, min(unit * found.detectable, span), samples, False)
