"""Settings: what holds an arm near to the base while it is trained, against forgetting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from luthier.config.base import Settings


class AnchorConfig(Settings):
    """Penalties on leaving the base. Each is added to the loss, and logged apart from it."""

    kl: float = Field(default=0.0, ge=0)
    """Weight of the forward KL divergence of the trained model from the base, in nats per token."""
    on: Literal["replay", "target"] = "replay"
    """The examples on which that divergence is measured: those that are replayed, or the target's."""
    l2: float = Field(default=0.0, ge=0)
    """Weight of half the squared distance of the trained weights from their start (L2-SP)."""
    ewc: float = Field(default=0.0, ge=0)
    """Weight of half that distance with each weight's Fisher information on the retained tasks (EWC)."""
    fisher_examples: int = Field(default=512, ge=1)
    """Training examples of the retained tasks on which the Fisher information is estimated."""
    fisher: Literal["sampled", "empirical"] = "sampled"
    """Whether its labels are sampled from the model, as its definition says, or are those of the examples."""

    @model_validator(mode="before")
    @classmethod
    def _on_is_a_word(cls, given: Any) -> Any:
        """Read the key ``on``, which YAML takes for a truth value where it is not quoted."""
        if isinstance(given, Mapping) and True in given:
            return {"on" if key is True else key: value for key, value in given.items()}
        return given

    @property
    def holds(self) -> bool:
        """Whether any of it has a weight."""
        return self.kl > 0 or self.l2 > 0 or self.ewc > 0
