"""Calibration exactly as HELM computes it (Liang et al. 2022, section 4.4), from the probabilities of choices.

HELM calls the library ``uncertainty-calibration`` 0.1.4 (Kumar, Liang and Ma 2019); the outputs have HELM's names.
The bins of `luthier.metrics.choice.calibration` are others: there bins of equal mass are cut at quantiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from luthier.metrics.choice.calibration import confidences
from luthier.metrics.metric import FloatArray, Metric, divide, with_count
from luthier.records import Prediction

WANTED = 300
"""Items from which ``ece_10_bin`` is reliable, as HELM's code says."""
_COUNTS = (10, 1)
_EDGE = 1e-12
_PENALTY = 1e-10
"""On the square of the slope of Platt's scaling: scikit-learn's ``C=1e10``, which HELM passes."""


def equal_mass_edges(confidence: FloatArray, bins: int) -> FloatArray:
    """Upper edges of bins of equal mass: midway between the last of a part of the sorted values and the next one.

    Args:
        confidence: float64 ``(n,)``.
        bins: How many; at most n, and equal edges are one.

    Returns:
        float64 ``(at most bins,)``, ascending; the last is 1.
    """
    parts = np.array_split(np.sort(confidence), min(bins, len(confidence)))
    between = [(low[-1] + high[0]) / 2 for low, high in itertools.pairwise(parts)]
    return np.unique([*between, 1.0])


def helm_ece(confidence: FloatArray, right: FloatArray, bins: int) -> float:
    """Expected calibration error with bins of equal mass; with one bin, mean confidence against accuracy."""
    gaps = np.bincount(_bins(confidence, bins), weights=confidence - right)
    return float(np.abs(gaps).sum() / len(confidence))


def selective_stats(confidence: FloatArray, right: FloatArray) -> tuple[float, float]:
    """Area under accuracy against coverage, and accuracy on the ``⌊0.1 · n⌋ + 1`` most confident items.

    Equal confidences stay in the order of the items; HELM's order of them is not defined.
    """
    accuracy = np.cumsum(right[np.argsort(-confidence, kind="stable")]) / np.arange(1, len(right) + 1)
    return float(accuracy.mean()), float(accuracy[int(0.1 * len(right))])


def platt_scaled(confidence: FloatArray, right: FloatArray) -> FloatArray:
    """Confidences after Platt's scaling: a logistic regression of right and wrong on their log-odds.

    It is fitted by Newton's method.

    Args:
        confidence: float64 ``(n,)``.
        right: Ones and zeros, float64 ``(n,)``, both among them.

    Returns:
        float64 ``(n,)``.
    """
    clipped = np.clip(confidence, _EDGE, 1 - _EDGE)
    odds = np.log(clipped / (1 - clipped))
    columns = np.stack([odds, np.ones_like(odds)], axis=1)
    parameters = np.zeros(2)
    for _ in range(100):
        given = _logistic(columns @ parameters)
        slope = columns.T @ (given - right) + [_PENALTY * parameters[0], 0.0]
        curve = (columns * (given * (1 - given))[:, None]).T @ columns + np.diag([_PENALTY, 0.0])
        step = _step(columns, right, parameters, np.linalg.lstsq(curve, slope, rcond=None)[0])
        parameters = parameters - step
        if np.abs(step).max() < 1e-10 * max(1.0, np.abs(parameters).max()):
            break
    return _logistic(columns @ parameters)


def _step(columns: FloatArray, right: FloatArray, parameters: FloatArray, step: FloatArray) -> FloatArray:
    """Halve a step of Newton's until it lowers the loss."""

    def loss(at: FloatArray) -> float:
        margin = (2 * right - 1) * (columns @ at)
        return float(np.logaddexp(0, -margin).sum() + _PENALTY / 2 * at[0] ** 2)

    before = loss(parameters)
    for _ in range(30):
        if loss(parameters - step) <= before:
            return step
        step = step / 2
    return np.zeros_like(step)


def helm_ece_metric() -> Metric:
    """``ece_10_bin`` (equal mass), ``ece_1_bin``, and both after Platt's scaling; lower is better.

    Bins are laid and Platt's scaling is fitted once, on all predictions; resamples use the same ones. Where all items
    are right or all are wrong, nothing can be scaled: both errors after it are 0, as in HELM.
    """
    outputs = tuple(f"{kind}ece_{bins}_bin" for kind in ("", "platt_") for bins in _COUNTS)

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        confidence, right = confidences(predictions)
        scalable = 0 < right.sum() < len(right)
        scaled = platt_scaled(confidence, right) if scalable else right
        columns = [_gaps(own, right, bins) for own in (confidence, scaled) for bins in _COUNTS]
        return with_count(np.hstack(columns))

    def aggregate(sums: FloatArray) -> FloatArray:
        parts = np.split(sums[..., 1:], np.cumsum([*_COUNTS, *_COUNTS])[:-1], axis=-1)
        return divide(np.stack([np.abs(part).sum(axis=-1) for part in parts], axis=-1), sums[..., :1])

    return Metric("helm_ece", outputs, "ece_10_bin", False, "", statistics, aggregate, context_free=False)


def _gaps(confidence: FloatArray, right: FloatArray, bins: int) -> FloatArray:
    """Return confidence less right of each item in the column of its bin, ``(n, bins)``."""
    rows = np.zeros((len(right), bins))
    rows[np.arange(len(right)), _bins(confidence, bins)] = confidence - right
    return rows


def _bins(confidence: FloatArray, bins: int) -> npt.NDArray[np.intp]:
    """Return the bin of each confidence: an edge belongs to the bin below it."""
    return np.searchsorted(equal_mass_edges(confidence, bins), confidence, side="left")


def helm_selective_metric() -> Metric:
    """``selective_acc@10`` and ``selective_cov_acc_area``; higher is better."""
    outputs = ("selective_cov_acc_area", "selective_acc@10")

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return np.stack(confidences(predictions), axis=1)

    def weighted(stats: FloatArray, weights: FloatArray) -> FloatArray:
        order = np.argsort(-stats[:, 0], kind="stable")
        ranked = stats[order]
        drawn = [np.repeat(ranked, row[order].astype(np.int64), axis=0) for row in weights]
        return np.array([selective_stats(own[:, 0], own[:, 1]) if len(own) else (math.nan,) * 2 for own in drawn])

    def aggregate(sums: FloatArray) -> FloatArray:
        # Of one example alone: whether it is right.
        return np.stack([sums[..., 1], sums[..., 1]], axis=-1)

    return Metric("helm_selective", outputs, outputs[0], True, "", statistics, aggregate, weighted=weighted)


def _logistic(values: FloatArray) -> FloatArray:
    return np.asarray(1 / (1 + np.exp(-np.clip(values, -700, 700))))
