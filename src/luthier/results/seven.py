"""HELM's seven for one scenario, as frozen records of plain values (Liang et al. 2022, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from luthier.records import Score
from luthier.results.change import Change


@dataclass(frozen=True, slots=True)
class Perturbed:
    """What one perturbation does.

    Attributes:
        name: Of the perturbation.
        kind: What it asks after.
        signature: Its settings and the digest of its word list.
        changed: Items that it changed; the others are equal to the original.
        dropped: Perturbed items that do not fit the model and were not answered.
        score: On the perturbed items.
        loss: That score less the original's, paired; in the metric's own direction.
    """

    name: str
    kind: Literal["robustness", "fairness"]
    signature: str
    changed: int
    dropped: int
    score: Score
    loss: Change


@dataclass(frozen=True, slots=True)
class WorstCase:
    """The score that is left when each item counts as its worst version, the original among them.

    Attributes:
        over: Names of the perturbations.
        score: Of the worst versions.
        loss: That score less the original's, paired; no gain, so that its interval ends at 0 and nothing is tested.
        mean: The score over all versions together, where the versions of an item are one cluster.
        changed: Items that at least one perturbation changed.
    """

    over: tuple[str, ...]
    score: Score
    loss: Change
    mean: Score
    changed: int


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What the answers to the original items took.

    Attributes:
        seconds: Wall seconds, of cached answers those that they took at their time.
        examples: Items that were answered.
        prompt_tokens: Tokens that were read.
        answer_tokens: Tokens that were generated, or of the choices that were scored.
        watts: Power that is assumed.
        assumption: The assumption, in words.
        cached: Answers that an earlier evaluation gave.
    """

    seconds: float
    examples: int
    prompt_tokens: int
    answer_tokens: int
    watts: float
    assumption: str
    cached: int

    @property
    def tokens_per_second(self) -> float:
        """Tokens that were read and written for each second; NaN where no time was measured."""
        return (self.prompt_tokens + self.answer_tokens) / self.seconds if self.seconds > 0 else float("nan")

    @property
    def joules(self) -> float:
        """Energy at the power that is assumed."""
        return self.seconds * self.watts


@dataclass(frozen=True, slots=True)
class Seven:
    """Everything that was measured of one scenario; empty or None where it could not be, and ``notes`` say why.

    Attributes:
        scenario: Name of the task.
        higher_is_better: Direction of the task's primary number.
        accuracy: The primary number.
        calibration: HELM's numbers.
        robustness: Worst case under noise.
        fairness: Worst case over who speaks or is spoken of.
        perturbed: Each perturbation by itself, sweeps among them.
        bias: Of generated texts.
        toxicity: Of generated texts.
        social: Numbers that the task has of its own (BBQ, CrowS-Pairs, Winogender).
        efficiency: Time, tokens and energy.
        notes: What could not be measured, and why.
    """

    scenario: str
    higher_is_better: bool
    accuracy: Score
    calibration: tuple[Score, ...]
    robustness: WorstCase | None
    fairness: WorstCase | None
    perturbed: tuple[Perturbed, ...]
    bias: tuple[Score, ...]
    toxicity: tuple[Score, ...]
    social: Mapping[str, float]
    efficiency: Efficiency
    notes: tuple[str, ...] = ()
