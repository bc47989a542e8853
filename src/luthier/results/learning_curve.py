"""A learning curve: how an error falls with the number of training examples, and what may be said beyond the last size.

The curve is a power law with a floor, c + a·n^-b (Hestness et al. 2017; Figueroa et al. 2012, who found such fits good
and their own intervals optimistic). So its intervals do not come from the covariance of the fit: errors are drawn anew
around the fitted curve with the spread that the training runs have, and the curve is fitted to each draw (parametric
bootstrap). What is forecast is the mean over training runs on the same nested subsets, measured by the same test split.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.NDArray[np.float64]

LEAST_SIZES, LEAST_SEEDS = 4, 2
"""What a fit needs: three parameters leave nothing to judge the curve by at three sizes, and one run has no spread."""
FARTHEST = 10
"""Times the largest size up to which is forecast."""
AS_GOOD = 2.0
"""Difference of AICc up to which two models are equally supported (Burnham and Anderson 2002, section 2.6)."""
DRAWS = 2000
_SEED = 0
_EXPONENTS = (0.05, 2.0)
"""Range of b. Those that were measured lie between 0.07 and 0.35 for large data (Hestness et al. 2017); n^-2 falls to
its floor at once, and n^-0.05 is a straight line over the logarithm of n."""
_GRID, _FINER, _ZOOMS = 64, 17, 3


@dataclass(frozen=True, slots=True)
class Runs:
    """What the training runs on one number of examples ended with.

    Attributes:
        examples: Training examples.
        errors: One for each training run: lower is better, and never below 0.
    """

    examples: int
    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over training runs."""
        return math.fsum(self.errors) / len(self.errors)


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """An error of ``floor + scale * n ** -exponent``."""

    floor: float
    scale: float
    exponent: float

    def at(self, examples: float) -> float:
        """Return the error at a number of examples."""
        return float(self.floor + self.scale * examples**-self.exponent)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The error that a fit gives at a number of examples, with its interval."""

    examples: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Hindcast:
    """What the fit without the largest size says of it.

    Attributes:
        forecast: With the interval of a mean over as many training runs as were measured there.
        measured: The mean that was measured.
        covered: Whether it lies in the interval.
    """

    forecast: Estimate
    measured: float
    covered: bool


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """What follows from the training runs at several sizes.

    Attributes:
        law: The fit; None where there are too few sizes or training runs for one.
        spread: Standard deviation over training runs, pooled over sizes; NaN without repeated runs.
        advantage: AICc of a flat line less that of the fit; NaN without a fit.
        flat: Whether a flat line fits as well.
        no_gain_above: Smallest size from which on no gain up to the largest is told from zero; None where every step
            up to the largest gains, or nothing can be told.
        hindcast: None without a fit.
        band: The fit over the measured sizes and, where it is forecast, beyond them; empty without a fit.
        forecasts: At the sizes that were asked for; empty where nothing may be forecast.
        why_none: Why nothing is forecast; "" where it is.
        confidence: Level of all intervals.
    """

    law: PowerLaw | None
    spread: float
    advantage: float
    flat: bool
    no_gain_above: int | None
    hindcast: Hindcast | None
    band: tuple[Estimate, ...]
    forecasts: tuple[Estimate, ...]
    why_none: str
    confidence: float


def learning_curve(
    runs: Sequence[Runs], *, forecast: Sequence[int] = (), confidence: float = 0.95, draws: int = DRAWS
) -> LearningCurve:
    """Fit a learning curve, and forecast where that may be done.

    Args:
        runs: At two sizes at least, in rising order.
        forecast: Numbers of examples to forecast at; none beyond :data:`FARTHEST` times the largest size.
        confidence: Level of the intervals.
        draws: Of the bootstrap.

    Raises:
        ValueError: A size to be forecast lies too far, sizes do not rise, or there are fewer than two.
    """
    sizes = [item.examples for item in runs]
    if len(sizes) < 2 or any(after <= before for before, after in itertools.pairwise(sizes)):
        raise ValueError("two sizes or more, in rising order")
    if any(examples > FARTHEST * sizes[-1] for examples in forecast):
        raise ValueError(f"nothing is forecast beyond {FARTHEST} times the largest size")
    spread, freedom = pooled_spread(runs)
    no_gain = _no_gain_above(runs, spread, freedom, confidence)
    if why := too_few(len(sizes), min(len(item.errors) for item in runs)):
        return LearningCurve(None, spread, math.nan, False, no_gain, None, (), (), why, confidence)
    fit = _Fit.of(runs, spread, freedom, draws)
    advantage = _aicc(runs, None) - _aicc(runs, fit.law)
    flat = fit.law.scale == 0 or advantage < AS_GOOD
    seen = _spaced(sizes[0], sizes[-1])
    if flat:
        why = f"no gain is told from zero above n = {sizes[0]:,}: a flat line fits as well"
        band = fit.estimates(seen, confidence)
        return LearningCurve(
            fit.law, spread, advantage, True, sizes[0], _hindcast(runs, confidence, draws), band, (), why, confidence
        )
    ahead = _spaced(sizes[-1], max(forecast, default=sizes[-1]))[1:]
    return LearningCurve(
        law=fit.law,
        spread=spread,
        advantage=advantage,
        flat=False,
        no_gain_above=no_gain,
        hindcast=_hindcast(runs, confidence, draws),
        band=fit.estimates((*seen, *ahead), confidence),
        forecasts=fit.estimates(sorted(forecast), confidence),
        why_none="",
        confidence=confidence,
    )


def too_few(sizes: int, seeds: int) -> str:
    """Say what a forecast lacks; "" where there are enough sizes and training runs at each."""
    if sizes >= LEAST_SIZES and seeds >= LEAST_SEEDS:
        return ""
    some = "1 training run" if seeds == 1 else f"{seeds} training runs"
    return (
        f"a forecast needs {LEAST_SIZES} sizes and {LEAST_SEEDS} training runs at each; there are {sizes}, with {some}"
    )


def pooled_spread(runs: Sequence[Runs]) -> tuple[float, int]:
    """Return the standard deviation over training runs, pooled over sizes, and its degrees of freedom."""
    freedom = sum(len(item.errors) - 1 for item in runs)
    squares = math.fsum((error - item.mean) ** 2 for item in runs for error in item.errors)
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def _no_gain_above(runs: Sequence[Runs], spread: float, freedom: int, confidence: float) -> int | None:
    """Return the smallest size whose mean, like that of every larger one, is not told from that of the largest.

    By Student's t with the pooled spread, two-sided.
    """
    if not freedom:
        return None
    critical = float(stats.t.ppf((1 + confidence) / 2, freedom))
    *smaller, largest = runs
    found = None
    for item in reversed(smaller):
        error = spread * math.sqrt(1 / len(item.errors) + 1 / len(largest.errors))
        if item.mean - largest.mean > critical * error:
            break
        found = item.examples
    return found


def _aicc(runs: Sequence[Runs], law: PowerLaw | None) -> float:
    """Return AICc (Hurvich and Tsai 1989) of a curve, or of a flat line, over all training runs, with normal errors."""
    errors = [error for item in runs for error in item.errors]
    mean = math.fsum(errors) / len(errors)
    squares = math.fsum(
        (error - (mean if law is None else law.at(item.examples))) ** 2 for item in runs for error in item.errors
    )
    n, parameters = len(errors), 2 if law is None else 4  # the variance is one of them
    least = n * np.finfo(float).eps ** 2 * max(1.0, mean**2)  # what rounding leaves of a perfect fit
    return n * math.log(max(squares, least) / n) + 2 * parameters * n / (n - parameters - 1)


def _hindcast(runs: Sequence[Runs], confidence: float, draws: int) -> Hindcast:
    """Forecast the largest size from all others; the spread is theirs alone."""
    *before, largest = runs
    spread, freedom = pooled_spread(before)
    fit = _Fit.of(before, spread, freedom, draws)
    found = fit.estimate(largest.examples, confidence, runs=len(largest.errors))
    return Hindcast(found, largest.mean, found.low <= largest.mean <= found.high)


def _spaced(first: int, last: int, points: int = 24) -> tuple[int, ...]:
    """Return sizes from the first to the last, evenly spaced by their logarithms."""
    return tuple(dict.fromkeys(round(float(size)) for size in np.geomspace(first, last, points)))


@dataclass(frozen=True)
class _Fit:
    """A fit, and those to errors that were drawn around it.

    Attributes:
        law: The fit.
        drawn: Floor, scale and exponent of each other fit, ``(3, draws)``.
        noise: Standard deviation of a single training run in each draw, and a standard normal number, ``(2, draws)``.
    """

    law: PowerLaw
    drawn: Values
    noise: Values

    @classmethod
    def of(cls, runs: Sequence[Runs], spread: float, freedom: int, draws: int) -> _Fit:
        """Fit, and fit again to every draw.

        The spread is itself an estimate, so each draw takes another one, from its chi-squared distribution.
        """
        sizes = np.array([item.examples for item in runs], dtype=np.float64)
        weights = np.array([len(item.errors) for item in runs], dtype=np.float64)
        means = np.array([item.mean for item in runs])
        floor, scale, exponent = fit_power_laws(sizes, means[None], weights)[:, 0]
        law = PowerLaw(float(floor), float(scale), float(exponent))
        random = np.random.default_rng(_SEED)
        of_run = spread * np.sqrt(freedom / random.chisquare(freedom, draws))
        centre = np.array([law.at(size) for size in sizes])
        around = random.standard_normal((draws, len(runs))) * of_run[:, None] / np.sqrt(weights)
        drawn = fit_power_laws(sizes, np.maximum(centre + around, 0.0), weights)
        return cls(law, drawn, np.stack([of_run, random.standard_normal(draws)]))

    def estimate(self, examples: int, confidence: float, *, runs: int | None = None) -> Estimate:
        """Return the error at a size: of the curve, or of a mean over some new training runs."""
        floor, scale, exponent = self.drawn
        errors = floor + scale * examples**-exponent
        if runs is not None:
            errors = errors + self.noise[0] * self.noise[1] / math.sqrt(runs)
        low, high = np.quantile(errors, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Estimate(examples, self.law.at(examples), float(low), float(high))

    def estimates(self, sizes: Sequence[int], confidence: float) -> tuple[Estimate, ...]:
        """Return the error of the curve at several sizes."""
        return tuple(self.estimate(size, confidence) for size in sizes)


def fit_power_laws(sizes: Values, errors: Values, weights: Values) -> Values:
    """Fit ``c + a * n ** -b`` by weighted least squares, with c ≥ 0, a ≥ 0 and b within bounds, to several data sets.

    For a given exponent the other two follow in closed form, so that only b is searched: on a grid, then on ever finer
    ones between its neighbours. No start is needed, and no local minimum is taken for the least.

    Args:
        sizes: Shape ``(sizes,)``.
        errors: Shape ``(data sets, sizes)``.
        weights: Of each size, shape ``(sizes,)``.

    Returns:
        c, a and b of each data set, shape ``(3, data sets)``.
    """
    logs = np.log(sizes / sizes[0])
    shares = weights / weights.sum()
    low, high = (np.full(len(errors), np.log(end)) for end in _EXPONENTS)
    for points in (_GRID, *(_FINER,) * _ZOOMS):
        steps = np.linspace(0.0, 1.0, points)
        grid = low[:, None] + (high - low)[:, None] * steps  # (data sets, points) of log b
        floor, scale, loss = _given_exponent(np.exp(-np.exp(grid)[..., None] * logs), errors, shares)
        chosen = loss.argmin(axis=1)[:, None]
        best = np.stack([np.take_along_axis(part, chosen, axis=1)[:, 0] for part in (floor, scale, np.exp(grid))])
        low = np.take_along_axis(grid, np.maximum(chosen - 1, 0), axis=1)[:, 0]
        high = np.take_along_axis(grid, np.minimum(chosen + 1, points - 1), axis=1)[:, 0]
    best[1] *= sizes[0] ** best[2]  # from n / n_1 to n
    return best


def _given_exponent(falls: Values, errors: Values, shares: Values) -> tuple[Values, Values, Values]:
    """Return floor, scale and weighted squares, each ``(data sets, points)``, for the fall ``(…, points, sizes)``."""
    mean_fall, mean = falls @ shares, (errors @ shares)[:, None]
    square_fall = falls**2 @ shares
    product = np.einsum("dps,ds->dp", falls, errors * shares)
    variance = square_fall - mean_fall**2
    scale = np.maximum(product - mean * mean_fall, 0.0) / variance
    floor = mean - scale * mean_fall
    below = floor < 0
    scale = np.where(below, np.maximum(product / square_fall, 0.0), scale)
    floor = np.where(below, 0.0, floor)
    squares = (errors**2 @ shares)[:, None]
    loss = squares - 2 * (scale * product + floor * mean) + scale**2 * square_fall
    return floor, scale, loss + 2 * floor * scale * mean_fall + floor**2
