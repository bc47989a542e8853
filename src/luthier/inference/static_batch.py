"""A batch that sequences join only when all sequences in it have ended: for models without verified KV slots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from luthier.inference.running_batch import PendingSequence
from luthier.inference.sampling import only_token
from luthier.models.language_model import Continuation, LanguageModel


class StaticBatch:
    """A :class:`~luthier.inference.running_batch.RunningBatch` over the model's own continuation.

    Args:
        model: Any model.
        budget: Maximum number of tokens held at a time, padding included; None is no limit. One sequence is always
            admitted to an empty batch.
    """

    def __init__(self, model: LanguageModel, budget: int | None) -> None:
        self.model = model
        self.budget = budget
        self.logits = torch.empty(0)
        self._continuation: Continuation | None = None

    def room(self, pending: Iterable[PendingSequence]) -> int:
        """See :class:`~luthier.inference.running_batch.RunningBatch`."""
        if self._continuation is not None:
            return 0
        count = longest = 0
        for sequence in pending:
            if self.budget is not None:
                own = len(sequence.prompt_ids) + self.model.virtual_tokens + sequence.new_tokens
                longest = max(longest, own)
                if count and (count + 1) * longest > self.budget:
                    break
            count += 1
        return count

    def admit(self, pending: Sequence[PendingSequence]) -> None:
        """See :class:`~luthier.inference.running_batch.RunningBatch`."""
        self._continuation = self.model.begin([sequence.prompt_ids for sequence in pending])
        self.logits = self._continuation.logits
        if self.model.forced_begin is not None:
            self.logits = only_token(self.logits, self.model.forced_begin)

    def advance(self, tokens: Tensor) -> None:
        """See :class:`~luthier.inference.running_batch.RunningBatch`."""
        assert self._continuation is not None
        self._continuation.advance(tokens)
        self.logits = self._continuation.logits

    def keep(self, rows: Tensor) -> None:
        """See :class:`~luthier.inference.running_batch.RunningBatch`."""
        assert self._continuation is not None
        if not len(rows):
            self._continuation = None
            return
        self._continuation.keep(rows)
        self.logits = self._continuation.logits
