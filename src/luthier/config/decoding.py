"""Settings: how answers are generated."""

from __future__ import annotations

from pydantic import Field, model_validator

from luthier.config.base import Seed, Settings


class DecodingConfig(Settings):
    """How answers are generated."""

    max_new_tokens: int | None = Field(default=None, ge=1)
    """Tokens generated at most; the task's own limit when not given."""
    temperature: float = Field(default=0.0, ge=0)
    """The temperature of sampling; 0 is greedy."""
    top_k: int | None = Field(default=None, ge=1)
    """Sample among the k likeliest tokens."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Sample among the likeliest tokens that hold this probability together."""
    seed: Seed = 0
    """The seed of sampling; each example has its own random stream, so batches do not matter."""
    beams: int = Field(default=1, ge=1)
    """Beams that a beam search keeps; 1 is greedy decoding, or sampling."""
    length_penalty: float = 1.0
    """The log-probability of a beam is divided by its length to this power: a higher power favours longer answers."""

    @model_validator(mode="after")
    def _beams_are_not_sampled(self) -> DecodingConfig:
        if self.beams > 1 and self.temperature > 0:
            raise ValueError("beams are searched, not sampled: give `beams` or a `temperature`, not both")
        return self
