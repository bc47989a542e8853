"""The worst version of each item, in the metric's own direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from luthier.metrics.metric import FloatArray
from luthier.metrics.registry import get_metric
from luthier.metrics.seed_runs import Log
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction


def worst_versions(original: Log, perturbed: Sequence[Log], task_metrics: TaskMetrics) -> list[Prediction]:
    """Return for each item the answer that is the worst of its versions; the original where none is worse.

    HELM takes the minimum of every number, also of those where less is better; here the worst is what it says. Where an
    item alone has no score of its own (the labels of all items make one, as for Matthews' correlation), right is better
    than wrong.

    Args:
        original: Answers to the items as they are.
        perturbed: Answers to the items of each perturbation; one that is missing does not count.
        task_metrics: How the task is judged.
    """
    found = list(original)
    worst = item_scores(original, task_metrics)
    place = {prediction.id: i for i, prediction in enumerate(original)}
    for log in perturbed:
        for prediction, value in zip(log, item_scores(log, task_metrics), strict=True):
            i = place.get(prediction.id)
            if i is not None and value < worst[i]:
                found[i], worst[i] = prediction, value
    return found


def item_scores(log: Log, task_metrics: TaskMetrics) -> FloatArray:
    """Score every item by itself, float64 ``(n,)``, turned so that higher is better."""
    metric = get_metric(task_metrics.primary_metric)
    at = metric.outputs.index(task_metrics.primary)
    values = metric.rows(metric.statistics(log))[:, at] if metric.context_free else _right(log)
    if metric.context_free and not metric.higher_is_better:
        values = -values
    return np.asarray(values)


def _right(log: Log) -> FloatArray:
    accuracy = get_metric("accuracy")
    return accuracy.rows(accuracy.statistics(log))[:, 0]


def all_versions(logs: Sequence[Log]) -> list[Prediction]:
    """Return the answers to all versions of all items, where those of one item are one cluster.

    An item that belongs to a group already stays in it: the versions of the group's items are in one cluster then.
    """
    return [
        replace(prediction, id=f"{prediction.id}@{version}", group=prediction.group or prediction.id)
        for version, log in enumerate(logs)
        for prediction in log
    ]
