"""Settings: which examples are used."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from luthier.config.base import Fraction, Settings


class DataConfig(Settings):
    """Which examples are used."""

    train: int | None = Field(default=None, ge=1)
    """Training examples, drawn by hash of the id; all when not given."""
    validation: int | None = Field(default=None, ge=1)
    """Validation examples; all when not given."""
    test: int | None = Field(default=None, ge=1)
    """Test examples; all when not given."""
    max_length: int | None = Field(default=None, ge=8)
    """Tokens of prompt and target together; the model's own limit when not given."""
    max_lost: Fraction = 0.1
    """Share of examples that may be dropped before it is an error."""
    chat: Literal["auto", "never", "always"] = "auto"
    """Whether the model's chat template is used: where it has one and the task wants it, never, or always."""
