"""From logged predictions to scores, retention and paired differences. Reads finished results, never a model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

from luthier.config.evaluation import EvaluationConfig
from luthier.metrics.scoring import score_predictions
from luthier.metrics.significance import holm, paired_difference
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction, Score
from luthier.results.records import Change, Pair, RetentionResult


def score(
    predictions: Sequence[Prediction], task_metrics: TaskMetrics, config: EvaluationConfig, context: Mapping[str, str]
) -> tuple[Score, ...]:
    """Score predictions by all metrics of a task; the primary output comes first."""
    scores = score_predictions(
        predictions, task_metrics.metrics, context=context, confidence=config.confidence, resamples=config.resamples
    )
    return tuple(sorted(scores, key=lambda item: item.metric != task_metrics.primary))


def change(
    a: Sequence[Prediction], b: Sequence[Prediction], task_metrics: TaskMetrics, config: EvaluationConfig
) -> Change:
    """Compare two logs of the same examples by the primary output: ``a - b``."""
    found = paired_difference(
        a,
        b,
        task_metrics.primary_metric,
        task_metrics.primary,
        confidence=config.confidence,
        alpha=1 - config.confidence,
        resamples=config.resamples,
    )
    return Change(found.value, found.low, found.high, found.p_value, found.n, found.significant, found.confidence)


def retention(
    before: Sequence[Prediction],
    after: Sequence[Prediction],
    task_metrics: TaskMetrics,
    config: EvaluationConfig,
    context: Mapping[str, str],
) -> RetentionResult:
    """Measure what an arm kept of a task that it was not trained on."""
    return RetentionResult(
        task=task_metrics.task,
        metric=task_metrics.primary,
        higher_is_better=task_metrics.higher_is_better,
        chance=task_metrics.chance,
        before=score(before, task_metrics, config, context)[0],
        after=score(after, task_metrics, config, context)[0],
        change=change(after, before, task_metrics, config),
        scale=task_metrics.scale,
    )


def corrected(changes: Sequence[Change], config: EvaluationConfig) -> list[Change]:
    """Apply Holm's correction (1979) to differences that are looked at together."""
    adjusted = holm([item.p_value for item in changes])
    alpha = 1 - config.confidence
    return [
        replace(item, p_value=p_value, significant=p_value < alpha)
        for item, p_value in zip(changes, adjusted, strict=True)
    ]


def all_pairs(
    logs: Mapping[str, Sequence[Prediction]], task_metrics: TaskMetrics, config: EvaluationConfig
) -> tuple[Pair, ...]:
    """Compare every two arms on the target task, corrected for their number."""
    names = list(itertools.combinations(logs, 2))
    changes = [change(logs[b], logs[a], task_metrics, config) for a, b in names]
    return tuple(Pair(b, a, found) for (a, b), found in zip(names, corrected(changes, config), strict=True))
