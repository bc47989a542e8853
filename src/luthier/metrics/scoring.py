"""Compute scores from predictions: each value with its confidence interval and its signature."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from luthier.metrics.answer_extraction import check_predictions
from luthier.metrics.metric import FloatArray, Metric
from luthier.metrics.registry import Named, get_metric
from luthier.metrics.resampling import (
    Clusters,
    clusters_of,
    jackknifed,
    resampled,
    share_interval,
    unvaried_interval,
)
from luthier.metrics.settled import UNVARIED, defined_interval, end_noise, until_settled
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction, Score


def primary_value(predictions: Sequence[Prediction], task_metrics: TaskMetrics) -> float:
    """Return the primary output of a task alone, without an interval; raises as :func:`score_predictions` does."""
    scores = score_predictions(predictions, [task_metrics.primary_metric], resamples=0)
    return next(score.value for score in scores if score.metric == task_metrics.primary)


def score_predictions(
    predictions: Sequence[Prediction],
    metrics: Sequence[Named],
    *,
    context: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> list[Score]:
    """Score predictions by several metrics.

    Args:
        predictions: What the model answered; those of one group are resampled together.
        metrics: Names as `luthier.metrics.registry.get_metric` takes them (``"rouge"``, ``"bleu:tokenize=zh"``).
        context: What else the values depend on (``{"split": "test", "shots": "0"}``); added to the signature, sorted.
        confidence: Level of the intervals, as a share.
        resamples: Bootstrap resamples, at least (`luthier.metrics.settled`); 0 leaves the intervals NaN.
        seed: Seed of the resamples.

    Returns:
        One score for every output of every metric. The interval is Wilson's where the number is a share of right
        answers, otherwise the BCa bootstrap's; NaN where fewer than two groups leave it undefined. Where nothing varies
        it is the bound for values that were not seen, and NaN for numbers without a scale.

    Raises:
        DataError: There are no predictions, or they lack what a metric needs.
        ConfigError: A metric is not known.
    """
    chosen = [get_metric(name) for name in metrics]
    check_predictions(predictions)
    stats = [metric.statistics(predictions) for metric in chosen]
    clusters = clusters_of(predictions)
    bootstrap = _BootstrapSettings(clusters, confidence, resamples, seed)
    references = reference_count(predictions)
    unparsed = _unparsed(predictions)
    scores: list[Score] = []
    for metric, rows, ends in zip(chosen, stats, _intervals(chosen, stats, bootstrap), strict=True):
        values, details = metric.evaluate(rows), metric.details(rows.sum(axis=0))
        signature = score_signature(metric, references, ends.method, context or {})
        for i, output in enumerate(metric.outputs):
            low, high = ends.bounds[i]
            detail = dict(details[i] if details else {}) | unparsed
            value, n = float(values[i]), len(predictions)
            scores.append(Score(output, value, n, low, high, signature, dict(detail), confidence))
    return scores


def reference_count(predictions: Sequence[Prediction]) -> str:
    """Return the number of references per example; ``"var"`` where it differs between examples."""
    counts = {len(prediction.targets) for prediction in predictions}
    return str(counts.pop()) if len(counts) == 1 else "var"


def _unparsed(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the share of predictions in which no answer was found, where answers are extracted."""
    if all(prediction.generated is None for prediction in predictions):
        return {}
    return {"unparsed": sum(prediction.unparsed for prediction in predictions) / len(predictions)}


@dataclass(frozen=True)
class _BootstrapSettings:
    clusters: Clusters
    confidence: float
    resamples: int
    seed: int


@dataclass(frozen=True)
class _Intervals:
    method: str
    bounds: list[tuple[float, float]] = field(default_factory=list)


def _intervals(
    metrics: Sequence[Metric], stats: Sequence[FloatArray], bootstrap: _BootstrapSettings
) -> list[_Intervals]:
    """Compute the interval of every output of every metric, all from the same resamples."""
    clusters = bootstrap.clusters
    if clusters.count < 2 or bootstrap.resamples == 0:
        return [_Intervals("none", [(math.nan, math.nan)] * len(metric.outputs)) for metric in metrics]
    drawn = [i for i, metric in enumerate(metrics) if not metric.proportion]
    by_metric = dict(
        zip(drawn, _settled([metrics[i] for i in drawn], [stats[i] for i in drawn], bootstrap), strict=True)
    )
    percent = f"{100 * bootstrap.confidence:g}"
    found = []
    for i, metric in enumerate(metrics):
        if metric.proportion:
            ends = [
                share_interval(stats[i][:, 1 + j], clusters, bootstrap.confidence) for j in range(len(metric.outputs))
            ]
            found.append(_Intervals(f"{percent}%wilson", ends))
        else:
            ends = _bca(metric, by_metric[i], bootstrap)
            found.append(_Intervals(f"{percent}%bca{bootstrap.resamples}", ends))
    return found


@dataclass(frozen=True)
class _Resamples:
    """What a BCa interval is made of.

    Attributes:
        values: Outputs on the data, float64 ``(m,)``.
        left_out: Outputs with one cluster left out, float64 ``(groups, m)``.
        samples: Outputs on the resamples, float64 ``(b, m)``.
    """

    values: FloatArray
    left_out: FloatArray
    samples: FloatArray


def _settled(metrics: Sequence[Metric], stats: Sequence[FloatArray], bootstrap: _BootstrapSettings) -> list[_Resamples]:
    """Resample metrics, all of them together, until the ends of each one's intervals are settled."""
    clusters, confidence = bootstrap.clusters, bootstrap.confidence
    values = [metric.evaluate(rows) for metric, rows in zip(metrics, stats, strict=True)]
    left_out = [jackknifed(metric, rows, clusters) for metric, rows in zip(metrics, stats, strict=True)]

    def draw(which: Sequence[int], count: int, further: int) -> list[FloatArray]:
        chosen, rows = [metrics[i] for i in which], [stats[i] for i in which]
        return resampled(chosen, rows, clusters, count, bootstrap.seed, further=further) if chosen else []

    def noise(i: int, samples: FloatArray) -> float:
        outputs = range(samples.shape[1])
        return max(end_noise(samples[:, j], float(values[i][j]), left_out[i][:, j], confidence) for j in outputs)

    samples = until_settled(draw, noise, count=len(metrics), clusters=clusters.count, resamples=bootstrap.resamples)
    return [_Resamples(*parts) for parts in zip(values, left_out, samples, strict=True)]


def _bca(metric: Metric, found: _Resamples, bootstrap: _BootstrapSettings) -> list[tuple[float, float]]:
    ends = []
    for j, value in enumerate(map(float, found.values)):
        low, high = defined_interval(found.samples[:, j], value, found.left_out[:, j], bootstrap.confidence)
        if high - low <= UNVARIED * max(abs(value), 1.0):  # not of NaN
            low = high = math.nan
            if metric.scale is not None:
                n = bootstrap.clusters.count
                low, high = unvaried_interval(value, metric.lowest, metric.scale, n, bootstrap.confidence)
        ends.append((low, high))
    return ends


def score_signature(metric: Metric, references: str, interval: str, context: Mapping[str, str]) -> str:
    """Return the signature of a score: what it depends on, as ``key:value|key:value``.

    Args:
        metric: The metric.
        references: References per example, as `reference_count` returns it.
        interval: How its interval was computed.
        context: What else the score depends on; sorted.
    """
    tail = "".join(f"|{key}:{value}" for key, value in sorted(context.items()))
    return f"{metric.signature(references)}|ci:{interval}{tail}"
