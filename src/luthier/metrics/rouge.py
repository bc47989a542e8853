"""ROUGE (Lin 2004), equal to rouge-score 0.1.2."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from luthier.metrics.metric import Details, FloatArray, Metric, mean_of, with_count
from luthier.records import Prediction

OUTPUTS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
_TOKEN = re.compile(r"[a-z0-9]+")


def _scores(hits: int, got: int, wanted: int) -> tuple[float, float, float]:
    precision, recall = hits / max(got, 1), hits / max(wanted, 1)
    return precision, recall, 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _pair(prediction: str, reference: str) -> list[tuple[float, float, float]]:
    from rapidfuzz.distance import LCSseq

    got, wanted = _TOKEN.findall(prediction.lower()), _TOKEN.findall(reference.lower())
    rows = []
    for n in (1, 2):
        a = Counter(zip(*(got[i:] for i in range(n)), strict=False))
        b = Counter(zip(*(wanted[i:] for i in range(n)), strict=False))
        rows.append(_scores(sum((a & b).values()), sum(a.values()), sum(b.values())))
    lcs = _scores(LCSseq.similarity(got, wanted), len(got), len(wanted))
    return [*rows, lcs, lcs]


def _statistics(predictions: Sequence[Prediction]) -> FloatArray:
    table = []
    for p in predictions:
        best = np.max([[row[::-1] for row in _pair(p.text, target)] for target in p.targets], axis=0)
        table.append(best[:, ::-1].ravel())
    return with_count(table)


def _details(sums: FloatArray) -> Details:
    means = mean_of(sums).reshape(4, 3)
    return tuple(dict(zip(("precision", "recall", "f1"), map(float, row), strict=True)) for row in means)


def rouge_metric(*, stemmer: bool = False) -> Metric:
    """ROUGE-1, -2, -L and -Lsum: mean F1 over examples, with precision and recall as details."""
    options = f"stem:{'yes' if stemmer else 'no'}"

    def aggregate(sums: FloatArray) -> FloatArray:
        return mean_of(sums)[..., 2::3]

    return Metric("rouge", OUTPUTS, "rougeL", True, options, _statistics, aggregate, _details)
