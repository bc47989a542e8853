"""The search space of an arm: the hyper-parameters of its method that the user has not fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from luthier.config.training import TrainingConfig
from luthier.methods.base import Method

FACTOR = 5.0
"""The learning rate is searched from the default divided by this factor to the default times it."""
EPOCHS = (0.5, 1.0, 2.0)
"""Candidates for the number of epochs, as multiples of the epochs of the run."""


@dataclass(frozen=True, slots=True)
class LogRange:
    """A continuous range that is sampled uniformly on a logarithmic scale."""

    low: float
    high: float


Choices: TypeAlias = tuple[float, ...] | tuple[int, ...]
Space: TypeAlias = dict[str, LogRange | Choices]


def space_of(method: Method, settings: Mapping[str, Any], training: TrainingConfig) -> Space:
    """Return the search space of one arm.

    The learning rate comes first, then the epochs unless the number of steps is given, then the method's own settings
    unless the arm gives them.
    """
    peak = training.learning_rate or method.learning_rate
    found: Space = {"learning_rate": LogRange(peak / FACTOR, peak * FACTOR)}
    if training.steps is None:
        found["epochs"] = tuple(factor * training.epochs for factor in EPOCHS)
    own = {
        name: searched.values
        for name, searched in method.space.items()
        if name not in settings and not any(other in settings for other in searched.unless)
    }
    return found | own


def defaults_of(method: Method, settings: Mapping[str, Any], training: TrainingConfig) -> dict[str, float | int]:
    """Return the point of the search space that is used without a search."""
    known: dict[str, float | int] = {
        "learning_rate": training.learning_rate or method.learning_rate,
        "epochs": training.epochs,
        **{name: searched.default for name, searched in method.space.items()},
    }
    return {name: known[name] for name in space_of(method, settings, training)}
