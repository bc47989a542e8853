"""Accuracy, balanced accuracy, F1 and the Matthews correlation, equal to scikit-learn's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from luthier.errors import DataError
from luthier.metrics.answer_extraction import Normalisation, answer, is_right
from luthier.metrics.metric import Details, FloatArray, Metric, divide, mean_of, with_count
from luthier.records import Prediction

MOST_LABELS = 1000


def named_by(metric: Metric, by: Normalisation) -> Metric:
    """Name the outputs of a metric for how choices are normalised, so that both kinds stand in one table apart."""
    if by == "sum":
        return metric
    outputs = tuple(f"{output}_by_{by}" for output in metric.outputs)
    options = "|".join(part for part in (metric.options, f"by:{by}") if part)
    return replace(metric, outputs=outputs, primary=f"{metric.primary}_by_{by}", options=options)


def accuracy_metric(name: str, by: Normalisation) -> Metric:
    """Share of right answers, where the log-probabilities of choices are normalised by ``by``."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return with_count([float(is_right(p, answer(p, by))) for p in predictions])

    return Metric(name, (name,), name, True, "", statistics, mean_of, proportion=True)


def label_statistics(predictions: Sequence[Prediction], name: str, by: Normalisation) -> FloatArray:
    """Count labels: ``(n, 3 · labels)``, the columns being label given, label true, and both.

    Where no answer was found, the label given is the empty text, which is never true.
    An example with several targets counts as true for the one that was given, or else for the first.

    Raises:
        DataError: There are more labels than any classification has: the answers are free text.
    """
    given = [answer(p, by) for p in predictions]
    true = [g if is_right(p, g) else p.targets[0].strip() for p, g in zip(predictions, given, strict=True)]
    given = [g.strip() for g in given]
    index = {label: i for i, label in enumerate(sorted({*given, *true}))}
    if len(index) > MOST_LABELS:
        raise DataError(
            f"{name} compares labels, and there are {len(index):,} different answers.",
            fix="Give the task `choices`, or use exact_match or token_f1.",
        )
    rows = np.arange(len(predictions))
    one_hot = np.zeros((3, len(predictions), len(index)))
    given_at, true_at = np.array([index[g] for g in given]), np.array([index[t] for t in true])
    one_hot[0, rows, given_at] = 1
    one_hot[1, rows, true_at] = 1
    one_hot[2] = one_hot[0] * one_hot[1]
    return np.concatenate(one_hot, axis=1)


def _thirds(sums: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Split label counts ``(..., 3 · labels)`` into given, true and both, each ``(..., labels)``."""
    given, true, both = np.split(sums, 3, axis=-1)
    return given, true, both


def f1_metric(by: Normalisation = "sum") -> Metric:
    """F1 of single-label answers: macro (mean over the labels that occur), micro, and weighted by the true labels."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return label_statistics(predictions, "f1", by)

    def aggregate(sums: FloatArray) -> FloatArray:
        given, true, both = _thirds(sums)
        occurs = (given + true) > 0
        each = divide(2 * both, given + true, 0.0)
        macro = divide(each.sum(-1), occurs.sum(-1).astype(np.float64))
        micro = divide(2 * both.sum(-1), (given + true).sum(-1))
        weighted = divide((each * true).sum(-1), true.sum(-1))
        return np.stack([macro, micro, weighted], axis=-1)

    outputs = ("f1_macro", "f1_micro", "f1_weighted")
    metric = Metric("f1", outputs, "f1_macro", True, "", statistics, aggregate, context_free=False)
    return named_by(metric, by)


def f1_binary_metric(positive: str, by: Normalisation = "sum") -> Metric:
    """F1 of one label against all others; 0 when it is neither given nor true (scikit-learn's ``zero_division=0``)."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        given = np.array([not p.unparsed and answer(p, by).strip() == positive for p in predictions])
        true = np.array([positive in {t.strip() for t in p.targets} for p in predictions])
        return np.stack([given, true, given & true], axis=1).astype(np.float64)

    def aggregate(sums: FloatArray) -> FloatArray:
        return divide(2 * sums[..., 2:], sums[..., :1] + sums[..., 1:2], 0.0)

    def details(sums: FloatArray) -> Details:
        given, true, both = (float(value) for value in sums)
        return ({"precision": both / given if given else 0.0, "recall": both / true if true else 0.0},)

    options = f"positive:{positive}"
    metric = Metric("f1_binary", ("f1_binary",), "f1_binary", True, options, statistics, aggregate, details)
    return named_by(metric, by)


def balanced_accuracy_metric(by: Normalisation = "sum") -> Metric:
    """Mean over the true labels of the recall of each."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return label_statistics(predictions, "balanced_accuracy", by)

    def aggregate(sums: FloatArray) -> FloatArray:
        _, true, both = _thirds(sums)
        labels = (true > 0).sum(-1).astype(np.float64)
        return divide(divide(both, true, 0.0).sum(-1), labels)[..., None]

    name = "balanced_accuracy"
    return named_by(Metric(name, (name,), name, True, "", statistics, aggregate, context_free=False), by)


def mcc_metric(by: Normalisation = "sum") -> Metric:
    """Matthews correlation for any number of labels (Gorodkin 2004); 0 when either side is constant."""

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return label_statistics(predictions, "mcc", by)

    def aggregate(sums: FloatArray) -> FloatArray:
        given, true, both = _thirds(sums)
        n, right = true.sum(-1), both.sum(-1)
        covariance = right * n - (given * true).sum(-1)
        spread = (n**2 - (given**2).sum(-1)) * (n**2 - (true**2).sum(-1))
        return divide(covariance, np.sqrt(spread), 0.0)[..., None]

    return named_by(
        Metric("mcc", ("mcc",), "mcc", True, "", statistics, aggregate, context_free=False, lowest=-1.0), by
    )


def accuracy(by: Normalisation = "sum") -> Metric:
    """Share of right answers: of the likeliest choice, or of the text where there are no choices."""
    return named_by(accuracy_metric("accuracy", by), by)


def accuracy_normalised() -> Metric:
    """Share of right answers when the likeliest choice is taken per token."""
    return accuracy_metric("accuracy_normalised", "tokens")
