"""The standard error of a number over examples."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from luthier.metrics.metric import FloatArray, Metric, mean_of
from luthier.metrics.registry import get_metric
from luthier.metrics.resampling import clustered_standard_error, clusters_of, resampled
from luthier.records import Prediction

_RESAMPLES = 1000


def standard_error(predictions: Sequence[Prediction], metric_name: str, outputs: Sequence[str]) -> float:
    """Return the standard error of one output of a metric, or of the mean of several.

    Of a mean over examples it is ``s/√n`` with Bessel's s, clustered where examples share a group (Miller 2024, eq. 4);
    of any other number the standard deviation of bootstrap resamples.

    Args:
        predictions: What was answered.
        metric_name: As :func:`luthier.metrics.registry.get_metric` takes it.
        outputs: Names of its outputs.

    Returns:
        NaN for fewer than two examples or groups.
    """
    metric = get_metric(metric_name)
    places = [metric.outputs.index(name) for name in outputs]
    stats, clusters = metric.statistics(predictions), clusters_of(predictions)
    if clusters.count < 2:
        return math.nan
    if metric.aggregate is mean_of:
        values = metric.rows(stats)[:, places].mean(axis=1)
        return clustered_standard_error(values, clusters)
    return float(_resamples(metric, stats, predictions)[:, places].mean(axis=1).std(ddof=1))


def _resamples(metric: Metric, stats: FloatArray, predictions: Sequence[Prediction]) -> FloatArray:
    found = resampled([metric], [stats], clusters_of(predictions), _RESAMPLES, seed=0)[0]
    return np.asarray(found)
