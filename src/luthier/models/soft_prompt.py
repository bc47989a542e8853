"""Virtual tokens before every prompt, put there by a soft-prompt method.

There are two kinds. *Embedded* ones (prompt tuning) are ids beyond the vocabulary: the input embedding is wrapped by
one that holds their trained vectors, and they are ordinary tokens for the rest of the model in any batch layout.
*Cached* ones (prefix tuning) are keys and values that every layer attends to, before its first token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from luthier.config.advice import how_to_set
from luthier.errors import TrainingError
from luthier.kernels.activation_checkpointing import recomputes
from luthier.records import Encoded, TokenIds


def _no_ids() -> TokenIds:
    return np.zeros(0, dtype=np.int32)


@dataclass(frozen=True)
class SoftPrompt:
    """What stands before every prompt while a method is attached.

    Attributes:
        tokens: Virtual tokens; they take that much of the context.
        ids: int32 ``(tokens,)`` of embedded virtual tokens; empty for cached ones.
        cache: Gives a key-value cache that holds the virtual tokens for so many rows; None for embedded ones.
    """

    tokens: int
    ids: TokenIds = field(default_factory=_no_ids)
    cache: Callable[[int], Any] | None = None

    def before(self, prompts: Sequence[TokenIds]) -> list[TokenIds]:
        """Put the ids of embedded virtual tokens before each prompt."""
        return [np.concatenate([self.ids, prompt]) for prompt in prompts]

    def before_each(self, batch: Sequence[Encoded]) -> list[Encoded]:
        """Put the ids of embedded virtual tokens before each example's prompt."""
        return [replace(item, prompt_ids=np.concatenate([self.ids, item.prompt_ids])) for item in batch]


class WithVirtualTokens(nn.Module):
    """An input embedding that also knows virtual tokens, by ids that follow the vocabulary.

    Args:
        base: The model's own embedding.
        prompt: Gives the vectors of the virtual tokens, ``(tokens, hidden)``.
    """

    def __init__(self, base: Any, prompt: Callable[[], Tensor]) -> None:
        super().__init__()
        self.base = base
        self._prompt = prompt

    @property
    def first_id(self) -> int:
        """Id of the first virtual token."""
        return int(self.base.num_embeddings)

    @property
    def weight(self) -> Tensor:
        """The base's own matrix."""
        weight: Tensor = self.base.weight
        return weight

    def forward(self, ids: Tensor) -> Tensor:
        """Embed ids ``(rows, tokens)``."""
        virtual = ids >= self.first_id  # (B, T)
        embedded: Tensor = self.base(ids.masked_fill(virtual, 0))  # (B, T, D)
        if not bool(virtual.any()):
            return embedded
        vectors = self._prompt().to(embedded.dtype)  # (n, D)
        own = vectors[(ids - self.first_id).clamp(min=0)]
        return torch.where(virtual[..., None], own, embedded)


def mask_with_soft_prompt(mask: Tensor, tokens: int) -> Tensor:
    """Return a mask ``(rows, T)`` lengthened to ``(rows, tokens + T)``: cached virtual tokens stand before each row."""
    return torch.cat([mask.new_ones(len(mask), tokens), mask], dim=1)


def refuse_recomputing(module: Any) -> None:
    """Refuse to recompute activations after cached virtual tokens: ``transformers`` would silently leave these out.

    Raises:
        TrainingError: When activation checkpointing is on.
    """
    if module.training and recomputes(module):
        raise TrainingError(
            "prefix tuning cannot recompute activations",
            where="training.activation_checkpointing",
            fix=f"Switch it off with {how_to_set('training.activation_checkpointing', 'false')}, or use prompt_tuning.",
        )
