"""Paired tests of the difference between two systems on the same examples.

A paired test compares the systems example by example, so that what they share (hard and easy examples) cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from luthier.errors import ConfigError, DataError, did_you_mean
from luthier.metrics.answer_extraction import check_predictions
from luthier.metrics.difference_interval import IntervalSettings, detectable_difference, difference_interval
from luthier.metrics.metric import FloatArray, Metric
from luthier.metrics.registry import Named, get_metric
from luthier.metrics.resampling import (
    Clusters,
    cluster_sums,
    clustered_standard_error,
    clusters_of,
)
from luthier.records import Prediction

TESTS = ("randomisation", "bootstrap", "mcnemar")
_CELLS = 4_000_000


@dataclass(frozen=True, slots=True)
class Difference:
    """How far two systems are apart on the same examples.

    Attributes:
        output: The number that was compared, e.g. ``"rougeL"``.
        value: First system minus second.
        low: Lower end of the confidence interval of the difference: the paired bootstrap's, or a bound for what was not
            seen where no example differs from the others (`luthier.metrics.difference_interval`).
        high: Upper end.
        p_value: Chance of a difference this large if the systems were equally good; NaN when not tested.
        n: Examples that both answered.
        method: How the interval and the p-value were computed.
        alpha: Level at which ``significant`` is stated.
        significant: Whether ``p_value < alpha``.
        detectable: Smallest true difference that these examples would have shown at ``alpha`` with 80 % power, from the
            spread of the resamples or, where there is none, from the bound; NaN when unknown.
        confidence: Level of the interval, as a share.
    """

    output: str
    value: float
    low: float
    high: float
    p_value: float
    n: int
    method: str
    alpha: float
    significant: bool
    detectable: float = math.nan
    confidence: float = 0.95


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """How two systems are compared.

    Attributes:
        test: ``"randomisation"`` (approximate randomisation: exchange the systems on random groups; exact for any
            number), ``"bootstrap"`` (Koehn 2004, as sacrebleu does it), or ``"mcnemar"`` (exact; shares of right
            answers without groups only).
        confidence: Level of the interval, as a share.
        alpha: Level at which significance is stated.
        resamples: Bootstrap resamples for the bootstrap test, and the least for the interval.
        permutations: Exchanges of the randomisation test.
        seed: Seed of both.
    """

    test: str = "randomisation"
    confidence: float = 0.95
    alpha: float = 0.05
    resamples: int = 1000
    permutations: int = 10_000
    seed: int = 0


_DEFAULTS = PairedComparison()


def paired_difference(
    a: Sequence[Prediction],
    b: Sequence[Prediction],
    metric: Named,
    output: str | None = None,
    *,
    settings: PairedComparison = _DEFAULTS,
) -> Difference:
    """Compare two systems on the same examples, aligned by id.

    Args:
        a: Predictions of the first system.
        b: Predictions of the second, in any order.
        metric: Name as `luthier.metrics.registry.get_metric` takes it.
        output: Which of its outputs; None for its primary one.
        settings: The test, and the levels.

    Raises:
        ConfigError: The metric, output or test is not known or does not fit.
        DataError: The two do not hold the same ids, or lack what the metric needs.
    """
    chosen = get_metric(metric)
    at = _output_index(chosen, output)
    a, b = _aligned(a, b)
    stats_a, stats_b = chosen.statistics(a), chosen.statistics(b)
    clusters = clusters_of(a)
    value = float(chosen.evaluate(stats_a)[at] - chosen.evaluate(stats_b)[at])
    alpha, confidence = settings.alpha, settings.confidence
    if clusters.count < 2:
        method = "none: one group says nothing about others"
        nan = math.nan
        return Difference(chosen.outputs[at], value, nan, nan, nan, len(a), method, alpha, False, confidence=confidence)
    how = IntervalSettings(confidence, alpha, settings.resamples, settings.seed)
    interval = difference_interval(chosen, at, (stats_a, stats_b), clusters, how)
    if settings.test == "mcnemar":
        p_value = _mcnemar(chosen, stats_a[:, 1 + at], stats_b[:, 1 + at], clusters)
    elif settings.test == "bootstrap":
        p_value = bootstrap_p_value(interval.samples, value)
    elif settings.test == "randomisation":
        joint = (stats_a, stats_b) if chosen.context_free else _joint_statistics(chosen, a, b)
        p_value = _randomisation(chosen, *joint, clusters, at, settings.permutations, settings.seed)
    else:
        raise ConfigError(f"Unknown test '{settings.test}'.", fix=did_you_mean(settings.test, TESTS))
    return Difference(
        output=chosen.outputs[at],
        value=value,
        low=interval.low,
        high=interval.high,
        p_value=p_value,
        n=len(a),
        method=_describe_method(settings, clusters, varied=interval.varied),
        alpha=alpha,
        significant=p_value < alpha,
        detectable=interval.detectable,
        confidence=confidence,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979) for several comparisons: adjusted p-values, in the given order.

    NaN means that a comparison was not made: it stays NaN and does not count.
    """
    order = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = highest
    return adjusted


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Exact two-sided McNemar test (1947): of the examples that only one system got right, is the split even?

    Args:
        only_a: Examples that only the first system got right.
        only_b: Examples that only the second got right.
    """
    n, fewer = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    # Binomial tail in logarithms: 2⁻ⁿ · Σ C(n, i) underflows for large n.
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(value) for value in logs))


def bootstrap_p_value(samples: FloatArray, value: float) -> float:
    """Two-sided p-value of the paired bootstrap, by sacrebleu's rule (Koehn 2004; Graham et al. 2014).

    Args:
        samples: Differences on the resamples, float64 ``(b,)``.
        value: Difference on the data.
    """
    sizes = np.abs(samples)
    return float((np.count_nonzero(sizes - sizes.mean() > abs(value)) + 1) / (len(samples) + 1))


def minimum_detectable_effect(
    values: FloatArray, *, clusters: Clusters | None = None, alpha: float = 0.05, power: float = 0.8
) -> float:
    """The smallest true difference that a paired comparison of this size finds with the given power.

    Args:
        values: Differences per example, float64 ``(n,)``.
        clusters: Which examples belong together; None when every example is independent.
        alpha: Two-sided level of the test.
        power: Probability of finding it.

    Returns:
        ``(z(1 - alpha/2) + z(power)) · standard error`` (Miller 2024, section 5); NaN for fewer than two clusters.
    """
    clusters = clusters or Clusters(np.arange(len(values)), len(values))
    return detectable_difference(clustered_standard_error(values, clusters), alpha, power)


def _output_index(metric: Metric, output: str | None) -> int:
    name = output or metric.primary
    if name not in metric.outputs:
        raise ConfigError(f"The metric '{metric.name}' has no output '{name}'.", fix=did_you_mean(name, metric.outputs))
    return metric.outputs.index(name)


def _aligned(a: Sequence[Prediction], b: Sequence[Prediction]) -> tuple[list[Prediction], list[Prediction]]:
    check_predictions(a)
    check_predictions(b)
    by_id = {prediction.id: prediction for prediction in b}
    ids = [prediction.id for prediction in a]
    for side, predictions in (("first", a), ("second", b)):
        seen: set[str] = set()
        twice = [p.id for p in predictions if p.id in seen or seen.add(p.id)]  # type: ignore[func-returns-value]
        if twice:
            raise DataError(
                f"The {side} system answers the same example twice: {_listed(twice)}.",
                fix="Keep one answer an example.",
            )
    only_a, only_b = [i for i in ids if i not in by_id], sorted(by_id.keys() - set(ids))
    if only_a or only_b:
        missing = [f"{side} only: {_listed(names)}" for side, names in (("first", only_a), ("second", only_b)) if names]
        raise DataError(
            f"A paired comparison needs the same examples on both sides; {'; '.join(missing)}.",
            fix="Evaluate both systems on the same split, with the same limit.",
        )
    return list(a), [by_id[i] for i in ids]


def _listed(names: Sequence[str], shown: int = 5) -> str:
    rest = f" … and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(f"'{name}'" for name in names[:shown]) + rest


def _joint_statistics(
    metric: Metric, a: Sequence[Prediction], b: Sequence[Prediction]
) -> tuple[FloatArray, FloatArray]:
    """Compute the statistics of both systems in the same columns (labels, bins), so that they can be exchanged."""
    joint = metric.statistics([*a, *b])
    return joint[: len(a)], joint[len(a) :]


def exchanges(count: int, permutations: int, seed: int) -> Iterator[FloatArray]:
    """Draw fair coins: float64 ``(b, count)`` of zeros and ones, ``permutations`` rows in total."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CELLS // count)
    for start in range(0, permutations, rows):
        b = min(rows, permutations - start)
        bits = np.unpackbits(np.frombuffer(rng.bytes((b * count + 7) // 8), np.uint8), count=b * count)
        yield bits.reshape(b, count).astype(np.float64)


def _randomisation(
    metric: Metric, a: FloatArray, b: FloatArray, clusters: Clusters, at: int, permutations: int, seed: int
) -> float:
    """Two-sided p-value of approximate randomisation (Riezler and Maxwell 2005); groups are exchanged as a whole."""
    observed = abs(float(metric.evaluate(a)[at] - metric.evaluate(b)[at]))
    if not math.isfinite(observed):
        return math.nan
    evaluate = (
        _exchanged_sums(metric, a, b, clusters) if metric.weighted is None else _exchanged(metric, a, b, clusters)
    )
    # The tolerance keeps rounding from making an exchange without effect differ from the data.
    threshold = observed * (1 - 1e-9) - 1e-12
    as_large = defined = 0
    for swap in exchanges(clusters.count, permutations, seed):
        difference = np.abs(evaluate(swap)[:, at])
        as_large += int(np.count_nonzero(~(difference < threshold)))
        defined += int(np.count_nonzero(np.isfinite(difference)))
    if not defined:  # a number that cannot be resampled is not tested
        return math.nan
    return (as_large + 1) / (permutations + 1)


def _exchanged_sums(
    metric: Metric, a: FloatArray, b: FloatArray, clusters: Clusters
) -> Callable[[FloatArray], FloatArray]:
    total_a, total_b, gap = a.sum(axis=0), b.sum(axis=0), cluster_sums(a - b, clusters)

    def evaluate(swap: FloatArray) -> FloatArray:
        moved = swap @ gap
        return metric.aggregate(total_a - moved) - metric.aggregate(total_b + moved)

    return evaluate


def _exchanged(metric: Metric, a: FloatArray, b: FloatArray, clusters: Clusters) -> Callable[[FloatArray], FloatArray]:
    both = np.concatenate([a, b])

    def evaluate(swap: FloatArray) -> FloatArray:
        spread = swap[:, clusters.of]
        first, second = np.hstack([1 - spread, spread]), np.hstack([spread, 1 - spread])
        return metric.evaluate(both, first) - metric.evaluate(both, second)

    return evaluate


def _mcnemar(metric: Metric, right_a: FloatArray, right_b: FloatArray, clusters: Clusters) -> float:
    if not metric.proportion or not clusters.alone:
        reason = "its outputs are not shares of right answers" if not metric.proportion else "the examples have groups"
        raise ConfigError(
            f"McNemar's test does not fit '{metric.name}': {reason}.",
            fix="Use the test 'randomisation' (--significance randomisation), which always fits.",
        )
    return mcnemar_p_value(int((right_a > right_b).sum()), int((right_b > right_a).sum()))


def _describe_method(settings: PairedComparison, clusters: Clusters, *, varied: bool) -> str:
    tests = {
        "randomisation": f"approximate randomisation ({settings.permutations} exchanges)",
        "bootstrap": f"paired bootstrap test ({settings.resamples} resamples)",
        "mcnemar": "exact McNemar test",
    }
    units = "" if clusters.alone else f", {clusters.count} groups kept together"
    source = f"from the paired BCa bootstrap ({settings.resamples} resamples or more)"
    if not varied:
        source = "for a difference that no example varies"
    return f"{tests[settings.test]}; {100 * settings.confidence:g}% interval {source}{units}"
