"""Anchored preference optimisation: each answer is moved against the reference, not only against the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from luthier.objectives.pair_losses import PairLogprobs, anchored_down, anchored_up
from luthier.objectives.pair_objective import BetaSettings, PairObjective, PairSettings


@dataclass(frozen=True)
class APOZero(PairObjective):
    """For chosen answers that are better than the model's own (D'Oosterlinck et al. 2024, arXiv:2408.06266)."""

    name: ClassVar[str] = "apo_zero"
    settings_class: ClassVar[type[PairSettings]] = BetaSettings
    settings: BetaSettings = field(default_factory=BetaSettings)

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """1 − σ(β(c−c0)) + σ(β(r−r0))."""
        return anchored_up(self.settings.beta * pairs.chosen_ratio, self.settings.beta * pairs.rejected_ratio)


@dataclass(frozen=True)
class APODown(PairObjective):
    """For chosen answers that are worse than the model's own (D'Oosterlinck et al. 2024, arXiv:2408.06266)."""

    name: ClassVar[str] = "apo_down"
    settings_class: ClassVar[type[PairSettings]] = BetaSettings
    settings: BetaSettings = field(default_factory=BetaSettings)

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """σ(β(c−c0)) + 1 − σ(βΔ)."""
        return anchored_down(self.settings.beta * pairs.chosen_ratio, self.settings.beta * pairs.rejected_ratio)
