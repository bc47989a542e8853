"""Scores and differences of arms that were trained once per seed, with variance of examples and of training runs.

An arm is trained S times, each time with another seed (order of the data, random weights, dropout), and every run
answers the same examples. The score of the arm is the mean over runs of the metric, each run's value being the metric's
own aggregate of its answers (corpus-level for BLEU). Its interval is the one of `luthier.metrics.variance_components`:

1. Every run's value is linearised with the jackknife over groups of examples: with ``v`` the value and ``v₋g`` the
   value without group g, ``y[s, g] = v + (G − 1)·(mean of v₋ − v₋g)`` (Efron and Stein 1981; for a mean over groups of
   one example these are the examples' own scores). Above 1,000 groups several are left out together.
2. The analysis of variance of that table of runs by groups gives the variance of runs and of examples, without counting
   twice what both contain, and Cochran's quantile between Student's with S − 1 and with G − 1 degrees of freedom.
3. The interval is mean ± half-width, for a share of right answers Wilson's with that half-width, which stays within 0
   and 1. The p-value of a difference is the level at which its interval just touches 0, so the two
   never contradict each other.

Differences are paired by seed and example: the table holds one arm's linearised values minus the other's. An arm
without seeds (in-context learning; the model before training) has one log, which is compared with every seed.

With one or two runs the variance between runs cannot be estimated well enough (Student's quantile with one degree of
freedom is 12.7), so the interval includes the variance of examples alone, and the record says so. With one run the
numbers are those of `luthier.metrics.scoring` and `luthier.metrics.significance`.

Where nothing varies at all (two arms with the same right and wrong answers), the variance is unknown, not 0: see
`luthier.metrics.seed_estimate.constant_difference_test`.

Limitation: the scores of the runs are assumed to be normally distributed. Where they lie near the end of the scale and
far apart (accuracy 0.9 ± 0.13 over seeds, 50 examples), 91 % of intervals cover the true value instead of 95 %; where 3
runs of 0.7 ± 0.2 are compared with one log, 6 % of tests raise a false alarm instead of 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.errors import ConfigError, did_you_mean
from luthier.metrics.metric import Metric
from luthier.metrics.registry import Named, get_metric
from luthier.metrics.resampling import clusters_of
from luthier.metrics.scoring import score_predictions
from luthier.metrics.seed_estimate import (
    Variance,
    constant_difference_test,
    describe_method,
    difference_test,
    estimate_mean,
    example_variance,
    score_interval,
    spread_of,
)
from luthier.metrics.seed_runs import Log, PairedRuns, Runs, linearised, paired_runs, same_examples
from luthier.metrics.significance import Difference, PairedComparison, paired_difference


@dataclass(frozen=True, slots=True)
class SeedScore:
    """One number of an arm over its training runs.

    Attributes:
        output: Name of the value, e.g. ``"rougeL"``.
        value: Mean over runs, in the metric's customary unit; NaN when a run's value is not defined, never 0.
        low: Lower end of the confidence interval; NaN where it is not known.
        high: Upper end.
        n: Examples that each run answered.
        seeds: Seed of each run, in the order given.
        values: Value of each run.
        spread: Standard deviation of the values (S − 1 in the denominator); NaN for one run.
        variance: Sources of variance that the interval includes.
        standard_error: Standard error of the mean; NaN where it is not known, or the interval came from a bootstrap.
        method: How the interval was computed.
    """

    output: str
    value: float
    low: float
    high: float
    n: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    spread: float
    variance: Variance
    standard_error: float
    method: str


@dataclass(frozen=True, slots=True)
class SeedDifference:
    """How far two arms are apart on the same examples, over training runs.

    Attributes:
        output: The number that was compared.
        value: First arm minus second, mean over seeds.
        low: Lower end of the confidence interval of the difference; NaN where it is not known.
        high: Upper end.
        p_value: Two-sided; with two or more seeds it is below ``alpha`` exactly where the interval of ``1 − alpha``
            excludes 0. NaN when not tested.
        n: Examples that both answered.
        seeds: Seeds that were paired; empty when neither arm has any.
        values: Difference at each seed (one value when neither arm has seeds).
        spread: Standard deviation of the values; NaN for one.
        variance: Sources of variance that the interval and the test include.
        standard_error: Standard error of the mean difference; NaN where it is not known, or a bootstrap was used.
        method: How the interval and the test were computed.
        alpha: Level at which ``significant`` is stated.
        significant: Whether ``p_value < alpha``.
        detectable: Smallest true difference found with 80 % power at ``alpha`` by this many seeds and examples.
    """

    output: str
    value: float
    low: float
    high: float
    p_value: float
    n: int
    seeds: tuple[int, ...]
    values: tuple[float, ...]
    spread: float
    variance: Variance
    standard_error: float
    method: str
    alpha: float
    significant: bool
    detectable: float


def scores_over_seeds(
    runs: Runs, metrics: Sequence[Named], *, confidence: float = 0.95, resamples: int = 1000, seed: int = 0
) -> list[SeedScore]:
    """Score an arm over its training runs.

    Args:
        runs: The predictions of each run, by the seed it was trained with; the same examples in each, in any order.
            Examples of one group count as one draw.
        metrics: Names as `luthier.metrics.registry.get_metric` takes them.
        confidence: Level of the intervals, as a share.
        resamples: Bootstrap resamples for the interval of a single run, which is `score_predictions`'s.
        seed: Seed of those resamples.

    Returns:
        One score for every output of every metric. Intervals are NaN with fewer than two groups, where a value is not
        defined with a group left out, and where nothing varies and the value is not a proportion.

    Raises:
        DataError: There is no run, or the predictions lack what a metric needs.
        Faults: Several runs do not hold the same examples.
        ConfigError: A metric is not known.
    """
    chosen = [get_metric(name) for name in metrics]
    logs = same_examples({f"seed {number}": log for number, log in runs.items()})
    if len(logs) == 1:
        return _scores_of_one_run(runs, metrics, confidence, resamples, seed)
    clusters = clusters_of(logs[0])
    scores: list[SeedScore] = []
    for metric in chosen:
        values, tables = linearised(metric, logs, clusters)
        for at, output in enumerate(metric.outputs):
            estimate = estimate_mean(values[:, at], tables[:, :, at], clusters.count)
            low, high = score_interval(metric, estimate, confidence)
            scores.append(
                SeedScore(
                    output=output,
                    value=estimate.value,
                    low=low,
                    high=high,
                    n=len(logs[0]),
                    seeds=tuple(runs),
                    values=tuple(values[:, at].tolist()),
                    spread=spread_of(values[:, at]),
                    variance=estimate.variance if math.isfinite(low) else "none",
                    standard_error=estimate.standard_error,
                    method=describe_method(
                        estimate, confidence, "Wilson's interval" if metric.proportion else "interval"
                    ),
                )
            )
    return scores


def difference_over_seeds(
    a: Runs | Log,
    b: Runs | Log,
    metric: Named,
    output: str | None = None,
    *,
    alpha: float = 0.05,
    resamples: int = 1000,
    permutations: int = 10_000,
    seed: int = 0,
) -> SeedDifference:
    """Compare two arms over their training runs, paired by seed and example.

    Args:
        a: Predictions of the first arm, by seed; or one log, which is compared with every seed of the other.
        b: Predictions of the second arm, likewise. Two arms with seeds must have the same ones.
        metric: Name as `luthier.metrics.registry.get_metric` takes it.
        output: Which of its outputs; None for its primary one.
        alpha: Level of the test; the interval has the level ``1 − alpha``.
        resamples: Bootstrap resamples of a single pair of logs, which is tested by `paired_difference`.
        permutations: Exchanges of its randomisation test.
        seed: Seed of both.

    Raises:
        DataError: The arms have other seeds, or lack what the metric needs.
        Faults: Several logs do not hold the same examples.
        ConfigError: The metric or output is not known.
    """
    chosen = get_metric(metric)
    name = output or chosen.primary
    if name not in chosen.outputs:
        raise ConfigError(f"The metric '{chosen.name}' has no output '{name}'.", fix=did_you_mean(name, chosen.outputs))
    pairs = paired_runs(a, b)
    if pairs.count == 1:
        found = paired_difference(
            pairs.first[0],
            pairs.second[0],
            metric,
            output,
            settings=PairedComparison(
                confidence=1 - alpha, alpha=alpha, resamples=resamples, permutations=permutations, seed=seed
            ),
        )
        return _difference_of_one_run(found, pairs.seeds)
    return _difference_of_runs(chosen, name, pairs, alpha)


def _scores_of_one_run(
    runs: Runs, metrics: Sequence[Named], confidence: float, resamples: int, seed: int
) -> list[SeedScore]:
    log = next(iter(runs.values()))
    found = score_predictions(log, metrics, confidence=confidence, resamples=resamples, seed=seed)
    return [
        SeedScore(
            output=score.metric,
            value=score.value,
            low=score.low,
            high=score.high,
            n=score.n,
            seeds=tuple(runs),
            values=(score.value,),
            spread=math.nan,
            variance="examples" if math.isfinite(score.low) else "none",
            standard_error=math.nan,
            method="interval over examples, for this one seed (luthier.metrics.scoring)",
        )
        for score in found
    ]


def _difference_of_one_run(found: Difference, seeds: tuple[int, ...]) -> SeedDifference:
    return SeedDifference(
        output=found.output,
        value=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        n=found.n,
        seeds=seeds,
        values=(found.value,),
        spread=math.nan,
        variance="examples" if math.isfinite(found.low) else "none",
        standard_error=math.nan,
        method=found.method,
        alpha=found.alpha,
        significant=found.significant,
        detectable=found.detectable,
    )


def _difference_of_runs(metric: Metric, output: str, pairs: PairedRuns, alpha: float) -> SeedDifference:
    clusters, at = clusters_of(pairs.first[0]), metric.outputs.index(output)
    values_a, table_a = (part[..., at] for part in linearised(metric, pairs.first, clusters))
    values_b, table_b = (part[..., at] for part in linearised(metric, pairs.second, clusters))
    values = values_a - values_b
    estimate = estimate_mean(values, table_a - table_b, clusters.count)
    if estimate.constant:
        arms = max(example_variance(table_a), example_variance(table_b))
        test = constant_difference_test(estimate, arms, alpha, share=metric.proportion)
    else:
        test = difference_test(estimate, alpha)
    ends = np.array([estimate.value - test.half_width, estimate.value + test.half_width])
    low, high = np.clip(ends, -1.0, 1.0) if metric.proportion else ends
    return SeedDifference(
        output=output,
        value=estimate.value,
        low=float(low),
        high=float(high),
        p_value=test.p_value,
        n=len(pairs.first[0]),
        seeds=pairs.seeds,
        values=tuple(values.tolist()),
        spread=spread_of(values),
        variance=estimate.variance if math.isfinite(test.half_width) else "none",
        standard_error=test.standard_error,
        method=describe_method(estimate, 1 - alpha, "test and interval"),
        alpha=alpha,
        significant=test.p_value < alpha,
        detectable=test.detectable,
    )
