"""Does the model know what it knows? Calibration from the stored probabilities of choices: no further model call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from luthier.metrics.answer_extraction import choice_logprobs, is_right
from luthier.metrics.metric import FloatArray, Metric, divide, mean_of, with_count
from luthier.records import Prediction

BIN_COUNTS = (10, 15)


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """One bar of a reliability diagram; a calibrated model has ``accuracy == confidence`` in every bar.

    Attributes:
        low: Lower edge of the bin, exclusive.
        high: Upper edge of the bin, inclusive.
        n: Predictions in the bin.
        confidence: Their mean confidence; NaN when the bin is empty.
        accuracy: Share of them that are right; NaN when the bin is empty.
    """

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float


def choice_probabilities(prediction: Prediction) -> FloatArray:
    """Softmax of the choices' log-probabilities, float64 ``(choices,)``; equal shares when all are impossible."""
    values = choice_logprobs(prediction, "calibration")
    if not np.isfinite(values.max()):
        return np.full(len(values), 1 / len(values))
    shares = np.exp(values - values.max())
    return np.asarray(shares / shares.sum())


def confidences(predictions: Sequence[Prediction]) -> tuple[FloatArray, FloatArray]:
    """Probability of the likeliest choice, and 1 where it is right: two float64 ``(n,)``."""
    confidence, right = np.empty(len(predictions)), np.empty(len(predictions))
    for i, prediction in enumerate(predictions):
        shares = choice_probabilities(prediction)
        best = int(shares.argmax())
        confidence[i], right[i] = shares[best], is_right(prediction, prediction.choices[best])
    return confidence, right


def bin_edges(confidence: FloatArray, bins: int, *, equal_mass: bool) -> FloatArray:
    """Edges ``(bins + 1,)`` of bins of equal width over [0, 1], or of equal numbers of the given confidences."""
    if not equal_mass:
        return np.linspace(0.0, 1.0, bins + 1)
    edges = np.quantile(confidence, np.linspace(0.0, 1.0, bins + 1))
    edges[0], edges[-1] = 0.0, 1.0
    return edges


def bin_of(confidence: FloatArray, edges: FloatArray) -> npt.NDArray[np.intp]:
    """Bin of each confidence: bin i holds ``edges[i] < c <= edges[i + 1]``, as in Guo et al. 2017."""
    return np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)


def reliability(
    predictions: Sequence[Prediction], *, bins: int = 10, equal_mass: bool = False
) -> tuple[ReliabilityBin, ...]:
    """The bars of a reliability diagram, from the lowest confidence to the highest.

    Raises:
        DataError: A prediction has no log-probabilities of choices.
    """
    confidence, right = confidences(predictions)
    edges = bin_edges(confidence, bins, equal_mass=equal_mass)
    place = bin_of(confidence, edges)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    mean_confidence = divide(_sum_by(place, confidence, bins), count)
    accuracy = divide(_sum_by(place, right, bins), count)
    return tuple(
        ReliabilityBin(
            float(edges[i]), float(edges[i + 1]), int(count[i]), float(mean_confidence[i]), float(accuracy[i])
        )
        for i in range(bins)
    )


def _sum_by(place: npt.NDArray[np.intp], values: FloatArray, bins: int) -> FloatArray:
    return np.bincount(place, weights=values, minlength=bins).astype(np.float64)


def ece_metric() -> Metric:
    """Expected calibration error with 10 and 15 bins of equal width (Guo et al. 2017) and of equal mass.

    Bins are laid once, on all predictions; resamples use the same ones.
    """
    schemes = [(bins, mass) for mass in (False, True) for bins in BIN_COUNTS]
    outputs = tuple(f"ece_mass_{bins}" if mass else f"ece_{bins}" for bins, mass in schemes)

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        confidence, right = confidences(predictions)
        # An example adds (confidence − right) to its bin: the sum over a bin is its count times its gap.
        columns = []
        for bins, mass in schemes:
            column = np.zeros((len(predictions), bins))
            place = bin_of(confidence, bin_edges(confidence, bins, equal_mass=mass))
            column[np.arange(len(predictions)), place] = confidence - right
            columns.append(column)
        return with_count(np.hstack(columns))

    def aggregate(sums: FloatArray) -> FloatArray:
        gaps, start = [], 1
        for bins, _ in schemes:
            gaps.append(np.abs(sums[..., start : start + bins]).sum(-1))
            start += bins
        return divide(np.stack(gaps, axis=-1), sums[..., :1])

    return Metric("ece", outputs, "ece_15", False, "", statistics, aggregate, context_free=False)


def brier_metric() -> Metric:
    """Brier's score (1950): the squared distance of the probabilities from the truth, summed over the choices; 0 to 2.

    For two choices scikit-learn prints half of it.
    """

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return with_count([_brier(prediction) for prediction in predictions])

    return Metric("brier", ("brier",), "brier", False, "", statistics, mean_of)


def _brier(prediction: Prediction) -> float:
    shares = choice_probabilities(prediction)
    truth = np.array([is_right(prediction, choice) for choice in prediction.choices], dtype=np.float64)
    # Several right choices share the truth, so that a model that splits evenly between them scores 0.
    truth /= max(truth.sum(), 1.0)
    return float(((shares - truth) ** 2).sum())


def selective_metric(coverage: float = 0.1) -> Metric:
    """Accuracy on the most confident tenth, and its mean over all coverages (area under accuracy against coverage).

    Equal confidences cannot be told apart, so they enter together.
    """
    outputs = ("selective_accuracy_10", "selective_area")

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return np.stack(confidences(predictions), axis=1)

    def weighted(stats: FloatArray, weights: FloatArray) -> FloatArray:
        levels, level = np.unique(-stats[:, 0], return_inverse=True)
        starts = np.flatnonzero(np.diff(np.sort(level), prepend=-1))
        order = np.argsort(level, kind="stable")
        drawn = np.add.reduceat(weights[:, order], starts, axis=1)  # (b, levels), most confident first
        right = np.add.reduceat((weights * stats[:, 1])[:, order], starts, axis=1)
        assert drawn.shape[1] == len(levels)
        total = drawn.sum(axis=1, keepdims=True)
        before = np.cumsum(drawn, axis=1) - drawn
        taken = np.clip(coverage * total - before, 0.0, drawn)
        top = (taken * divide(right, drawn, 0.0)).sum(axis=1) / (coverage * total[:, 0])
        running = divide(np.cumsum(right, axis=1), np.cumsum(drawn, axis=1), 0.0)
        return np.stack([top, (drawn * running).sum(axis=1) / total[:, 0]], axis=1)

    def aggregate(sums: FloatArray) -> FloatArray:
        return np.stack([sums[..., 1], sums[..., 1]], axis=-1)

    return Metric("selective", outputs, "selective_area", True, "", statistics, aggregate, weighted=weighted)
