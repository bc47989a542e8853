"""Choose the fastest kernel of a model whose log-probabilities are those of each example alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from luthier.kernels.verification import LOGPROBS, Verification, evaluation_mode, verify
from luthier.records import Encoded

if TYPE_CHECKING:
    from luthier.models.language_model import LanguageModel


class Kernel(Protocol):
    """Computes the log-probability of every target token of a batch: float32 ``(target tokens,)``, in nats."""

    def __call__(self, batch: Sequence[Encoded], *, logits: bool = False) -> Tensor:
        """Compute it, or the logits at every target token: float32 ``(target tokens, vocabulary)``."""


_LENGTHS = ((9, 4), (3, 2), (6, 5))
"""Prompt and target tokens of the examples on which a kernel is verified."""


@dataclass(frozen=True, slots=True)
class VerifiedKernel:
    """A kernel that agrees with the reference.

    Attributes:
        compute: The kernel.
        refused: Why each of the faster kernels is not used, from the fastest.
    """

    compute: Kernel
    refused: tuple[str, ...]


def fastest_verified(model: LanguageModel, kernels: Sequence[Kernel], reference: Kernel) -> VerifiedKernel:
    """Choose the first kernel that, on a few examples in one batch, agrees with ``reference`` on each of them alone.

    Args:
        model: Gives its vocabulary, device and mode; dropout is off meanwhile, and no random state is used.
        kernels: From the fastest.
        reference: Correct on one example; it is what is chosen when no kernel agrees.
    """
    examples = _examples(model)
    refused: list[str] = []
    with evaluation_mode(model.module), model.in_precision(None):
        expected = torch.cat([reference([example]) for example in examples])
        for kernel in kernels:
            verified = verify(partial(kernel, examples), expected, LOGPROBS)
            if verified.agrees:
                return VerifiedKernel(kernel, tuple(refused))
            refused.append(_reason(verified))
    return VerifiedKernel(reference, tuple(refused))


def _examples(model: LanguageModel) -> list[Encoded]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, model.vocabulary, sum(lengths), dtype=np.int32) for lengths in _LENGTHS]
    return [Encoded(f"verify-{cut}", ids[:cut], ids[cut:]) for ids, (cut, _) in zip(drawn, _LENGTHS, strict=True)]


def answers_to_verify(model: LanguageModel) -> list[list[Encoded]]:
    """Return groups of answers to one prompt each, some of which begin alike, to verify a kernel on."""
    found = []
    for item in _examples(model):
        other = (item.target_ids + 1) % model.vocabulary
        alike = np.concatenate([item.target_ids[:1], other, item.target_ids[:1]]).astype(np.int32)
        found.append([item, replace(item, target_ids=alike), replace(item, target_ids=other.astype(np.int32))])
    return found


def _reason(refused: Verification) -> str:
    if refused.failure:
        return f"it cannot compute examples laid end to end ({refused.failure})"
    return f"its log-probabilities would be off by {refused.difference:.2g}"
