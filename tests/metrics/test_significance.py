"""Intervals and paired tests: by hand, against scipy and sacrebleu, and by simulation with a known truth."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import sacrebleu
import scipy.stats
from metric_rows import answered, with_choices
from sacrebleu.significance import PairedTest

from luthier.errors import ConfigError, DataError
from luthier.metrics.metric import Metric, mean_of, with_count
from luthier.metrics.registry import get_metric
from luthier.metrics.resampling import (
    Clusters,
    bca_interval,
    bootstrap_weights,
    clustered_standard_error,
    clusters_of,
    jackknifed,
    percentile_interval,
    resampled,
    share_interval,
    wilson_interval,
)
from luthier.metrics.significance import (
    PairedComparison,
    bootstrap_p_value,
    holm,
    mcnemar_p_value,
    minimum_detectable_effect,
    paired_difference,
)
from luthier.records import Prediction

Floats = npt.NDArray[np.float64]


def mean_metric() -> Metric:
    return Metric("mean", ("mean",), "mean", True, "", lambda rows: with_count([float(p.text) for p in rows]), mean_of)


def alone(n: int) -> Clusters:
    return Clusters(np.arange(n), n)


def bootstrap_of(values: Floats, clusters: Clusters, resamples: int, seed: int) -> Floats:
    return resampled([mean_metric()], [with_count(values)], clusters, resamples, seed)[0][:, 0]


def test_every_resample_draws_as_many_as_there_are() -> None:
    weights = bootstrap_weights(7, 100, np.random.SeedSequence(0))
    assert weights.sum(axis=1).tolist() == [7.0] * 100
    assert abs(weights.mean(axis=0) - 1).max() < 0.4


def test_groups_are_drawn_together() -> None:
    rows = [
        Prediction(str(i), "t", str(v), ("x",), group=g) for i, (v, g) in enumerate([(0, "a"), (10, "b"), (2, "a")])
    ]
    clusters = clusters_of(rows)
    assert clusters.of.tolist() == [0, 1, 0]
    # Two groups: only a twice (mean 1), b twice (mean 10), or both (mean 4) can be drawn.
    found = bootstrap_of(np.array([0.0, 10.0, 2.0]), clusters, 200, 0)
    assert {round(float(v), 6) for v in found} == {1.0, 10.0, 4.0}


def test_bca_equals_scipy() -> None:
    values = np.random.default_rng(0).exponential(size=60)
    expected = scipy.stats.bootstrap((values,), np.mean, n_resamples=40_000, method="BCa", random_state=0)
    samples = bootstrap_of(values, alone(60), 40_000, 1)
    left_out = jackknifed(mean_metric(), with_count(values), alone(60))[:, 0]
    found = bca_interval(samples, float(values.mean()), left_out, 0.95)
    assert found == pytest.approx(tuple(expected.confidence_interval), abs=0.01)
    assert found != pytest.approx(percentile_interval(samples, 0.95), abs=0.01)


def test_wilson_equals_scipy() -> None:
    for right, n in ((0, 10), (3, 10), (10, 10), (870, 1000)):
        expected = scipy.stats.binomtest(right, n).proportion_ci(method="wilson")
        assert wilson_interval(right / n, n, 0.95) == pytest.approx((expected.low, expected.high))


def test_clusters_widen_the_interval_of_a_share() -> None:
    values = np.repeat([1.0, 0.0, 1.0, 1.0], 25)
    low, high = share_interval(values, Clusters(np.repeat(np.arange(4), 25), 4), 0.95)
    low_alone, high_alone = share_interval(values, alone(100), 0.95)
    assert low < low_alone < 0.75 < high_alone < high


def test_clustered_standard_error_by_hand() -> None:
    # Means apart from 2: groups (-2, -1) and (1, 2) pull by -3 and 3: sqrt((9 + 9) / 16 · 2/1).
    values = np.array([0.0, 1, 3, 4])
    assert clustered_standard_error(values, Clusters(np.array([0, 0, 1, 1]), 2)) == pytest.approx(1.5)
    assert clustered_standard_error(values, alone(4)) == pytest.approx(values.std(ddof=1) / 2)


def test_mcnemar_equals_the_binomial_test() -> None:
    for only_a, only_b in ((0, 0), (1, 0), (8, 2), (30, 55), (900, 1100)):
        n = only_a + only_b
        expected = scipy.stats.binomtest(only_a, n).pvalue if n else 1.0
        assert mcnemar_p_value(only_a, only_b) == pytest.approx(expected)


def test_holm_by_hand() -> None:
    # Sorted .01 · 4, .02 · 3, .03 · 2, .5 · 1; never smaller than the one before.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert math.isnan(holm([math.nan, 0.01])[0])
    assert holm([math.nan, 0.01])[1] == 0.01


def test_minimum_detectable_effect_by_hand() -> None:
    # Standard error 1 / sqrt(100) of differences with standard deviation 1.
    values = np.array([1.0, -1.0] * 50) * math.sqrt(99 / 100)
    assert minimum_detectable_effect(values) == pytest.approx((1.959964 + 0.841621) / 10)


def test_detectable_difference_of_a_comparison_is_that_of_its_values() -> None:
    rng = np.random.default_rng(8)
    given = [str(v) for v in rng.integers(0, 2, size=300)]
    a, b = answered(given, ["1"] * 300), answered(given[::-1], ["1"] * 300)
    values = np.array([float(x == "1") - float(y == "1") for x, y in zip(given, given[::-1], strict=True)])
    found = paired_difference(a, b, "exact_match", settings=PairedComparison(resamples=4000, permutations=100))
    assert found.detectable == pytest.approx(minimum_detectable_effect(values), rel=0.05)


def translations(n: int, seed: int) -> tuple[list[str], list[str], list[str]]:
    rng = random.Random(seed)
    truth = [" ".join(rng.choices("abcdefghij", k=12)) for _ in range(n)]

    def worse(text: str, share: float) -> str:
        return " ".join(rng.choice("klm") if rng.random() < share else word for word in text.split())

    return truth, [worse(t, 0.20) for t in truth], [worse(t, 0.23) for t in truth]


@pytest.mark.parametrize(("test", "kind"), [("randomisation", "ar"), ("bootstrap", "bs")])
def test_paired_tests_agree_with_sacrebleu(test: str, kind: str) -> None:
    truth, first, second = translations(200, 1)
    systems: list[tuple[str, Sequence[str]]] = [("first", first), ("second", second)]
    _, scores = PairedTest(systems, {"BLEU": sacrebleu.BLEU(references=[truth])}, None, kind, n_samples=2000)()
    expected: Any = next(value for key, value in scores.items() if "BLEU" in key)
    found = paired_difference(
        answered(first, truth),
        answered(second, truth),
        "bleu",
        settings=PairedComparison(test=test, resamples=2000, permutations=2000),
    )
    assert found.value == pytest.approx(expected[0].score - expected[1].score, abs=1e-9)
    # Two independent draws of 2,000: p-values agree within their Monte-Carlo error.
    assert found.p_value == pytest.approx(expected[1].p_value, abs=0.03)


def test_sacrebleus_rule_for_the_bootstrap_p_value_by_hand() -> None:
    # Sizes 1, 1, 2, 4 have mean 2; above it by more than 1 lies one of four: (1 + 1) / (4 + 1).
    assert bootstrap_p_value(np.array([1.0, -1, 2, -4]), 1.0) == 0.4


def test_a_system_does_not_differ_from_itself() -> None:
    rows = answered(["a b", "c", "d e f"], ["a b", "x", "d e g"])
    for metric in ("rouge", "bleu", "exact_match", "f1"):
        found = paired_difference(rows, rows[::-1], metric)
        assert (found.value, found.p_value, found.significant) == (0.0, 1.0, False)


def test_a_large_difference_is_found_and_its_sign_is_first_minus_second() -> None:
    right, wrong = answered(["a"] * 30, ["a"] * 30), answered(["b"] * 30, ["a"] * 30)
    for test in ("randomisation", "mcnemar"):
        found = paired_difference(right, wrong, "exact_match", settings=PairedComparison(test=test))
        assert (found.value, found.significant) == (1.0, True)


def test_ranks_can_be_compared_too() -> None:
    rng = np.random.default_rng(3)
    true = rng.normal(size=120)
    near, far = [str(v) for v in true + rng.normal(size=120) * 0.3], [str(v) for v in true + rng.normal(size=120) * 2]
    truth = [str(v) for v in true]
    found = paired_difference(
        answered(near, truth),
        answered(far, truth),
        "spearman",
        settings=PairedComparison(permutations=1000, resamples=500),
    )
    assert found.significant
    assert 0 < found.low < found.value < found.high


def test_ids_must_match() -> None:
    a, b = answered(["a"] * 3, ["a"] * 3), answered(["a"] * 4, ["a"] * 4)[1:]
    with pytest.raises(DataError, match="first only: '0'; second only: '3'"):
        paired_difference(a, b, "exact_match")
    with pytest.raises(DataError, match="the same example twice: '0'"):
        paired_difference([a[0], *a], b, "exact_match")


def test_what_does_not_fit_is_told() -> None:
    rows = answered(["a", "b"], ["a", "b"])
    with pytest.raises(ConfigError, match="not shares of right answers"):
        paired_difference(rows, rows, "rouge", settings=PairedComparison(test="mcnemar"))
    with pytest.raises(ConfigError, match="Did you mean 'rougeL'"):
        paired_difference(rows, rows, "rouge", "rougel")
    with pytest.raises(ConfigError, match="Did you mean 'bootstrap'"):
        paired_difference(rows, rows, "rouge", settings=PairedComparison(test="bootstrp"))


def test_one_group_is_not_compared() -> None:
    rows = with_choices([0.9, 0.8], ["yes", "no"], group=["p", "p"])
    found = paired_difference(rows, rows, "accuracy")
    assert math.isnan(found.p_value)
    assert not found.significant


def coverage(truth: float, intervals: list[tuple[float, float]]) -> float:
    return sum(low <= truth <= high for low, high in intervals) / len(intervals)


def bca_of(values: Floats, clusters: Clusters, seed: int) -> tuple[float, float]:
    samples = bootstrap_of(values, clusters, 1000, seed)
    left_out = jackknifed(mean_metric(), with_count(values), clusters)[:, 0]
    return bca_interval(samples, float(values.mean()), left_out, 0.95)


@pytest.mark.slow
def test_intervals_of_means_cover() -> None:
    rng = np.random.default_rng(0)
    # Beta(2, 5) is shaped like ROUGE scores; its mean is 2/7.
    found = [bca_of(rng.beta(2, 5, size=200), alone(200), seed) for seed in range(1000)]
    assert 0.93 <= coverage(2 / 7, found) <= 0.97


@pytest.mark.slow
def test_intervals_of_clustered_means_cover_and_those_that_ignore_clusters_do_not() -> None:
    rng = np.random.default_rng(1)
    clusters = Clusters(np.repeat(np.arange(60), 5), 60)
    draws = [np.repeat(rng.normal(size=60), 5) + rng.normal(size=300) for _ in range(600)]
    assert 0.93 <= coverage(0, [bca_of(v, clusters, s) for s, v in enumerate(draws)]) <= 0.97
    assert coverage(0, [bca_of(v, alone(300), s) for s, v in enumerate(draws)]) < 0.85


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.9, 0.97])
def test_intervals_of_shares_cover(share: float) -> None:
    rng = np.random.default_rng(2)
    found = [share_interval((rng.random(150) < share).astype(np.float64), alone(150), 0.95) for _ in range(4000)]
    assert 0.93 <= coverage(share, found) <= 0.97


@pytest.mark.slow
def test_intervals_of_clustered_shares_cover() -> None:
    rng = np.random.default_rng(3)
    clusters = Clusters(np.repeat(np.arange(60), 5), 60)
    found = []
    for _ in range(3000):
        shares = rng.beta(7, 3, size=60)
        found.append(share_interval((rng.random(300) < np.repeat(shares, 5)).astype(np.float64), clusters, 0.95))
    assert 0.93 <= coverage(0.7, found) <= 0.97


@pytest.mark.slow
def test_intervals_of_corpus_bleu_cover() -> None:
    metric = get_metric("bleu")
    truth, first, _ = translations(20_000, 5)
    population = metric.statistics(answered(first, truth))
    value = float(metric.evaluate(population)[0])
    rng, found = np.random.default_rng(4), []
    for seed in range(600):
        stats = population[rng.integers(len(population), size=150)]
        samples = resampled([metric], [stats], alone(150), 600, seed)[0][:, 0]
        left_out = jackknifed(metric, stats, alone(150))[:, 0]
        found.append(bca_interval(samples, float(metric.evaluate(stats)[0]), left_out, 0.95))
    assert 0.93 <= coverage(value, found) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("test", "grouped"), [("randomisation", False), ("randomisation", True), ("mcnemar", False)])
def test_false_alarms_are_as_rare_as_stated(test: str, grouped: bool) -> None:
    rng = np.random.default_rng(6)
    alarms = 0
    for trial in range(600):
        # Two systems that are equally good; where grouped, a whole passage suits the one or the other.
        lean = np.repeat(rng.normal(size=40), 3) if grouped else np.zeros(120)
        skill = 1 / (1 + np.exp(-lean - 1)), 1 / (1 + np.exp(lean - 1))
        groups = [str(i // 3) if grouped else "" for i in range(120)]
        a, b = (
            [
                Prediction(str(i), "t", "x" if right else "y", ("x",), group=groups[i])
                for i, right in enumerate(rng.random(120) < chance)
            ]
            for chance in skill
        )
        alarms += paired_difference(
            a, b, "exact_match", settings=PairedComparison(test=test, permutations=500, resamples=50, seed=trial)
        ).significant
    # 5 %, with three standard errors of 600 trials; the exact McNemar test is conservative by construction.
    assert (0.0 if test == "mcnemar" else 0.024) <= alarms / 600 <= 0.076
