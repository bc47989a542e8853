"""Settings: how answers are generated."""

from __future__ import annotations

from pydantic import Field, model_validator

from luthier.config.base import Settings


class DecodingConfig(Settings):
    """How answers are generated."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens generated at most; the task's own limit when not given."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_k: int | None = Field(default=None, ge=1)
    """Sample among the k likeliest tokens."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Sample among the likeliest tokens that hold this probability together."""
    seed: int = 0
    """Seed of sampling; each example has its own stream, so batches do not matter."""
    beams: int = Field(default=1, ge=1)
    """Beginnings of an answer that a beam search carries on side by side; 1 is greedy, or sampling."""
    length_penalty: float = 1.0
    """A beam's log-probability is divided by its length to this power: more favours longer answers."""

    @model_validator(mode="after")
    def _beams_are_not_drawn(self) -> DecodingConfig:
        if self.beams > 1 and self.temperature > 0:
            raise ValueError("beams are searched, not sampled: give `beams` or a `temperature`, not both")
        return self
