"""Dropout switched off in training: what is compared with a reference must not differ from it by what is drawn."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def without_dropout(module: nn.Module) -> Iterator[bool]:
    """Let nothing in a model be left out at random inside, whatever its mode; yields whether there was something.

    A probability is an attribute of a dropout layer, or of a layer that drops out by itself, such as attention.
    """
    found = [
        (part, name, value)
        for part in module.modules()
        for name, value in vars(part).items()
        if (name == "p" and isinstance(part, nn.Dropout)) or ("drop" in name and isinstance(value, float))
    ]
    try:
        for part, name, _ in found:
            setattr(part, name, 0.0)
        yield any(value for _, _, value in found)
    finally:
        for part, name, value in found:
            setattr(part, name, value)
