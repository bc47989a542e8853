"""What training minimises. An objective is a plain function of a model and a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from luthier.models.language_model import LanguageModel
from luthier.records import Encoded

Objective: TypeAlias = Callable[[LanguageModel, Sequence[Encoded]], Tensor]
"""Returns a float32 scalar: the *sum* over the supervised tokens of the batch."""


def cross_entropy(model: LanguageModel, batch: Sequence[Encoded]) -> Tensor:
    """Sum of the negative log-probabilities (nats) of the target tokens."""
    return -model.target_logprobs(batch).sum()


def supervised_tokens(batch: Sequence[Encoded]) -> int:
    """Number of target tokens."""
    return sum(len(item.target_ids) for item in batch)


@torch.no_grad()
def mean_loss(model: LanguageModel, batches: Sequence[Sequence[Encoded]]) -> float:
    """Cross-entropy in nats per supervised token over all batches; NaN, not measured, when there are none."""
    total = sum(float(cross_entropy(model, batch).double()) for batch in batches)
    tokens = sum(supervised_tokens(batch) for batch in batches)
    return total / tokens if tokens else math.nan
