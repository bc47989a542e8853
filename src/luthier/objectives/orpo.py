"""Odds-ratio preference optimisation: supervised tuning and preferences in one step, without a reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from luthier.objectives.pair_losses import PairLogprobs, odds_ratio
from luthier.objectives.pair_objective import PairObjective, PairSettings


class ORPOSettings(PairSettings):
    """Settings of ORPO."""

    nll: float = Field(default=1.0, ge=0)
    """What the negative log-likelihood of the chosen answers is multiplied by: 1 in the paper."""
    weight: float = Field(default=0.1, gt=0, allow_inf_nan=False)
    """λ, which the loss of the odds ratio is multiplied by."""


@dataclass(frozen=True)
class ORPO(PairObjective):
    """The likelihood of the better answer, and its odds against the other's (Hong et al. 2024, arXiv:2403.07691)."""

    name: ClassVar[str] = "orpo"
    settings_class: ClassVar[type[PairSettings]] = ORPOSettings
    settings: ORPOSettings = field(default_factory=ORPOSettings)

    needs_reference: ClassVar[bool] = False
    rate_factor: ClassVar[float] = 0.2

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """−λ·logσ of the log odds ratio; ``nll`` adds the likelihood."""
        chosen, rejected = pairs.chosen / pairs.chosen_tokens, pairs.rejected / pairs.rejected_tokens
        return self.settings.weight * odds_ratio(chosen, rejected)
