"""What a task's primary score is by chance, and whether a model can do the task at all."""

from __future__ import annotations

import math

from luthier.metrics.registry import get_metric
from luthier.metrics.scoring import score_predictions
from luthier.metrics.seed_runs import Log
from luthier.metrics.task_metrics import TaskMetrics


def chance_level(log: Log, task_metrics: TaskMetrics) -> float | None:
    """Return the primary score of random guesses: the task's own, or for an accuracy the mean of 1 / choices."""
    if task_metrics.chance is not None:
        return task_metrics.chance
    metric = get_metric(task_metrics.primary_metric)
    if not metric.proportion or metric.name == "selective" or not all(one.choices for one in log):
        return None
    return math.fsum(1 / len(one.choices) for one in log) / len(log)


def known_chance(log: Log, task_metrics: TaskMetrics) -> float | None:
    """Return :func:`chance_level`, else 0 for a bounded score; None where nobody knows what guessing gives."""
    chance = chance_level(log, task_metrics)
    if chance is None and task_metrics.higher_is_better and task_metrics.scale is not None:
        return 0.0
    return chance


def above_chance(low: float, high: float, chance: float | None, task_metrics: TaskMetrics) -> bool:
    """Whether an interval of the primary score lies on the better side of chance: the model can do the task.

    Args:
        low: Lower end; NaN where there is no interval, which shows nothing.
        high: Upper end.
        chance: From :func:`chance_level`. A score of a bounded scale without one (BLEU, ROUGE) is at least above 0; of
            a loss nothing is known, and so nothing is said against it.
        task_metrics: How the task is judged.
    """
    if chance is None:
        return not task_metrics.higher_is_better or task_metrics.scale is None or low > 0
    return low > chance if task_metrics.higher_is_better else high < chance


def able(before: Log, task_metrics: TaskMetrics, *, confidence: float = 0.95, resamples: int = 1000) -> bool:
    """Whether a model can do a task: the whole interval of its primary score lies on the better side of chance."""
    scores = score_predictions(before, [task_metrics.primary_metric], confidence=confidence, resamples=resamples)
    score = next(score for score in scores if score.metric == task_metrics.primary)
    return above_chance(score.low, score.high, chance_level(before, task_metrics), task_metrics)
