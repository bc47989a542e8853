"""What a search may choose for a method, and what the user has settled already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from luthier.config.training import TrainingConfig
from luthier.methods.base import Method

FACTOR = 5.0
"""The learning rate is searched from the method's own divided by this to the same times this."""
EPOCHS = (0.5, 1.0, 2.0)
"""Passes over the examples that are tried, in those of the run."""


@dataclass(frozen=True, slots=True)
class Span:
    """Every number between two, evenly on a logarithmic scale."""

    low: float
    high: float


Choices: TypeAlias = tuple[float, ...] | tuple[int, ...]
Space: TypeAlias = dict[str, Span | Choices]


def space_of(method: Method, settings: Mapping[str, Any], training: TrainingConfig) -> Space:
    """Return what is searched for one arm.

    The learning rate comes first; then the epochs, unless the number of steps is given; then the method's own knobs,
    unless the arm spells them out.
    """
    peak = training.learning_rate or method.learning_rate
    found: Space = {"learning_rate": Span(peak / FACTOR, peak * FACTOR)}
    if training.steps is None:
        found["epochs"] = tuple(factor * training.epochs for factor in EPOCHS)
    own = {
        name: knob.values
        for name, knob in method.space.items()
        if name not in settings and not any(other in settings for other in knob.unless)
    }
    return found | own


def defaults_of(method: Method, settings: Mapping[str, Any], training: TrainingConfig) -> dict[str, float | int]:
    """Return the point of the space that is taken without a search."""
    known: dict[str, float | int] = {
        "learning_rate": training.learning_rate or method.learning_rate,
        "epochs": training.epochs,
        **{name: knob.default for name, knob in method.space.items()},
    }
    return {name: known[name] for name in space_of(method, settings, training)}
