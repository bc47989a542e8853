"""What choosing the best of n samples gives, for every n up to the number of samples, from one pool.

The expected value of the best of k among n samples is a weighted mean of the sorted samples: the one at rank i (from 1,
the worst) is the best of k drawn without replacement with probability ``C(i − 1, k − 1) / C(n, k)``. Of samples with
the same proxy reward each is the best one as often as the others (Gao et al. 2023, arXiv:2210.10760, appendix I).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.metrics.metric import FloatArray

RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class BestOf:
    """The best of k samples.

    Attributes:
        k: Samples that are chosen from.
        proxy: Mean over the prompts of the reward that chooses.
        proxy_interval: 95 % interval over the prompts.
        gold: Mean of another number of the chosen answers; None where there is none.
        gold_interval: Its interval.
        kl_bound: Upper bound of the KL divergence from one sample, in nats an answer: ``log k − (k − 1) / k``
            (Beirami et al. 2024, arXiv:2401.01879, theorem 1).
    """

    k: int
    proxy: float
    proxy_interval: tuple[float, float]
    gold: float | None
    gold_interval: tuple[float, float] | None
    kl_bound: float


def weights(n: int, k: int) -> FloatArray:
    """Return with what probability each of n sorted samples is the best of k, the worst first: float64 ``(n,)``."""
    whole = math.comb(n, k)
    return np.asarray([math.comb(rank, k - 1) / whole for rank in range(n)])


def expected_best(proxy: Sequence[float], gold: Sequence[float], k: int) -> tuple[float, float]:
    """Return the expected proxy reward of the best of k of some samples, and the expected gold of the chosen one.

    Args:
        proxy: What chooses, of each sample; no NaN.
        gold: Another number of each sample; NaN where it is not known.
        k: At most the number of samples.
    """
    order = np.argsort(np.asarray(proxy), kind="stable")
    values, others = np.asarray(proxy)[order], np.asarray(gold)[order]
    chances = weights(len(values), k)
    # Samples of equal reward share their chances, since any of them may be the chosen one.
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    shared = np.bincount(group, weights=chances)[group] / counts[group]
    return float(shared @ values), float(shared @ others)


def best_of_n(
    proxy: Sequence[Sequence[float]], gold: Sequence[Sequence[float]] | None = None, *, seed: int = 0
) -> tuple[BestOf, ...]:
    """Return what the best of 1, 2, 4 … samples gives.

    Args:
        proxy: For each prompt the reward of each of its samples; NaN where it has none: such a sample is not there.
        gold: For each prompt another number of each sample; None where there is none.
        seed: Of the bootstrap over prompts.

    Returns:
        One record for each power of two up to the smallest number of scored samples of a prompt, and for that number;
        prompts without a scored sample are left out.
    """
    kept: list[tuple[list[float], list[float]]] = []
    for place, row in enumerate(proxy):
        own = gold[place] if gold is not None else [math.nan] * len(row)
        pairs = [(value, other) for value, other in zip(row, own, strict=True) if not math.isnan(value)]
        if pairs:
            kept.append(([value for value, _ in pairs], [other for _, other in pairs]))
    if not kept:
        return ()
    most = min(len(values) for values, _ in kept)
    sizes = sorted({most, *(2**power for power in range(most.bit_length()) if 2**power <= most)})
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(kept), [1 / len(kept)] * len(kept), size=RESAMPLES) / len(kept)
    found = []
    for k in sizes:
        means = np.asarray([expected_best(*own, k) for own in kept])  # (prompts, 2)
        lows, highs = np.quantile(drawn @ means, [0.025, 0.975], axis=0)
        known = gold is not None and not np.isnan(means[:, 1]).any()
        found.append(
            BestOf(
                k,
                float(means[:, 0].mean()),
                (float(lows[0]), float(highs[0])),
                float(means[:, 1].mean()) if known else None,
                (float(lows[1]), float(highs[1])) if known else None,
                math.log(k) - (k - 1) / k,
            )
        )
    return tuple(found)
