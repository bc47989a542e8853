"""Recomputing a model's activations in the backward pass: on, off, and whether it is on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn


def recomputes(module: nn.Module) -> bool:
    """Whether activation checkpointing is on in any part of a model."""
    return any(getattr(part, "gradient_checkpointing", False) for part in module.modules())


def recompute_activations(module: Any, context: Callable[[], object] | None = None) -> None:
    """Turn activation checkpointing on, without reentrant autograd.

    Args:
        module: A model of transformers; older versions call it gradient checkpointing.
        context: The ``context_fn`` of :func:`torch.utils.checkpoint.checkpoint`.
    """
    current = hasattr(module, "activation_checkpointing_enable")
    enable = module.activation_checkpointing_enable if current else module.gradient_checkpointing_enable
    enable({"use_reentrant": False} if context is None else {"use_reentrant": False, "context_fn": context})


def keep_activations(module: Any) -> None:
    """Turn activation checkpointing off."""
    current = hasattr(module, "activation_checkpointing_disable")
    disable = module.activation_checkpointing_disable if current else module.gradient_checkpointing_disable
    disable()
