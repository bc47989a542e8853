"""chrF and chrF++ (Popović 2015, 2017), equal to sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.metrics.metric import FloatArray, Metric, divide
from luthier.records import Prediction

CHAR_ORDER = 6
BETA = 2


def chrf_of(sums: FloatArray) -> FloatArray:
    """Compute chrF in percent from sums (per order: n-grams given, true, common): ``(..., 3 · orders)`` → ``(...)``."""
    got, wanted, common = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    counted = (got > 0) & (wanted > 0)
    order = counted.sum(-1).astype(np.float64)
    precision = divide(np.where(counted, divide(common, got, 0.0), 0.0).sum(-1), order, 0.0)
    recall = divide(np.where(counted, divide(common, wanted, 0.0), 0.0).sum(-1), order, 0.0)
    factor = BETA**2
    return divide(100 * (1 + factor) * precision * recall, factor * precision + recall, 0.0)


def chrf_metric(*, word_order: int = 0, lowercase: bool = False) -> Metric:
    """Corpus chrF (``word_order=0``) or chrF++ (``word_order=2``), 0 to 100."""
    import sacrebleu

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        scorer = sacrebleu.CHRF(word_order=word_order, lowercase=lowercase)
        most = max(len(p.targets) for p in predictions)
        streams = [[p.targets[i] if i < len(p.targets) else None for p in predictions] for i in range(most)]
        return np.array(scorer._extract_corpus_statistics([p.text for p in predictions], streams), dtype=np.float64)

    def aggregate(sums: FloatArray) -> FloatArray:
        return chrf_of(sums)[..., None]

    case = "lc" if lowercase else "mixed"
    options = f"case:{case}|eff:yes|nc:{CHAR_ORDER}|nw:{word_order}|space:no|version:{sacrebleu.__version__}"
    name = "chrf" + "+" * word_order
    return Metric("chrf", (name,), name, True, options, statistics, aggregate)
