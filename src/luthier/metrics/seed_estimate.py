"""The mean over training runs: its estimated variance, confidence interval and test."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy.special import stdtr, stdtrit

from luthier.metrics.metric import FloatArray, Metric
from luthier.metrics.variance_components import (
    VarianceComponents,
    proportion_interval,
    two_sided_p_value,
    variance_components,
)

Variance: TypeAlias = Literal["none", "examples", "examples and seeds"]

FEWEST_SEEDS = 3
_POWER = 0.8
# A standard error below this share of the largest value is a rounding error.
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over runs, with its estimated variance.

    Attributes:
        value: The mean, NaN where the value of a run is not defined.
        components: Components of its variance, each ``()``; None where they cannot be estimated.
        constant: Whether nothing varies, neither between runs nor between examples.
        runs: Number of runs.
        groups: Number of groups of examples; of examples, where each stands alone.
    """

    value: float
    components: VarianceComponents | None
    constant: bool
    runs: int
    groups: int

    @property
    def variance(self) -> Variance:
        """Sources of variance that it includes; training runs only from `FEWEST_SEEDS` of them on."""
        if self.components is None:
            return "none"
        return "examples and seeds" if self.components.run_degrees else "examples"

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN where it cannot be estimated."""
        return math.nan if self.components is None or self.constant else float(self.components.standard_error)


@dataclass(frozen=True, slots=True)
class DifferenceTest:
    """Interval and test of a difference, which agree; fields are NaN where they cannot be estimated.

    Attributes:
        half_width: Half the width of the interval of level ``1 − alpha``.
        p_value: Two-sided.
        standard_error: Standard error of the difference.
        detectable: Smallest true difference found at ``alpha`` with 80 % power.
    """

    half_width: float
    p_value: float
    standard_error: float
    detectable: float


_NOT_TESTED = DifferenceTest(math.nan, math.nan, math.nan, math.nan)


def estimate_mean(values: FloatArray, table: FloatArray, groups: int) -> Estimate:
    """Estimate the mean of ``values`` ``(S,)`` and its variance from their linearised table ``(S, G)``."""
    runs = len(table)
    value = float(values.mean())
    if groups < 2 or not (math.isfinite(value) and np.isfinite(table).all()):
        return Estimate(value, None, False, runs, groups)
    components = variance_components(table, runs=runs >= FEWEST_SEEDS)
    constant = float(components.standard_error) <= _ROUNDING * float(np.abs(table).max())
    return Estimate(value, components, constant, runs, groups)


def spread_of(values: FloatArray) -> float:
    """Sample standard deviation of values ``(S,)``; NaN for one."""
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def example_variance(table: FloatArray) -> float:
    """Variance over examples of the mean of a linearised table ``(S, G)``."""
    return float(variance_components(table, runs=False).total)


def score_interval(metric: Metric, estimate: Estimate, confidence: float) -> tuple[float, float]:
    """Interval of a score; NaN where the variance is unknown, or nothing varies and the score is not a proportion."""
    if estimate.components is None or (estimate.constant and not metric.proportion):
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    if metric.proportion:
        low, high = proportion_interval(np.array(estimate.value), estimate.components, tail, estimate.groups)
        return float(low), float(high)
    half_width = float(estimate.components.half_width(tail))
    return estimate.value - half_width, estimate.value + half_width


def difference_test(estimate: Estimate, alpha: float) -> DifferenceTest:
    """Interval of level ``1 − alpha`` and test of a difference that varies."""
    components = estimate.components
    if components is None:
        return _NOT_TESTED
    half_width = float(components.half_width(alpha / 2))
    detectable = half_width + float(components.half_width(1 - _POWER))
    return DifferenceTest(
        half_width, two_sided_p_value(estimate.value, components), float(components.standard_error), detectable
    )


def constant_difference_test(estimate: Estimate, arms: float, alpha: float, *, share: bool) -> DifferenceTest:
    """Test a difference that is the same in every run and group, so that its spread is unknown rather than 0.

    Of G groups none deviates. Wilson's bound for the share that does is ``q = t² / (G + t²)``. For shares of right
    answers, deviating groups move the difference by ``q·(1 + |value|)`` at most (for equal answers this is Tango's
    interval (1998) for no discordant pair). For other numbers, a deviating group differs by no more than two
    independent answers, with twice the variance of one arm: the half-width is ``t·sqrt(2·q·arms)``; it is unknown
    where the arms' own scores do not vary either. The p-value is the level at which the interval touches 0.

    Args:
        estimate: The difference.
        arms: Variance of an arm's own score over examples, the larger of the two arms'.
        alpha: Level of the test.
        share: Whether the numbers are shares of right answers.
    """
    groups, size = estimate.groups, abs(estimate.value)
    if not share and arms <= 0:
        return _NOT_TESTED if size else DifferenceTest(math.nan, 1.0, math.nan, math.nan)
    t = -float(stdtrit(groups - 1, alpha / 2))
    q = t * t / (groups + t * t)
    half_width = q * (1 + size) if share else t * math.sqrt(2 * q * arms)
    # Solve half_width = |value| for t².
    touches = groups * size if share else (size**2 + math.sqrt(size**4 + 8 * arms * size**2 * groups)) / (4 * arms)
    error = half_width / t
    detectable = half_width - float(stdtrit(groups - 1, 1 - _POWER)) * error
    return DifferenceTest(half_width, 2 * float(stdtr(groups - 1, -math.sqrt(touches))), error, detectable)


def describe_method(estimate: Estimate, confidence: float, what: str) -> str:
    """Describe in words how ``what`` ("interval") was computed."""
    if estimate.components is None:
        return "none: one group says nothing about others" if estimate.groups < 2 else "none: a value is not defined"
    over = f"{estimate.groups} examples or groups of them"
    if estimate.components.run_degrees:
        return f"{100 * confidence:g}% {what} over {estimate.runs} seeds and {over} (jackknife, Cochran's quantile)"
    return f"{100 * confidence:g}% {what} over {over}, for these {estimate.runs} seeds (jackknife, Student's quantile)"
