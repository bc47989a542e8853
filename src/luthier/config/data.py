"""Settings: which examples are used, and how long they may be. Each verb has the part that it uses."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.config.base import Fraction, Settings


class EncodingConfig(Settings):
    """How examples become tokens."""

    max_length: int | None = Field(default=None, ge=8)
    """Tokens of prompt and target together; the model's own limit when not given."""
    chat: Literal["auto", "never", "always"] = "auto"
    """Whether the model's chat template is used: where it has one and the task wants it, never, or always."""


class EvaluationDataConfig(EncodingConfig):
    """Which test examples are used."""

    test: int | None = Field(default=None, ge=1)
    """Test examples; all when not given."""


class TrainingDataConfig(EncodingConfig):
    """Which examples are used in training and validation."""

    train: int | None = Field(default=None, ge=1)
    """Training examples, drawn by a hash of the id; all when not given."""
    validation: int | None = Field(default=None, ge=1)
    """Validation examples; all when not given."""
    max_lost: Fraction = 0.1
    """The share of examples that may be dropped before it is an error."""


class DataConfig(TrainingDataConfig, EvaluationDataConfig):
    """Which examples of every split are used."""
