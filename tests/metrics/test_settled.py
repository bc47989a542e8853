"""Intervals whose ends do not depend on the seed, and intervals of numbers that do not vary."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pytest
from metric_rows import answered, with_choices

from luthier.metrics.metric import FloatArray
from luthier.metrics.registry import get_metric
from luthier.metrics.resampling import Clusters, jackknifed, resampled, unvaried_interval, wilson_interval
from luthier.metrics.scoring import score_predictions
from luthier.metrics.settled import MOST_RESAMPLES, defined_interval, end_noise, until_settled
from luthier.metrics.significance import PairedComparison, minimum_detectable_effect, paired_difference
from luthier.records import Prediction


def skewed(n: int, seed: int = 0) -> list[Prediction]:
    """Answers of which most share nothing with the reference, and a few nearly all."""
    rng = np.random.default_rng(seed)
    words = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"]
    shared = np.where(rng.random(n) < 0.15, rng.integers(8, 13, size=n), rng.integers(0, 3, size=n))
    return answered([" ".join([*words[:k], *["x"] * (12 - k)]) for k in shared], [" ".join(words)] * n)


def test_the_ends_of_an_interval_do_not_depend_on_the_seed() -> None:
    rows = skewed(40)
    found = [
        next(s for s in score_predictions(rows, ["rouge"], seed=seed) if s.metric == "rouge1") for seed in range(30)
    ]
    ends = np.array([(score.low, score.high) for score in found])
    width = np.median(ends[:, 1] - ends[:, 0])
    assert np.ptp(ends, axis=0).max() < 0.06 * width  # six standard errors of 1 %
    assert len({score.value for score in found}) == 1


def test_the_ends_of_a_difference_do_not_depend_on_the_seed() -> None:
    a, b = skewed(40), skewed(40, 1)
    found = [
        paired_difference(a, b, "rouge", settings=PairedComparison(seed=seed, permutations=10)) for seed in range(20)
    ]
    ends = np.array([(one.low, one.high) for one in found])
    assert np.ptp(ends, axis=0).max() < 0.06 * np.median(ends[:, 1] - ends[:, 0])


def test_noise_is_the_standard_error_over_seeds() -> None:
    metric, rows = get_metric("rouge"), skewed(40)
    stats, clusters = metric.statistics(rows), Clusters(np.arange(40), 40)
    value, left_out = float(metric.evaluate(stats)[0]), jackknifed(metric, stats, clusters)[:, 0]
    draws = [resampled([metric], [stats], clusters, 2000, seed)[0][:, 0] for seed in range(200)]
    ends = np.array([defined_interval(draw, value, left_out, 0.95) for draw in draws])
    true = (ends.std(axis=0) / np.median(ends[:, 1] - ends[:, 0])).max()
    estimated = float(np.median([end_noise(draw, value, left_out, 0.95) for draw in draws]))
    assert estimated == pytest.approx(true, rel=0.3)


def test_no_more_is_drawn_than_the_rule_asks_for() -> None:
    drawn: list[tuple[tuple[int, ...], int]] = []

    def draw(which: Sequence[int], count: int, further: int) -> list[FloatArray]:
        chosen = tuple(which)
        drawn.append((chosen, count))
        return [np.zeros((count, 1)) for _ in chosen]

    until_settled(draw, lambda i, samples: 0.0, count=2, clusters=10, resamples=1000)
    assert drawn == [((0, 1), 1000)]
    drawn.clear()
    samples = until_settled(
        draw, lambda i, s: 0.02 if i or len(s) < 2000 else 0.0, count=2, clusters=10, resamples=1000
    )
    assert drawn == [((0, 1), 1000), ((0, 1), 1000), ((1,), 2000), ((1,), 4000), ((1,), 8000)]
    assert [len(one) for one in samples] == [2000, MOST_RESAMPLES]
    drawn.clear()
    until_settled(draw, lambda i, samples: 0.02, count=1, clusters=10_000, resamples=1000)
    assert drawn == [((0,), 1000), ((0,), 1000)]  # 20 million draws


def test_settling_is_cheap() -> None:
    rows = skewed(2000)
    started = time.process_time()
    score_predictions(rows, ["rouge"], resamples=1000)
    assert time.process_time() - started < 5


def test_values_that_do_not_vary_have_the_interval_of_wilson() -> None:
    right = answered(["a b c d e"] * 4, ["a b c d e"] * 4)
    for name in ("rouge", "token_f1"):
        for score in score_predictions(right, [name]):
            assert (score.low, score.high) == pytest.approx(wilson_interval(1.0, 4, 0.95))
    (bleu,) = score_predictions(right, ["bleu"])
    assert (bleu.low, bleu.high) == pytest.approx([100 * end for end in wilson_interval(1.0, 4, 0.95)])
    wrong = score_predictions(answered(["x"] * 4, ["a"] * 4), ["token_f1"])[0]
    assert (wrong.low, wrong.high) == pytest.approx(wilson_interval(0.0, 4, 0.95))
    low, high = unvaried_interval(0.5, 0.0, 1.0, 4, 0.95)
    assert low < 0.5 < high


def test_numbers_that_do_not_vary_and_have_no_scale_have_no_interval() -> None:
    rows = [
        Prediction(str(n), "t", "a", ("a",), choices=("a",), choice_logprobs=(-1.0,), choice_tokens=(2,))
        for n in range(4)
    ]
    for score in score_predictions(rows, ["perplexity"]):
        assert math.isnan(score.low)
        assert math.isnan(score.high)


@pytest.mark.parametrize("metric", ["exact_match", "token_f1", "rouge", "bleu"])
def test_identical_answers_have_an_honest_interval(metric: str) -> None:
    rows = answered(["a b c d e", "a b c", "x", "a b x d"], ["a b c d e"] * 4)
    found = paired_difference(rows, rows, metric)
    assert (found.value, found.p_value, found.significant) == (0.0, 1.0, False)
    assert found.low == -found.high
    scale = get_metric(metric).scale or 1.0
    assert 0.2 * scale < found.high < scale
    assert found.detectable >= found.high
    assert "for a difference that no example varies" in found.method


def test_the_interval_of_identical_shares_is_tangos() -> None:
    # Tango (1998) for no discordant pair: ± q²/(n + q²); with Student's quantile 3.182446 for 4 examples.
    rows = answered(["a"] * 4, ["a", "b", "a", "a"])
    found = paired_difference(rows, rows, "exact_match")
    assert found.high == pytest.approx(3.182446**2 / (4 + 3.182446**2), abs=1e-6)
    many = answered(["a"] * 1000, ["a", "b"] * 500)
    assert paired_difference(many, many, "exact_match").high == pytest.approx(
        1.962341**2 / (1000 + 1.962341**2), abs=1e-6
    )


def test_a_difference_on_every_example_is_not_certain_either() -> None:
    right, wrong = answered(["a"] * 4, ["a"] * 4), answered(["b"] * 4, ["a"] * 4)
    found = paired_difference(right, wrong, "token_f1")
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low < 0 < found.p_value
    assert not found.significant


def test_identical_choices_that_are_all_right_are_bounded_too() -> None:
    rows = with_choices([0.9] * 4, ["yes"] * 4)
    found = paired_difference(rows, rows, "f1")
    assert 0 < found.high <= 1
    assert found.low == -found.high


def test_what_varies_keeps_its_detectable_difference() -> None:
    rng = np.random.default_rng(8)
    given = [str(v) for v in rng.integers(0, 2, size=300)]
    a, b = answered(given, ["1"] * 300), answered(given[::-1], ["1"] * 300)
    values = np.array([float(x == "1") - float(y == "1") for x, y in zip(given, given[::-1], strict=True)])
    assert paired_difference(a, b, "exact_match").detectable == pytest.approx(
        minimum_detectable_effect(values), rel=0.1
    )
