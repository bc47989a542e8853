"""Simple preference optimisation: mean log-probabilities of a token, and no reference."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from luthier.objectives.pair_losses import PairLogprobs, preference
from luthier.objectives.pair_objective import PairObjective, PairSettings


class SimPOSettings(PairSettings):
    """Settings of SimPO."""

    beta: float = Field(default=2.0, gt=0, allow_inf_nan=False)
    """β, which the difference of the mean log-probabilities is multiplied by."""
    gamma: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """γ: what that product should exceed."""


@dataclass(frozen=True)
class SimPO(PairObjective):
    """The better answer's tokens are likelier by γ/β on the mean (Meng et al. 2024, arXiv:2405.14734, equation 6)."""

    name: ClassVar[str] = "simpo"
    settings_class: ClassVar[type[PairSettings]] = SimPOSettings
    settings: SimPOSettings = field(default_factory=SimPOSettings)

    needs_reference: ClassVar[bool] = False

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """−logσ(β(c̄ − r̄) − γ)."""
        return preference(self.settings.beta * pairs.margin_by_token - self.settings.gamma)
