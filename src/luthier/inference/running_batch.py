"""What the scheduler asks of a batch of sequences that are being generated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from luthier.records import TokenIds


@dataclass(frozen=True, slots=True)
class PendingSequence:
    """A sequence that waits to be admitted to a batch.

    Attributes:
        prompt_ids: int32 ``(prompt tokens,)``.
        new_tokens: Maximum number of tokens that will be generated.
    """

    prompt_ids: TokenIds
    new_tokens: int


class RunningBatch(Protocol):
    """A batch of sequences that others may join.

    Attributes:
        logits: float32 ``(running, vocabulary)`` of the next tokens.
    """

    logits: Tensor

    def room(self, pending: Iterable[PendingSequence]) -> int:
        """Return how many of the first pending sequences can be admitted now."""

    def admit(self, pending: Sequence[PendingSequence]) -> None:
        """Run the prompts of sequences, which become the last rows of the batch."""

    def advance(self, tokens: Tensor) -> None:
        """Append one token to each sequence: int64 ``(running,)``; renews ``logits``."""

    def keep(self, rows: Tensor) -> None:
        """Keep these sequences only: int64 ``(kept,)``, indices into the present batch."""
