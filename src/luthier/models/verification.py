"""Trying a loaded model on a few examples: nothing is believed of it that it has not shown.

Many architectures take tokens in any layout and give their own logits; some ignore what they are told and give wrong
ones with no word of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from luthier.models.language_model import LanguageModel

TOLERANCE = 1e-4
"""Nats, in float32, and as a share of what lies beyond one nat; a wrong way is off by tenths."""
FAULTS = (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError, IndexError, KeyError)
"""Whatever a foreign architecture stumbles over when it is asked what it cannot do."""


@contextlib.contextmanager
def trying(model: LanguageModel) -> Iterator[None]:
    """Have a model in float32, without dropout and gradients, inside; afterwards it is in the mode that it was in."""
    training = model.module.training
    model.module.eval()
    try:
        with torch.no_grad(), model.in_precision(None):
            yield
    finally:
        model.module.train(training)


def deviation(found: Tensor, expected: Tensor) -> float:
    """Return by how much log-probabilities of one shape differ at most, in the unit of :data:`TOLERANCE`."""
    return float(((found - expected).abs() / expected.abs().clamp(min=1)).max())


def agree(found: Tensor, expected: Tensor) -> bool:
    """Whether log-probabilities are the same within :data:`TOLERANCE`; what is not a number is not."""
    return deviation(found, expected) <= TOLERANCE
