"""From logged predictions to scores, retention and paired differences. Reads finished results, never a model.

A trained arm may have several logs, one for each seed that it was trained with; with one log every number is that of
`luthier.metrics.scoring` and `luthier.metrics.significance`, with several that of `luthier.metrics.seeds`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

from luthier.config.evaluation import ScoringConfig
from luthier.metrics.chance import above_chance, chance_level
from luthier.metrics.difference_interval import POWER, detectable_difference
from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import reference_count, score_predictions, score_signature
from luthier.metrics.seed_runs import Log, Runs
from luthier.metrics.seeds import difference_over_seeds, scores_over_seeds
from luthier.metrics.significance import PairedComparison, holm, paired_difference
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Score, Variance
from luthier.results.change import Change
from luthier.results.records import Pair, RetentionResult

Logs: TypeAlias = Log | Runs
"""Predictions of an arm: one log where nothing was trained, or one by each seed that it was trained with."""

_VARIANCES: Mapping[str, Variance] = {"examples and seeds": "examples and training runs"}


def score(
    predictions: Log, task_metrics: TaskMetrics, config: ScoringConfig, context: Mapping[str, str]
) -> tuple[Score, ...]:
    """Score predictions by all metrics of a task; the primary output comes first."""
    scores = score_predictions(
        predictions, task_metrics.metrics, context=context, confidence=config.confidence, resamples=config.resamples
    )
    return _primary_first(scores, task_metrics)


def score_over_seeds(
    logs: Logs, task_metrics: TaskMetrics, config: ScoringConfig, context: Mapping[str, str]
) -> tuple[Score, ...]:
    """Score an arm over its training runs; the primary output comes first.

    The value is the mean over seeds, and so is each number of the detail; ``spread`` is the standard deviation over
    seeds. The interval holds the variance of training runs where there are three or more.

    Raises:
        DataError: There is no run, or the predictions lack what a metric needs.
        Faults: Several runs do not hold the same examples.
    """
    runs = _runs(logs)
    if len(runs) == 1:
        return score(next(iter(runs.values())), task_metrics, config, context)
    # In the same order: every output of every metric.
    found = scores_over_seeds(runs, task_metrics.metrics, confidence=config.confidence, resamples=config.resamples)
    metrics = [metric for name in task_metrics.metrics for metric in [get_metric(name)] for _ in metric.outputs]
    details = _mean_details(runs, task_metrics)
    references = reference_count(next(iter(runs.values())))
    interval = f"{100 * config.confidence:g}%t"
    scores = [
        Score(
            metric=one.output,
            value=one.value,
            n=one.n,
            low=one.low,
            high=one.high,
            signature=score_signature(metric, references, interval, {**context, "seeds": str(len(runs))}),
            detail=detail,
            confidence=config.confidence,
            variance=_VARIANCES.get(one.variance, "examples"),
            spread=_known(one.spread),
        )
        for one, metric, detail in zip(found, metrics, details, strict=True)
    ]
    return _primary_first(scores, task_metrics)


def change(a: Log, b: Log, task_metrics: TaskMetrics, config: ScoringConfig, *, test: str = "randomisation") -> Change:
    """Compare two logs of the same examples by the primary output: ``a - b``.

    ``test`` is that of :class:`luthier.metrics.significance.PairedComparison`.
    """
    found = paired_difference(
        a,
        b,
        task_metrics.primary_metric,
        task_metrics.primary,
        settings=PairedComparison(
            test=test, confidence=config.confidence, alpha=1 - config.confidence, resamples=config.resamples
        ),
    )
    return Change(
        value=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        n=found.n,
        significant=found.significant,
        confidence=found.confidence,
        detectable=found.detectable,
    )


def change_over_seeds(a: Logs, b: Logs, task_metrics: TaskMetrics, config: ScoringConfig) -> Change:
    """Compare two arms by the primary output, paired by seed and example: ``a - b``.

    An arm with one log (in-context learning, the base) is held against every seed of the other.

    Raises:
        DataError: Both have several seeds, and not the same ones.
        Faults: Several logs do not hold the same examples.
    """
    runs_a, runs_b = _runs(a), _runs(b)
    if len(runs_a) == len(runs_b) == 1:
        return change(next(iter(runs_a.values())), next(iter(runs_b.values())), task_metrics, config)
    found = difference_over_seeds(
        _log_or_runs(runs_a),
        _log_or_runs(runs_b),
        task_metrics.primary_metric,
        task_metrics.primary,
        alpha=1 - config.confidence,
        resamples=config.resamples,
    )
    return Change(
        value=found.value,
        low=found.low,
        high=found.high,
        p_value=found.p_value,
        n=found.n,
        significant=found.significant,
        confidence=config.confidence,
        variance=_VARIANCES.get(found.variance, "examples"),
        spread=_known(found.spread),
        detectable=found.detectable,
    )


def retention(
    before: Log, after: Log, task_metrics: TaskMetrics, config: ScoringConfig, context: Mapping[str, str]
) -> RetentionResult:
    """Measure what an arm kept of a task that it was not trained on."""
    return retention_over_seeds(before, after, task_metrics, config, context)


def retention_over_seeds(
    before: Log, after: Logs, task_metrics: TaskMetrics, config: ScoringConfig, context: Mapping[str, str]
) -> RetentionResult:
    """Measure what the training runs of an arm kept of a task; the base answered once, before all of them."""
    first = score(before, task_metrics, config, context)[0]
    return RetentionResult(
        task=task_metrics.task,
        metric=task_metrics.primary,
        higher_is_better=task_metrics.higher_is_better,
        chance=task_metrics.chance,
        before=first,
        after=score_over_seeds(after, task_metrics, config, context)[0],
        change=change_over_seeds(after, before, task_metrics, config),
        scale=task_metrics.scale,
        able=above_chance(first.low, first.high, chance_level(before, task_metrics), task_metrics),
    )


def corrected(changes: Sequence[Change], config: ScoringConfig) -> list[Change]:
    """Apply Holm's correction (1979) to differences that are looked at together; intervals stay as they are.

    The smallest difference that could have been found is stated for the level of the correction's first step, α divided
    by the number of comparisons.
    """
    adjusted = holm([item.p_value for item in changes])
    alpha = 1 - config.confidence
    wider = _detectable_factor(alpha, sum(not math.isnan(item.p_value) for item in changes))
    return [
        replace(
            item,
            p_value=p_value,
            significant=p_value < alpha,
            detectable=None if item.detectable is None else item.detectable * wider,
        )
        for item, p_value in zip(changes, adjusted, strict=True)
    ]


def _detectable_factor(alpha: float, comparisons: int) -> float:
    """Return how much greater a detectable difference is at α / comparisons than at α: in the same power."""
    if comparisons < 2:
        return 1.0
    return detectable_difference(1.0, alpha / comparisons, POWER) / detectable_difference(1.0, alpha, POWER)


def corrected_retention(results: Sequence[RetentionResult], config: ScoringConfig) -> tuple[RetentionResult, ...]:
    """Correct the changes of one arm's retained tasks for their number."""
    changes = corrected([item.change for item in results], config)
    return tuple(replace(item, change=change) for item, change in zip(results, changes, strict=True))


def all_pairs(logs: Mapping[str, Logs], task_metrics: TaskMetrics, config: ScoringConfig) -> tuple[Pair, ...]:
    """Compare every two arms on the target task, corrected for their number.

    Args:
        logs: Of each arm, in the order in which they are compared.
        task_metrics: How the task is judged.
        config: Level and resamples.
    """
    names = list(itertools.combinations(logs, 2))
    changes = [change_over_seeds(logs[b], logs[a], task_metrics, config) for a, b in names]
    return tuple(Pair(b, a, found) for (a, b), found in zip(names, corrected(changes, config), strict=True))


def _runs(logs: Logs) -> Runs:
    return logs if isinstance(logs, Mapping) else {0: logs}


def _log_or_runs(runs: Runs) -> Logs:
    # A single log stands against every seed of the other arm, whichever seed it has itself.
    return next(iter(runs.values())) if len(runs) == 1 else runs


def _mean_details(runs: Runs, task_metrics: TaskMetrics) -> list[dict[str, float]]:
    """Return the detail of every output of every metric, averaged over runs; those of one key are in every run."""
    by_run = [score_predictions(log, task_metrics.metrics, resamples=0) for log in runs.values()]
    return [
        {key: math.fsum(one.detail[key] for one in same) / len(same) for key in same[0].detail}
        for same in zip(*by_run, strict=True)
    ]


def _known(spread: float) -> float | None:
    return None if math.isnan(spread) else spread


def _primary_first(scores: Sequence[Score], task_metrics: TaskMetrics) -> tuple[Score, ...]:
    return tuple(sorted(scores, key=lambda item: item.metric != task_metrics.primary))
