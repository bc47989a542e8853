"""Whether a model recomputes activations in the backward pass."""

from __future__ import annotations

from torch import nn


def recomputes(module: nn.Module) -> bool:
    """Whether activation checkpointing is on in any part of a model."""
    return any(getattr(part, "gradient_checkpointing", False) for part in module.modules())
