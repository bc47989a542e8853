"""Settings: how a model answers and how answers are scored. Each verb has the part that it uses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.config.base import Settings


class InferenceConfig(Settings):
    """How a model answers."""

    batch_tokens: int = Field(default=8192, ge=1)
    """Tokens in one forward pass of inference."""


class ScoringConfig(InferenceConfig):
    """How a model answers and how its answers are scored."""

    cache: bool = True
    """Use the answers that earlier evaluations with the same store gave to the same tokens, and keep these."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """The level of every interval."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind every interval, at least: more are drawn until its ends are settled."""


class EvaluationConfig(ScoringConfig):
    """How the arms of a comparison are evaluated."""

    retain_examples: int | None = Field(default=200, ge=1)
    """Test examples of each retained task; ``null`` for all."""


class EngineConfig(ScoringConfig):
    """How ``luthier eval`` evaluates a model."""

    engine: Literal["torch", "ctranslate2", "ctranslate2-int8"] = "torch"
    """What computes the answers: torch, or CTranslate2 on a CPU, with 8-bit weights by choice."""
