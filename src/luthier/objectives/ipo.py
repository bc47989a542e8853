"""Identity preference optimisation: the margin is drawn to a value, not to infinity."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from luthier.objectives.pair_losses import PairLogprobs, squared_preference
from luthier.objectives.pair_objective import BetaSettings, PairObjective, PairSettings


class IPOSettings(BetaSettings):
    """Settings of IPO."""

    by_token: bool = True
    """Whether log-ratios are those of a token, as the authors use them, or sums over answers, as the paper writes."""


@dataclass(frozen=True)
class IPO(PairObjective):
    """The squared distance of a pair's margin from 1/(2β) (Azar et al. 2023, arXiv:2310.12036, equation 17)."""

    name: ClassVar[str] = "ipo"
    settings_class: ClassVar[type[PairSettings]] = IPOSettings
    settings: IPOSettings = field(default_factory=IPOSettings)

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """((c−c0)/|c| − (r−r0)/|r| − 1/(2β))², or with sums."""
        margin = pairs.margin_by_token if self.settings.by_token else pairs.margin
        return squared_preference(margin, beta=self.settings.beta)
