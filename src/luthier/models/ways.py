"""Which way of computing is trusted: the fastest whose log-probabilities are those of each example alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from luthier.records import Encoded

if TYPE_CHECKING:
    from luthier.models.language_model import LanguageModel

Way: TypeAlias = Callable[[Sequence[Encoded]], Tensor]

TOLERANCE = 1e-4
"""Nats, in float32; a wrong way is off by tenths."""
_LENGTHS = ((9, 4), (3, 2), (6, 5))
"""Prompt and target tokens of the examples that are tried."""


def fastest_that_agrees(model: LanguageModel, ways: Sequence[Way], reference: Way) -> Way:
    """Return the first way that, on a few examples together, agrees with ``reference`` on each of them alone.

    Many architectures take a padding-free batch and give its logits; some ignore what they are told and give wrong ones
    with no word of it. So nothing is believed of a model that it has not shown.

    Args:
        model: Its vocabulary, device and mode; dropout is off while trying, and no random state is used.
        ways: From the fastest.
        reference: Right on one example; what is returned when no way agrees.
    """
    examples = _examples(model)
    training = model.module.training
    model.module.eval()
    try:
        with torch.no_grad(), model.in_precision(None):
            expected = torch.cat([reference([example]) for example in examples])
            return next((way for way in ways if _agrees(way, examples, expected)), reference)
    finally:
        model.module.train(training)


def _examples(model: LanguageModel) -> list[Encoded]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, model.vocabulary, asked + answered, dtype=np.int32) for asked, answered in _LENGTHS]
    return [Encoded(f"tried-{cut}", ids[:cut], ids[cut:]) for ids, (cut, _) in zip(drawn, _LENGTHS, strict=True)]


def _agrees(way: Way, examples: Sequence[Encoded], expected: Tensor) -> bool:
    try:
        found = way(examples)
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError, IndexError):
        return False  # whatever a foreign architecture stumbles over, the reference does not
    return found.shape == expected.shape and bool((found - expected).abs().max() <= TOLERANCE)
