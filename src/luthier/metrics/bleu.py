"""BLEU (Papineni et al. 2002), equal to sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from luthier.metrics.metric import Details, FloatArray, Metric, divide
from luthier.records import Prediction

TOKENIZERS = ("13a", "char", "flores101", "flores200", "intl", "ja-mecab", "ko-mecab", "none", "spBLEU-1K", "spm", "zh")
SMOOTHINGS = ("exp", "floor", "add-k", "none")
_SMOOTH_VALUE = {"floor": 0.1, "add-k": 1.0}
ORDER = 4


def precisions(sums: FloatArray, smooth: str) -> FloatArray:
    """Smoothed n-gram precisions in percent, ``(..., 10)`` → ``(..., 4)``; 0 from the first order without n-grams on."""
    right, total = sums[..., 2 : 2 + ORDER].copy(), sums[..., 2 + ORDER :].copy()
    if smooth == "add-k":
        right[..., 1:] += _SMOOTH_VALUE[smooth]
        total[..., 1:] += _SMOOTH_VALUE[smooth]
    missed = (right == 0) & (total > 0)
    found = divide(100.0 * right, total, 0.0)
    if smooth == "exp":
        found = np.where(
            missed, divide(np.full_like(total, 100.0), 2.0 ** np.cumsum(missed, axis=-1) * total, 0.0), found
        )
    elif smooth == "floor":
        found = np.where(missed, divide(np.full_like(total, 100.0 * _SMOOTH_VALUE[smooth]), total, 0.0), found)
    reached = np.cumprod(total > 0, axis=-1)
    return np.asarray(np.where(sums[..., 2 : 2 + ORDER].any(-1, keepdims=True), found * reached, 0.0))


def brevity_penalty(sums: FloatArray) -> FloatArray:
    """``min(1, exp(1 - reference length / length))``, ``(..., 10)`` → ``(...)``; 0 for an empty output."""
    got, wanted = sums[..., 0], sums[..., 1]
    return np.where(got >= wanted, 1.0, np.where(got > 0, np.exp(1 - divide(wanted, got, 0.0)), 0.0))


def bleu_of(sums: FloatArray, smooth: str, *, effective_order: bool = False) -> FloatArray:
    """BLEU in percent from summed statistics (length, reference length, 4 right, 4 total): ``(..., 10)`` → ``(...)``.

    Args:
        sums: Summed statistics.
        smooth: One of `SMOOTHINGS`.
        effective_order: Leave out the orders for which the text is too short (sentence BLEU).
    """
    found = precisions(sums, smooth)
    with np.errstate(divide="ignore"):
        logs = np.where(found > 0, np.log(np.maximum(found, 1e-300)), -9999999999.0)
    total = sums[..., 2 + ORDER :] + np.array([0.0] + [_SMOOTH_VALUE["add-k"] * (smooth == "add-k")] * (ORDER - 1))
    reached = np.cumprod(total > 0, axis=-1)
    order = np.maximum(reached.sum(-1), 1) if effective_order else np.full(reached.shape[:-1], ORDER)
    counted = np.arange(ORDER) < order[..., None]
    mean_log = np.where(counted, logs, 0.0).sum(-1) / order
    any_right = sums[..., 2 : 2 + ORDER].any(-1)
    return np.asarray(np.where(any_right, brevity_penalty(sums) * np.exp(mean_log), 0.0))


def bleu_metric(*, tokenize: str = "13a", smooth: str = "exp", lowercase: bool = False) -> Metric:
    """Corpus BLEU, 0 to 100, with its four precisions, brevity penalty and lengths as details."""
    import sacrebleu

    def statistics(predictions: Sequence[Prediction]) -> FloatArray:
        scorer = sacrebleu.BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
        most = max(len(p.targets) for p in predictions)
        streams = [[p.targets[i] if i < len(p.targets) else None for p in predictions] for i in range(most)]
        return np.array(scorer._extract_corpus_statistics([p.text for p in predictions], streams), dtype=np.float64)

    def aggregate(sums: FloatArray) -> FloatArray:
        return bleu_of(sums, smooth)[..., None]

    def per_example(stats: FloatArray) -> FloatArray:
        return bleu_of(stats, smooth, effective_order=True)[..., None]

    def details(sums: FloatArray) -> Details:
        found = {f"precision{n + 1}": float(p) for n, p in enumerate(precisions(sums, smooth))}
        lengths = {"length": float(sums[0]), "reference_length": float(sums[1])}
        return ({**found, "brevity_penalty": float(brevity_penalty(sums)), **lengths},)

    value = f"[{_SMOOTH_VALUE[smooth]:.2f}]" if smooth in _SMOOTH_VALUE else ""
    case = "lc" if lowercase else "mixed"
    options = f"case:{case}|eff:no|tok:{tokenize}|smooth:{smooth}{value}|version:{sacrebleu.__version__}"
    return Metric("bleu", ("bleu",), "bleu", True, options, statistics, aggregate, details, per_example=per_example)
