"""Bootstrap resamples of predictions, and confidence intervals.

Examples of one group (a passage, a conversation) are resampled together, because their errors are not independent; an
interval that ignores this is too narrow (Miller 2024, "Adding Error Bars to Evals", section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from luthier.metrics.metric import FloatArray, Metric
from luthier.metrics.overlap.token_ids import on_all_cores
from luthier.records import Prediction

IntArray: TypeAlias = npt.NDArray[np.int64]

_NORMAL = NormalDist()
# Weights that a thread holds at once: half a million float64 take 4 MB and fit in its cache.
_CELLS = 500_000
_MOST_JACKKNIFE = 1000


@dataclass(frozen=True)
class Clusters:
    """Which examples are resampled together.

    Attributes:
        of: Cluster of each example, int64 ``(n,)``, from 0 to ``count - 1``.
        count: Number of clusters; equal to n when every example stands alone.
    """

    of: IntArray
    count: int

    @property
    def alone(self) -> bool:
        """Whether every example is its own cluster."""
        return self.count == len(self.of)


def clusters_of(predictions: Sequence[Prediction]) -> Clusters:
    """Cluster predictions by ``(task, group)``; a prediction without a group is a cluster of its own."""
    seen: dict[object, int] = {}
    keys = ((p.task, p.group) if p.group else i for i, p in enumerate(predictions))
    of = np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)
    return Clusters(of, len(seen))


def cluster_sums(stats: FloatArray, clusters: Clusters) -> FloatArray:
    """Sum statistics ``(n, k)`` within clusters → ``(count, k)``."""
    if clusters.alone:
        return stats
    order = np.argsort(clusters.of, kind="stable")
    starts = np.flatnonzero(np.diff(clusters.of[order], prepend=-1))
    return np.asarray(np.add.reduceat(stats[order], starts, axis=0))


def bootstrap_weights(count: int, rows: int, seed: np.random.SeedSequence) -> FloatArray:
    """Draw ``count`` clusters with replacement, ``rows`` times: how often each was drawn, float64 ``(rows, count)``."""
    drawn = np.random.default_rng(seed).integers(count, size=(rows, count))
    weights = np.empty((rows, count))
    for row, clusters in zip(weights, drawn, strict=True):
        row[:] = np.bincount(clusters, minlength=count)
    return weights


def resampled(
    metrics: Sequence[Metric],
    stats: Sequence[FloatArray],
    clusters: Clusters,
    resamples: int,
    seed: int,
    *,
    further: int = 0,
) -> list[FloatArray]:
    """Evaluate several metrics on the same bootstrap resamples.

    Args:
        metrics: The metrics.
        stats: Statistics ``(n, k)`` of each.
        clusters: Which examples are resampled together.
        resamples: Number of resamples.
        seed: Seed of the draw; the same seed and clusters give the same resamples for every system.
        further: Number of a further draw by this seed, independent of the others.

    Returns:
        For each metric, float64 ``(resamples, m)``.
    """
    sums = [cluster_sums(s, clusters) if m.weighted is None else s for m, s in zip(metrics, stats, strict=True)]
    step = max(1, _CELLS // clusters.count)
    starts = range(0, resamples, step)
    # One seed per block, so that the draw does not depend on the number of threads.
    seeds = np.random.SeedSequence((seed, further) if further else seed).spawn(len(starts))

    def block(task: tuple[int, np.random.SeedSequence]) -> list[FloatArray]:
        weights = bootstrap_weights(clusters.count, min(step, resamples - task[0]), task[1])
        spread = weights if all(m.weighted is None for m in metrics) else weights[:, clusters.of]
        return [m.evaluate(s, weights if m.weighted is None else spread) for m, s in zip(metrics, sums, strict=True)]

    blocks = on_all_cores(list(zip(starts, seeds, strict=True)), block)
    return [np.concatenate(parts) for parts in zip(*blocks, strict=True)]


def jackknifed(metric: Metric, stats: FloatArray, clusters: Clusters) -> FloatArray:
    """Evaluate with one cluster left out at a time, float64 ``(groups, m)``; at most 1,000 groups of clusters.

    Above 1,000 clusters several are left out together (the delete-a-group jackknife), which estimates the
    acceleration of BCa intervals and the pseudo-values of runs equally well.
    """
    groups = min(clusters.count, _MOST_JACKKNIFE)
    # Distribute clusters evenly over groups; neighbouring clusters share one.
    group = clusters.of * groups // clusters.count
    if metric.weighted is None:
        left_out = np.zeros((groups, stats.shape[1]))
        np.add.at(left_out, group, stats)
        return metric.aggregate(stats.sum(axis=0) - left_out)
    step = max(1, _CELLS // len(stats))
    parts = [
        metric.evaluate(
            stats, (group[None, :] != np.arange(start, min(start + step, groups))[:, None]).astype(np.float64)
        )
        for start in range(0, groups, step)
    ]
    return np.concatenate(parts)


def percentile_interval(samples: FloatArray, confidence: float) -> tuple[float, float]:
    """Percentile bootstrap interval of resampled values ``(b,)``; NaN when one of them is undefined."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def bca_interval(samples: FloatArray, value: float, left_out: FloatArray, confidence: float) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval (Efron 1987), as in scipy.stats.bootstrap.

    Args:
        samples: Values on the resamples, float64 ``(b,)``.
        value: Value on the data.
        left_out: Values with one cluster left out, float64 ``(groups,)``.
        confidence: Level of the interval, such as 0.95.

    Returns:
        Low and high; the percentile interval where every resample lies on one side of the value.
    """
    below = (np.count_nonzero(samples < value) + np.count_nonzero(samples <= value)) / (2 * len(samples))
    if not 0 < below < 1 or not np.isfinite(left_out).all():
        return percentile_interval(samples, confidence)
    bias = _NORMAL.inv_cdf(below)
    pull = left_out.mean() - left_out
    scale = float((pull**2).sum()) ** 1.5
    acceleration = float((pull**3).sum()) / (6 * scale) if scale > 0 else 0.0
    ends = []
    for tail in ((1 - confidence) / 2, (1 + confidence) / 2):
        z = bias + _NORMAL.inv_cdf(tail)
        ends.append(_NORMAL.cdf(bias + z / (1 - acceleration * z)))
    low, high = np.quantile(samples, ends)
    return float(low), float(high)


def unvaried_interval(value: float, lowest: float, highest: float, n: float, confidence: float) -> tuple[float, float]:
    """Interval of a mean of n independent values that are all the same, on a scale with two ends.

    Of n values none deviates. Wilson's bound (1927) for the share that does is ``z² / (n + z²)``, and what deviates may
    lie at either end of the scale. For 0 and 1 on the scale of shares this is Wilson's interval.
    """
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    share = z * z / (n + z * z)
    return value - share * max(value - lowest, 0.0), value + share * max(highest - value, 0.0)


def wilson_interval(share: float, n: float, confidence: float) -> tuple[float, float]:
    """Wilson's interval (1927) for a share of n independent trials, within 0 and 1 and never of zero width.

    `luthier.metrics.variance_components.proportion_interval` computes the same interval from a half-width instead of n.
    The two are separate because the algebra that serves both would change the last bit of one of them.
    """
    z = _NORMAL.inv_cdf((1 + confidence) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def clustered_standard_error(values: FloatArray, clusters: Clusters) -> float:
    """Standard error of a mean whose examples come in clusters (Miller 2024, eq. 4; Liang and Zeger 1986).

    With every example alone this is ``sqrt(mean((v - mean)²) / n)`` times ``sqrt(n / (n - 1))``.

    Args:
        values: float64 ``(n,)``.
        clusters: Which examples belong together.

    Returns:
        NaN for fewer than two clusters, because one cluster does not show the variance between clusters.
    """
    if clusters.count < 2:
        return math.nan
    pulls = cluster_sums((values - values.mean())[:, None], clusters)
    variance = float((pulls**2).sum()) / len(values) ** 2
    return math.sqrt(variance * clusters.count / (clusters.count - 1))


def share_interval(values: FloatArray, clusters: Clusters, confidence: float) -> tuple[float, float]:
    """Wilson's interval for a mean of zeros and ones; clusters shrink n by the design effect (Korn, Graubard 1998)."""
    share = float(values.mean())
    n = float(clusters.count)
    if not clusters.alone:
        error = clustered_standard_error(values, clusters)
        if error > 0 and 0 < share < 1:
            n = min(share * (1 - share) / error**2, float(len(values)))
    return wilson_interval(share, n, confidence)
