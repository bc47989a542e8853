"""Learning curves: fits to errors that are known, intervals that cover, and nothing that is said without grounds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import curve_fit

from luthier.results.learning_curve import (
    LearningCurve,
    Runs,
    fit_power_laws,
    learning_curve,
    pooled_spread,
    too_few,
)

SIZES = (50, 100, 200, 400, 800)
TRUTH = 0.30 + 2 * 8000**-0.5


def drawn(seed: int, *, sizes: Sequence[int] = SIZES, seeds: int = 3, scale: float = 2.0) -> list[Runs]:
    """Errors of .30 + scale · n^-.5, with a spread of .02 over training runs."""
    random = np.random.default_rng(seed)
    return [
        Runs(size, tuple((0.30 + scale * size**-0.5 + 0.02 * random.standard_normal(seeds)).tolist())) for size in sizes
    ]


def exact(*, scale: float = 2.0) -> list[Runs]:
    return [Runs(size, (0.30 + scale * size**-0.5,) * 3) for size in SIZES]


@pytest.mark.slow
def test_the_band_far_beyond_the_data_covers_the_truth() -> None:
    found = [learning_curve(drawn(seed), forecast=[8000], draws=1000) for seed in range(200)]
    covered = [one for one in found if one.forecasts and one.forecasts[0].low <= TRUTH <= one.forecasts[0].high]
    assert len(covered) >= 180
    assert sum(len(one.forecasts) == 1 for one in found) == 200, "no flat line fits this as well"
    assert sum(one.hindcast is not None and one.hindcast.covered for one in found) >= 180


def test_a_curve_without_noise_is_found_again() -> None:
    found = learning_curve(exact(), forecast=[1600, 8000])
    assert found.law is not None
    assert found.law.floor == pytest.approx(0.30, abs=1e-4)
    assert found.law.scale == pytest.approx(2.0, rel=1e-3)
    assert found.law.exponent == pytest.approx(0.5, rel=1e-3)
    assert [item.value for item in found.forecasts] == pytest.approx([0.35, TRUTH], abs=1e-4)
    assert found.why_none == ""


def test_the_hindcast_is_the_fit_without_the_largest_size() -> None:
    runs = drawn(3)
    found, without = learning_curve(runs, forecast=[1600]), learning_curve(runs[:-1], forecast=[800])
    assert found.hindcast is not None
    assert found.hindcast.measured == pytest.approx(sum(runs[-1].errors) / 3)
    assert found.hindcast.forecast.value == without.forecasts[0].value
    width = found.hindcast.forecast.high - found.hindcast.forecast.low
    assert width > without.forecasts[0].high - without.forecasts[0].low, (
        "a mean over new runs varies more than the curve"
    )


def test_a_hindcast_that_misses_says_so() -> None:
    sudden = [*drawn(0)[:-1], Runs(800, (0.05, 0.06, 0.07))]
    found = learning_curve(sudden, forecast=[1600])
    assert found.hindcast is not None
    assert not found.hindcast.covered


def test_where_a_flat_line_fits_as_well_nothing_is_forecast() -> None:
    found = [learning_curve(drawn(seed, scale=0.0), forecast=[8000], draws=100) for seed in range(100)]
    assert sum(one.flat for one in found) >= 95
    flat = next(one for one in found if one.flat)
    assert flat.forecasts == ()
    assert flat.no_gain_above == 50
    assert flat.why_none == "no gain is told from zero above n = 50: a flat line fits as well"
    assert max(item.examples for item in flat.band) == 800, "nothing is drawn beyond the data"


def test_errors_that_rise_are_no_gain() -> None:
    rising = [Runs(size, (0.3 + size / 1e4, 0.31 + size / 1e4)) for size in SIZES]
    assert learning_curve(rising, forecast=[1600]).flat


def test_the_advantage_is_the_difference_of_two_aiccs() -> None:
    runs = drawn(1)
    found = learning_curve(runs)
    assert found.law is not None
    errors = np.array([error for item in runs for error in item.errors])
    fitted = np.array([found.law.at(item.examples) for item in runs for _ in item.errors])

    def aicc(residuals: np.ndarray, parameters: int) -> float:  # n = 15
        corrected = 2 * parameters + 2 * parameters * (parameters + 1) / (15 - parameters - 1)
        return 15 * math.log((residuals**2).sum() / 15) + corrected

    assert found.advantage == pytest.approx(aicc(errors - errors.mean(), 2) - aicc(errors - fitted, 4))


@pytest.mark.parametrize(
    ("sizes", "seeds", "said"),
    [
        (SIZES[:3], 3, "there are 3, with 3 training runs"),
        (SIZES[:4], 1, "there are 4, with 1 training run"),
        (SIZES[:2], 1, "there are 2, with 1 training run"),
    ],
)
def test_too_few_sizes_or_runs_give_no_forecast(sizes: tuple[int, ...], seeds: int, said: str) -> None:
    found = learning_curve(drawn(0, sizes=sizes, seeds=seeds), forecast=[200])
    assert found.law is None
    assert found.forecasts == ()
    assert found.band == ()
    assert found.why_none == f"a forecast needs 4 sizes and 2 training runs at each; {said}"
    assert too_few(4, 2) == ""


def test_four_sizes_of_two_runs_are_enough() -> None:
    assert len(learning_curve(drawn(0, sizes=SIZES[:4], seeds=2), forecast=[800]).forecasts) == 1


def test_nothing_is_forecast_beyond_ten_times_the_largest_size() -> None:
    assert learning_curve(drawn(0), forecast=[8000]).forecasts
    with pytest.raises(ValueError, match="beyond 10 times"):
        learning_curve(drawn(0), forecast=[8001])


@pytest.mark.parametrize("sizes", [(50,), (100, 50), (50, 50)])
def test_sizes_rise(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rising order"):
        learning_curve([Runs(size, (0.1, 0.2)) for size in sizes])


def test_the_spread_is_pooled_over_sizes() -> None:
    # Deviations -1, 1, -2, 2: squares 10, over two degrees of freedom.
    assert pooled_spread([Runs(1, (1.0, 3.0)), Runs(2, (5.0, 9.0))]) == (math.sqrt(5), 2)
    assert math.isnan(pooled_spread([Runs(1, (1.0,))])[0])


def test_the_smallest_size_above_which_no_gain_is_told() -> None:
    # Pooled spread .01 with 4 degrees of freedom: means .01 apart differ by 1.0 standard errors, .5 apart by 50.
    runs = [Runs(size, (mean - 0.01 / math.sqrt(2), mean + 0.01 / math.sqrt(2))) for size, mean in
            ((10, 1.0), (20, 0.51), (40, 0.5), (80, 0.5))]  # fmt: skip
    assert learning_curve(runs).no_gain_above == 20
    assert learning_curve([*runs[:-1], Runs(80, (0.1, 0.11))]).no_gain_above is None


def law(n: np.ndarray, c: float, a: float, b: float) -> np.ndarray:
    return c + a * n**-b


def test_no_fit_of_scipy_is_better() -> None:
    sizes = np.array(SIZES, dtype=float)
    for seed in range(20):
        means = np.array([item.mean for item in drawn(seed)])
        c, a, b = fit_power_laws(sizes, means[None], np.ones(5))[:, 0]
        own = ((means - c - a * sizes**-b) ** 2).sum()
        bounds = ([0, 0, 0.05], [np.inf, np.inf, 2.0])
        best, _ = curve_fit(law, sizes, means, p0=(0.3, 2, 0.5), bounds=bounds, max_nfev=10_000)
        assert own <= ((means - law(sizes, *best)) ** 2).sum() * (1 + 1e-4)
        assert c >= 0
        assert a >= 0


def test_the_same_runs_give_the_same_numbers() -> None:
    def once() -> LearningCurve:
        return learning_curve(drawn(7), forecast=[8000])

    assert once() == once()
