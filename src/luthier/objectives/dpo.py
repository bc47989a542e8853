"""Direct preference optimisation, and the losses that differ from it in one term."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from luthier.objectives.pair_losses import PairLogprobs, preference, robust_preference
from luthier.objectives.pair_objective import BetaSettings, PairObjective, PairSettings


class DPOSettings(BetaSettings):
    """Settings of DPO."""

    label_noise: float = Field(default=0.0, ge=0, lt=0.5)
    """ε: the share of pairs that are thought to be labelled the wrong way round (cDPO)."""


@dataclass(frozen=True)
class DPO(PairObjective):
    """Raise the log-ratio of the better answer above that of the other (Rafailov et al. 2023, arXiv:2305.18290)."""

    name: ClassVar[str] = "dpo"
    settings_class: ClassVar[type[PairSettings]] = DPOSettings
    settings: DPOSettings = field(default_factory=DPOSettings)

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """−(1−ε)·logσ(βΔ) − ε·logσ(−βΔ)."""
        return preference(self.settings.beta * pairs.margin, noise=self.settings.label_noise)


class RobustSettings(BetaSettings):
    """Settings of robust DPO."""

    label_noise: float = Field(default=0.1, ge=0, lt=0.5)
    """ε: the share of pairs that are labelled the wrong way round."""


@dataclass(frozen=True)
class RobustDPO(PairObjective):
    """DPO whose expectation under wrong labels is that of DPO under right ones (Chowdhury et al. 2024)."""

    name: ClassVar[str] = "robust"
    settings_class: ClassVar[type[PairSettings]] = RobustSettings
    settings: RobustSettings = field(default_factory=RobustSettings)

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """[−(1−ε)·logσ(βΔ) + ε·logσ(−βΔ)] / (1−2ε)."""
        return robust_preference(self.settings.beta * pairs.margin, noise=self.settings.label_noise)


class NormalisedDPOSettings(BetaSettings):
    """Settings of DPO by token."""

    beta: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """β: greater than that of ``dpo``, because margins are those of one token."""


@dataclass(frozen=True)
class NormalisedDPO(PairObjective):
    """DPO with log-ratios per token, so that length counts for nothing (Tülu 3, arXiv:2411.15124, section 5.1)."""

    name: ClassVar[str] = "dpo_norm"
    settings_class: ClassVar[type[PairSettings]] = NormalisedDPOSettings
    settings: NormalisedDPOSettings = field(default_factory=NormalisedDPOSettings)

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """−logσ(β[(c−c0)/|c| − (r−r0)/|r|])."""
        return preference(self.settings.beta * pairs.margin_by_token)


@dataclass(frozen=True)
class Hinge(PairObjective):
    """A margin of 1/β is enough (SLiC, Zhao et al. 2023, arXiv:2305.10425, with log-ratios for log-probabilities)."""

    name: ClassVar[str] = "hinge"
    settings_class: ClassVar[type[PairSettings]] = BetaSettings
    settings: BetaSettings = field(default_factory=BetaSettings)

    def losses(self, pairs: PairLogprobs) -> Tensor:
        """max(0, 1 − βΔ)."""
        return (1 - self.settings.beta * pairs.margin).relu()
