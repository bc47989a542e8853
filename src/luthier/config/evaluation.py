"""Settings: how arms are evaluated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.config.base import Settings


class EvaluationConfig(Settings):
    """How arms are measured."""

    retain_examples: int | None = Field(default=200, ge=1)
    """Test examples of each retained task; ``null`` for all."""
    batch_tokens: int = Field(default=8192, ge=1)
    """Tokens in one forward pass of inference."""
    engine: Literal["torch", "ctranslate2", "ctranslate2-int8"] = "torch"
    """What computes the answers of ``luthier eval``: torch, or CTranslate2 on a CPU, with 8-bit weights by choice."""
    cache: bool = True
    """Use the answers that earlier evaluations with the same store gave to the same tokens, and keep these."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Level of every interval."""
    resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind every interval."""
