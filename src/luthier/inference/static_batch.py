"""Sequences that are being generated, and others that take the places of those that have ended."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from luthier.models.language_model import Continuation, LanguageModel
from luthier.records import TokenIds


class RunningBatch(Protocol):
    """A batch of sequences that others may join.

    Attributes:
        logits: float32 ``(running, vocabulary)`` of the next tokens.
    """

    logits: Tensor

    def room(self, longest: int) -> int:
        """Return how many sequences can be admitted whose prompts are not longer than this."""

    def admit(self, prompts: Sequence[TokenIds]) -> None:
        """Read prompts and stand ready to generate after each, behind the running sequences."""

    def advance(self, tokens: Tensor) -> None:
        """Append one token to each sequence: int64 ``(running,)``; renews ``logits``."""

    def keep(self, rows: Tensor) -> None:
        """Go on with these sequences only: int64 ``(kept,)``, indices into the present batch."""


class StaticBatch:
    """The model's own continuation: sequences join only when all others have ended.

    Args:
        model: Any model.
        new_tokens: Tokens that are generated after a prompt at most.
        budget: Tokens held at most, or None for all prompts at once.
    """

    def __init__(self, model: LanguageModel, new_tokens: int, budget: int | None) -> None:
        self.model = model
        self.new_tokens = new_tokens
        self.budget = budget
        self.logits = torch.empty(0)
        self._continuation: Continuation | None = None

    def room(self, longest: int) -> int:
        """See :class:`RunningBatch`."""
        if self._continuation is not None:
            return 0
        if self.budget is None:
            return sys.maxsize
        return max(1, self.budget // (longest + self.model.virtual_tokens + self.new_tokens))

    def admit(self, prompts: Sequence[TokenIds]) -> None:
        """See :class:`RunningBatch`."""
        self._continuation = self.model.begin(prompts)
        self.logits = self._continuation.logits

    def advance(self, tokens: Tensor) -> None:
        """See :class:`RunningBatch`."""
        assert self._continuation is not None
        self._continuation.advance(tokens)
        self.logits = self._continuation.logits

    def keep(self, rows: Tensor) -> None:
        """See :class:`RunningBatch`."""
        assert self._continuation is not None
        if not len(rows):
            self._continuation = None
            return
        self._continuation.keep(rows)
        self.logits = self._continuation.logits
