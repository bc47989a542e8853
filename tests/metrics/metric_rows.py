"""Predictions for tests."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from luthier.records import Prediction


def answered(given: Sequence[str], true: Sequence[str]) -> list[Prediction]:
    """Texts and their right answers, numbered from 0."""
    return [Prediction(str(i), "t", g, (t,)) for i, (g, t) in enumerate(zip(given, true, strict=True))]


def with_choices(
    shares: Sequence[float], true: Sequence[str], *, group: Sequence[str] | None = None
) -> list[Prediction]:
    """Choices "no" and "yes", with the probability of "yes"."""
    return [
        Prediction(
            str(i),
            "t",
            "yes" if p > 0.5 else "no",
            (t,),
            choices=("no", "yes"),
            choice_logprobs=(math.log1p(-p) if p < 1 else -math.inf, math.log(p) if p else -math.inf),
            choice_tokens=(2, 3),
            group=group[i] if group else "",
        )
        for i, (p, t) in enumerate(zip(shares, true, strict=True))
    ]


def labels(n: int, names: str, agreement: float, seed: int) -> tuple[list[str], list[str]]:
    """Random true labels, and guesses that agree with a certain share of them."""
    rng = random.Random(seed)
    true = rng.choices(names, weights=range(1, len(names) + 1), k=n)
    return [t if rng.random() < agreement else rng.choice(names) for t in true], true
