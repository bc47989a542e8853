"""Penalties: terms that are added to the loss of any objective, so that the model stays near to where it started.

A penalty is started on the trained weights before the first step. Its value is part of the gradient, and is logged
under its own name, apart from the objective's loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from luthier.config.base import Settings
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import MicroBatch


class PenaltyTerm(Protocol):
    """A penalty on the weights of one training."""

    def on_weights(self) -> Tensor | None:
        """Return the part that depends on the weights alone: a differentiable scalar, added once to a step's loss.

        None for a penalty that has no such part.
        """

    def on_batch(self, model: LanguageModel, batch: MicroBatch[Any]) -> Tensor | None:
        """Return the part that is computed on examples: a sum over the micro-batch, divided like the objective's loss.

        None for a penalty that has no such part.
        """


class Penalty(Protocol):
    """A kind of penalty, with its settings.

    Attributes:
        name: What the user calls it, and the log's name of its value.
        settings_class: Its own settings.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type[Settings]]

    @property
    def settings(self) -> Settings:
        """The settings that it was made with."""

    def start(self, trained: Mapping[str, nn.Parameter]) -> PenaltyTerm:
        """Begin a training whose weights have their starting values now, before a checkpoint is loaded."""


class L2StartingPointSettings(Settings):
    """Settings of L2-SP."""

    weight: float = Field(default=1e-3, ge=0)
    """Alpha of the paper: half of it times the squared distance is added to the loss; 0 adds nothing."""


@dataclass(frozen=True)
class L2StartingPoint:
    """L2-SP: half of ``weight`` times the squared distance of the trained weights from their starting point.

    Where base weights are trained, the starting point is the base (Li, Grandvalet and Davoine 2018, arXiv:1802.01483,
    equation 3, without its second term for new layers). Where a method adds weights of its own, it is their first
    values, with which the model computes as the base does. One copy of the trained weights is kept beside them.
    """

    name: ClassVar[str] = "l2_sp"
    settings_class: ClassVar[type[Settings]] = L2StartingPointSettings
    settings: L2StartingPointSettings = field(default_factory=L2StartingPointSettings)

    def start(self, trained: Mapping[str, nn.Parameter]) -> PenaltyTerm:
        """Copy the starting values."""
        weights = list(trained.values())
        return _Distance(weights, [weight.detach().clone() for weight in weights], self.settings.weight)


@dataclass(frozen=True)
class _Distance:
    weights: Sequence[nn.Parameter]
    start: Sequence[Tensor]
    alpha: float

    def on_weights(self) -> Tensor | None:
        if self.alpha == 0:
            return None
        pairs = zip(self.weights, self.start, strict=True)
        return self.alpha / 2 * torch.stack([(weight - start).square().sum() for weight, start in pairs]).sum()

    def on_batch(self, model: LanguageModel, batch: MicroBatch[Any]) -> Tensor | None:
        return None
