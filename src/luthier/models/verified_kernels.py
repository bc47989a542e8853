"""Which way of computing is trusted: the fastest whose log-probabilities are those of each example alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import Tensor

from luthier.models.verification import FAULTS, TOLERANCE, deviation, trying
from luthier.records import Encoded

if TYPE_CHECKING:
    from luthier.models.language_model import LanguageModel

Way: TypeAlias = Callable[[Sequence[Encoded]], Tensor]

_LENGTHS = ((9, 4), (3, 2), (6, 5))
"""Prompt and target tokens of the examples that are tried."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A way that is trusted.

    Attributes:
        way: It.
        refused: Why each of the faster ones is not, from the fastest.
    """

    way: Way
    refused: tuple[str, ...]


def fastest_that_agrees(model: LanguageModel, ways: Sequence[Way], reference: Way) -> Chosen:
    """Choose the first way that, on a few examples together, agrees with ``reference`` on each of them alone.

    Args:
        model: Its vocabulary, device and mode; dropout is off while trying, and no random state is used.
        ways: From the fastest.
        reference: Right on one example; what is chosen when no way agrees.
    """
    examples = _examples(model)
    refused: list[str] = []
    with trying(model):
        expected = torch.cat([reference([example]) for example in examples])
        for way in ways:
            fault = _fault(way, examples, expected)
            if fault is None:
                return Chosen(way, tuple(refused))
            refused.append(fault)
        return Chosen(reference, tuple(refused))


def _examples(model: LanguageModel) -> list[Encoded]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, model.vocabulary, asked + answered, dtype=np.int32) for asked, answered in _LENGTHS]
    return [Encoded(f"tried-{cut}", ids[:cut], ids[cut:]) for ids, (cut, _) in zip(drawn, _LENGTHS, strict=True)]


def _fault(way: Way, examples: Sequence[Encoded], expected: Tensor) -> str | None:
    """What is wrong with a way, or None."""
    try:
        found = way(examples)
    except FAULTS as fault:
        return f"it takes no examples laid end to end ({fault or type(fault).__name__})"
    if found.shape != expected.shape:
        return f"it gives {len(found)} log-probabilities instead of {len(expected)}"
    off = deviation(found, expected)
    return None if off <= TOLERANCE else f"its log-probabilities would be off by {off:.2g}"
