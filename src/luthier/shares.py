"""The share of a source in a training set, as training finds it and results keep it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Share:
    """The share of a source in a training set.

    Attributes:
        source: Its name.
        examples: Training examples that it has.
        rate: What was asked for: of examples, or of supervised tokens where a mixture says so.
        quota: Its examples in an epoch.
        share: Of the examples of an epoch.
        token_share: Of the supervised tokens of an epoch, by the mean length of some examples.
        passes: How often an epoch reads through it.
        tokens: Mean supervised tokens of an example.
        cut: Share of the examples that lose input text to fit.
        dropped: Share of the examples that do not fit, or that a template makes nothing of; others take their place.
        overlapping: Examples left out because their text is measured on.
    """

    source: str
    examples: int
    rate: float
    quota: int
    share: float
    token_share: float
    passes: float
    tokens: float
    cut: float = 0.0
    dropped: float = 0.0
    overlapping: int = 0
