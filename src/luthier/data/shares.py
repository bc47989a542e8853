"""The shares of the sources of a training set: what was asked for, and what an epoch has of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.shares import Share


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a source before shares are found: see :class:`~luthier.shares.Share`."""

    source: str
    examples: int
    tokens: float
    cut: float = 0.0
    dropped: float = 0.0
    overlapping: int = 0


def shares(sources: Sequence[Measured], rates: Sequence[float], quotas: Sequence[int]) -> tuple[Share, ...]:
    """Return the share of each source, given what was asked for and its examples in an epoch."""
    tokens = [quota * source.tokens for quota, source in zip(quotas, sources, strict=True)]
    return tuple(
        Share(
            source=source.source,
            examples=source.examples,
            rate=rate,
            quota=quota,
            share=quota / sum(quotas),
            token_share=own / sum(tokens),
            passes=quota / source.examples,
            tokens=source.tokens,
            cut=source.cut,
            dropped=source.dropped,
            overlapping=source.overlapping,
        )
        for source, rate, quota, own in zip(sources, rates, quotas, tokens, strict=True)
    )
