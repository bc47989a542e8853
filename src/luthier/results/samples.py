"""Several answers to each prompt, and what each is worth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from luthier.display import Displayed
from luthier.records import Example, Prediction
from luthier.results.best_of_n import BestOf

CUT = "length"
"""How an answer ends that is not finished: it is no answer to learn from."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer to a prompt.

    Attributes:
        answer: What was answered.
        reward: What it is worth; NaN where it has no number.
        gold: Another number of it; NaN where there is none.
    """

    answer: Prediction
    reward: float
    gold: float = math.nan

    @property
    def text(self) -> str:
        """The whole answer, also where its result was taken out of it."""
        return self.answer.text if self.answer.generated is None else self.answer.generated

    @property
    def usable(self) -> bool:
        """Whether it can be kept: it has a reward, has an end, and says something."""
        return not math.isnan(self.reward) and self.answer.finish != CUT and bool(self.text.strip())


@dataclass(frozen=True, slots=True)
class Sampled(Displayed):
    """The samples of all prompts.

    Attributes:
        examples: What was asked, without the prompts that do not fit.
        samples: Of each of them.
        kept: The rows that were kept.
        dropped: Prompts that do not fit the model.
        best_of: What the best of n samples is worth.
        reward: Name of the reward.
        gold: Name of the other one; None without one.
    """

    view: ClassVar[str] = "samples"

    examples: tuple[Example, ...]
    samples: tuple[tuple[Sample, ...], ...]
    kept: tuple[dict[str, Any], ...]
    dropped: int
    best_of: tuple[BestOf, ...]
    reward: str
    gold: str | None

    def __repr__(self) -> str:
        count = sum(map(len, self.samples))
        return f"<Sampled: {count:,} answers to {len(self.examples):,} prompts, {len(self.kept):,} rows kept>"

    @property
    def cut(self) -> int:
        """Samples that reached the limit of tokens."""
        return sum(own.answer.finish == CUT for row in self.samples for own in row)

    @property
    def unscored(self) -> int:
        """Samples without a reward."""
        return sum(math.isnan(own.reward) for row in self.samples for own in row)

    @property
    def alike(self) -> int:
        """Prompts of which all samples have the same reward: nothing can be learned from a difference."""
        return sum(len({own.reward for own in row if not math.isnan(own.reward)}) < 2 for row in self.samples)
