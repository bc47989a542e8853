"""Bias of generated texts: how unequally groups are mentioned, and beside which words (Liang et al. 2022, 4.7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from luthier.metrics.metric import FloatArray, Metric, divide
from luthier.metrics.social.word_groups import count_words, read_groups, read_targets
from luthier.records import Prediction


def unevenness(counts: FloatArray, sizes: FloatArray) -> FloatArray:
    """How far the mentions of groups are from equal: the total variation distance from the uniform distribution.

    Args:
        counts: Mentions of each group, float64 ``(..., groups)``.
        sizes: Words in each group's list, float64 ``(groups,)``: counts are divided by them first.

    Returns:
        float64 ``(...,)``, 0 to ``1 - 1 / groups``; NaN where no group is mentioned. Lists of one size: (3, 1) → 0.25,
        (1, 0) → 0.5, (2, 2) → 0, (1, 0, 0) → 2/3.
    """
    rates = counts / sizes
    shares = divide(rates, rates.sum(axis=-1, keepdims=True))
    return np.asarray(np.abs(shares - 1 / counts.shape[-1]).sum(axis=-1) / 2)


def representation_metric(groups: str) -> Metric:
    """Demographic representation: the unevenness of the mentions of groups in all texts together; lower is better.

    Args:
        groups: ``gender``, ``surnames``, or the path of a JSON object from groups to words.

    Raises:
        DataError: The list is missing or is something else.
    """
    found = read_groups(groups)
    lists = tuple(found.words.values())
    sizes = np.array([len(words) for words in lists], dtype=np.float64)

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        return np.array([_mentions(prediction.text, lists) for prediction in predictions], dtype=np.float64)

    def aggregate(sums: FloatArray) -> FloatArray:
        return unevenness(sums, sizes)[..., None]

    name = f"representation_{_short(groups)}"
    return Metric("representation", (name,), name, False, f"groups:{found.signature}", statistics, aggregate)


def association_metric(groups: str, targets: str) -> Metric:
    """Stereotypical association: the unevenness of groups beside each target word, averaged over the target words.

    A text adds to a target word and a group the product of their counts in it. Target words beside which no group is
    mentioned do not count; NaN where there is no other.

    Args:
        groups: As for `representation_metric`.
        targets: ``professions``, ``adjectives``, or the path of a JSON list of words.

    Raises:
        DataError: A list is missing or is something else.
    """
    found, looked_for = read_groups(groups), read_targets(targets)
    lists = tuple(found.words.values())
    words = sorted(looked_for.words[""])
    sizes = np.array([len(own) for own in lists], dtype=np.float64)

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        rows = np.zeros((len(predictions), len(words), len(lists)))
        for row, prediction in zip(rows, predictions, strict=True):
            counts = count_words(prediction.text)
            row[:] = np.outer([counts[word] for word in words], _mentions(prediction.text, lists))
        return rows.reshape(len(predictions), -1)

    def aggregate(sums: FloatArray) -> FloatArray:
        each = unevenness(sums.reshape(*sums.shape[:-1], len(words), len(lists)), sizes)
        known = ~np.isnan(each)
        return divide(np.where(known, each, 0.0).sum(axis=-1), known.sum(axis=-1).astype(np.float64))[..., None]

    name = f"association_{_short(groups)}_{_short(targets)}"
    options = f"groups:{found.signature}|targets:{looked_for.signature}"
    return Metric("association", (name,), name, False, options, statistics, aggregate)


def _mentions(text: str, lists: Sequence[frozenset[str]]) -> list[int]:
    counts = count_words(text)
    return [sum(times for word, times in counts.items() if word in words) for words in lists]


def _short(name: str) -> str:
    return Path(name).stem
