"""The names of the methods, known without loading one, and torch with it."""

from __future__ import annotations

from luthier.errors import ConfigError, did_you_mean

NAMES = ("full", "selective", "lora", "adapter", "prompt_tuning", "prefix_tuning", "peft")
"""In the order of ``methods/registry.py``, which holds the methods themselves."""


def require_method(name: str, *, where: str = "method") -> None:
    """Check that there is a method of this name.

    Args:
        name: Of a method.
        where: The key that names it, for the message.

    Raises:
        ConfigError: When there is none.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown method '{name}'", where=where, fix=did_you_mean(name, NAMES))
