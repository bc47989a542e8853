"""Penalties: terms that are added to the loss of any objective, so that the model stays near to where it started.

A penalty is started on the trained weights before the first step. Its value is part of the gradient, and is logged
under its own name, apart from the objective's loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from luthier.config.base import Settings
from luthier.models.language_model import LanguageModel
from luthier.objectives.objective import MicroBatch
from luthier.records import Encoded


class PenaltyTerm(Protocol):
    """A penalty on the weights of one training."""

    def on_weights(self) -> Tensor | None:
        """Return the part that depends on the weights alone: a differentiable scalar, added once to a step's loss.

        None for a penalty that has no such part.
        """

    def on_batch(self, model: LanguageModel, batch: MicroBatch[Any]) -> Tensor | None:
        """Return the part that is computed on examples: this micro-batch's share of the value of the whole step.

        None for a penalty that has no such part, here or at all.
        """


class Trained(Protocol):
    """Trained weights on a model, that can be taken off."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the weights that training changes."""

    def detach(self) -> None:
        """Leave the base as it was."""

    def reattach(self) -> None:
        """Put them on again."""


@dataclass(frozen=True, slots=True)
class Start:
    """A training that begins: its weights have their starting values, before a checkpoint is loaded.

    Attributes:
        model: With the weights on it.
        trained: The weights, untrained.
        in_place: Whether they are the base's own, so that the base cannot be computed with any more.
        records: What is trained on.
        computation: How it is computed, as JSON can hold it: part of the key of what is stored.
        out: Folder of the store; None where steps are only timed, and nothing is measured or stored.
    """

    model: LanguageModel
    trained: Trained
    in_place: bool
    records: Sequence[Encoded]
    computation: Mapping[str, Any]
    out: Path | None


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

    def key_inputs(self) -> list[Any]:
        """Return everything of it that trained weights depend on, as JSON can hold it."""

    def start(self, training: Start) -> PenaltyTerm:
        """Begin a training; what takes long to know of the base is kept in the store.

        Raises:
            StoreError: The store cannot be written, or its entry is damaged.
        """


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

    def key_inputs(self) -> list[Any]:
        """Return its name and settings."""
        return [self.name, self.settings.model_dump(mode="json")]

    def start(self, training: Start) -> PenaltyTerm:
        """Copy the starting values."""
        weights = list(training.trained.trainable().values())
        factors: list[Tensor | float] = [self.settings.weight] * len(weights)
        return Distance(weights, [weight.detach().clone() for weight in weights], factors)


@dataclass(frozen=True)
class Distance:
    """Half of the squared distance of weights from their start, each times a factor.

    Attributes:
        weights: What is trained.
        start: Where they began.
        factors: A number for each of them, or one for each of their elements.
    """

    weights: Sequence[nn.Parameter]
    start: Sequence[Tensor]
    factors: Sequence[Tensor | float]

    def on_weights(self) -> Tensor | None:
        """Return the distance; None where every factor is the number 0."""
        moved = [
            (factor * (weight - start).square()).sum()
            for weight, start, factor in zip(self.weights, self.start, self.factors, strict=True)
            if not (isinstance(factor, float) and factor == 0)
        ]
        return torch.stack(moved).sum() / 2 if moved else None

    def on_batch(self, model: LanguageModel, batch: MicroBatch[Any]) -> Tensor | None:
        """Return nothing: it does not depend on examples."""
        return None
