"""Exchange the attention function of a Hugging Face model for a while: the only place that does so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn


@contextlib.contextmanager
def attention_implementation(module: nn.Module, name: str) -> Iterator[None]:
    """Let every part of a model call the attention function of this name inside, and its own again afterwards.

    Args:
        module: A Hugging Face model; its parts look the name up in their configurations, which may be several.
        name: As registered with :class:`transformers.AttentionInterface`.
    """
    configs: dict[int, Any] = {id(part.config): part.config for part in module.modules() if hasattr(part, "config")}
    before = {key: config._attn_implementation for key, config in configs.items()}
    try:
        for config in configs.values():
            config._attn_implementation = name
        yield
    finally:
        for key, config in configs.items():
            config._attn_implementation = before[key]
