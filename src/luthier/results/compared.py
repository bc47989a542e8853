"""Two models on the same examples."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.records import Score
from luthier.results.change import Change


@dataclass(frozen=True, slots=True)
class Compared:
    """A second model on the same examples.

    Attributes:
        model: Its name.
        score: Its score.
        change: The first model's score less its own, paired.
        higher_is_better: Whether a higher score is better.
    """

    model: str
    score: Score
    change: Change
    higher_is_better: bool = True
