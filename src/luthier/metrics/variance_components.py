"""Variance components of a mean over crossed training runs and examples: every run answers every example.

The model is ``y[s, g] = mean + run[s] + example[g] + rest[s, g]``, all random (Owen 2007, "The pigeonhole bootstrap").
With S runs and G examples (or groups of examples), the analysis of variance (Searle, Casella and McCulloch 1992,
"Variance Components", chapter 4) gives

- ``runs = MS_runs / (S·G)``: the sample variance of the S means of the runs, divided by S;
- ``examples = MS_examples / (S·G)``: the sample variance of the G means of the examples, divided by G;
- ``rest = MS_rest / (S·G)``: the part that both contain, because the means of runs and of examples are noisy
  themselves.

The variance of the mean is ``runs + max(examples − rest, 0)``. The quantile is Cochran's (1964, "Approximate
significance levels of the Behrens-Fisher test"; the rule of Cochran and Cox 1957): the mean of Student's quantiles with
S − 1 and with G − 1 degrees of freedom, weighted by the two terms of that sum. It equals Student's quantile where one
of them is 0 and is conservative between. The interval is never narrower than Student's over the G means of the
examples.

Simpler intervals fail: with 3 runs, a percentile bootstrap over runs has 10 different resamples and covers far less
than its nominal level; Satterthwaite's (1946) degrees of freedom cover 93 % where runs hold most of the variance but
not all, which is a test with 7 % of false alarms; counting ``rest`` twice makes the interval needlessly wide. The tests
measure the coverage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr, stdtrit

from luthier.metrics.metric import FloatArray

# Student's quantiles of much smaller tails are not finite; a smaller p-value is given as twice this.
_SMALLEST_TAIL = 1e-100


@dataclass(frozen=True, slots=True)
class VarianceComponents:
    """Components of the variance of a mean over runs and groups of examples; arrays hold one entry for each table.

    Attributes:
        runs: Sample variance of the runs' means, divided by the number of runs: float64 ``(...)``; zeros where the
            training runs are left out.
        examples: Sample variance of the groups' means, divided by the number of groups: float64 ``(...)``.
        rest: The part that both contain: float64 ``(...)``; zeros where the training runs are left out.
        run_degrees: Number of runs less 1; 0 where the training runs are left out.
        example_degrees: Number of groups less 1.
    """

    runs: FloatArray
    examples: FloatArray
    rest: FloatArray
    run_degrees: int
    example_degrees: int

    @property
    def total(self) -> FloatArray:
        """Variance of the mean, float64 ``(...)``; at least ``examples``."""
        return np.asarray(np.maximum(self.runs + np.maximum(self.examples - self.rest, 0.0), self.examples))

    @property
    def standard_error(self) -> FloatArray:
        """Square root of `total`."""
        return np.asarray(np.sqrt(self.total))

    def half_width(self, tail: float) -> FloatArray:
        """Half-width of the interval that leaves out ``tail`` of the probability on either side, float64 ``(...)``."""
        by_examples = -float(stdtrit(self.example_degrees, tail))
        alone = by_examples * np.sqrt(self.examples)
        if self.run_degrees == 0:
            return np.asarray(alone)
        by_runs = -float(stdtrit(self.run_degrees, tail))
        own = np.maximum(self.examples - self.rest, 0.0)
        both = self.runs + own
        share = np.where(both > 0, self.runs / np.where(both > 0, both, 1.0), 0.0)
        return np.asarray(np.maximum((by_examples + share * (by_runs - by_examples)) * np.sqrt(both), alone))


def variance_components(table: FloatArray, *, runs: bool = True) -> VarianceComponents:
    """Estimate the variance components of the mean of crossed values.

    Args:
        table: Values, float64 ``(..., S, G)``: runs by groups of examples, S ≥ 2 with ``runs``, G ≥ 2.
        runs: Whether training runs are a source of variance; if not, the runs are taken as fixed.
    """
    count, groups = table.shape[-2:]
    by_group = table.mean(axis=-2)
    examples = by_group.var(axis=-1, ddof=1) / groups
    if not runs:
        return VarianceComponents(np.zeros_like(examples), examples, np.zeros_like(examples), 0, groups - 1)
    by_run = table.mean(axis=-1)
    rest = table - by_run[..., :, None] - by_group[..., None, :] + by_run.mean(axis=-1)[..., None, None]
    mean_square = (rest**2).sum(axis=(-2, -1)) / ((count - 1) * (groups - 1))
    return VarianceComponents(
        by_run.var(axis=-1, ddof=1) / count, examples, mean_square / (count * groups), count - 1, groups - 1
    )


def proportion_interval(
    share: FloatArray, components: VarianceComponents, tail: float, groups: int
) -> tuple[FloatArray, FloatArray]:
    """Interval of a mean share of right answers: low and high, each float64 ``(...)`` within 0 and 1.

    Wilson's (1927) with `VarianceComponents.half_width` in the place of ``z·sqrt(p·(1 − p) / n)``, that is, with the
    number of trials which has this variance (Korn and Graubard 1998). Share ± half-width is wrong where the share is
    near 0 or 1: for 0.97 of 50 examples it covers 77 %.

    Args:
        share: The mean, float64 ``(...)``.
        components: Components of its variance.
        tail: Probability beyond either end, such as 0.025.
        groups: Number of groups of examples, which is the number of trials where nothing varies.
    """
    width, spread = components.half_width(tail), share * (1 - share)
    known = (width > 0) & (spread > 0)
    nothing_varies = float(stdtrit(components.example_degrees, tail)) ** 2 / groups
    # Quantile² / trials.
    ratio = np.where(known, width**2 / np.where(known, spread, 1.0), nothing_varies)
    centre = (share + ratio / 2) / (1 + ratio)
    half = np.sqrt(spread * ratio + ratio**2 / 4) / (1 + ratio)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def two_sided_p_value(value: float, components: VarianceComponents) -> float:
    """Two-sided p-value of a mean against 0: below ``a`` exactly where the interval of level 1 − a excludes 0.

    Args:
        value: The mean.
        components: Components of its variance, each ``()``.

    Returns:
        NaN where the variance is 0 and the value is not.
    """
    if value == 0:
        return 1.0
    error = float(components.standard_error)
    if not (math.isfinite(value) and error > 0):
        return math.nan

    def excess(tail: float) -> float:
        return float(components.half_width(tail)) - abs(value)

    # The half-width shrinks to 0 as the tail grows to 0.5.
    if excess(_SMALLEST_TAIL) <= 0:
        return 2 * _SMALLEST_TAIL
    if components.run_degrees == 0:
        return 2 * float(stdtr(components.example_degrees, -abs(value) / error))
    log_tail = brentq(lambda log: excess(math.exp(log)), math.log(_SMALLEST_TAIL), math.log(0.5), xtol=1e-13)
    return 2 * math.exp(log_tail)
