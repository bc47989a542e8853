"""Requests that wait to be admitted: one queue for each adapter, and the choice of the adapter that runs next."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from luthier.inference.generation_request import GenerationRequest

Order: TypeAlias = Literal["arrival", "longest"]
"""Of the requests for one adapter: first come first served, or the longest prompt first, which suits requests that are
all known in advance: if memory does not suffice, it shows at once."""


@dataclass(order=True, frozen=True, slots=True)
class _Waiting:
    key: int
    number: int  # of arrival
    request: GenerationRequest = field(compare=False)


class RequestQueue:
    """Waiting requests.

    Args:
        order: Of the requests for one adapter.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._numbers = itertools.count()
        self._waiting: dict[str | None, list[_Waiting]] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def push(self, request: GenerationRequest) -> None:
        """Let a request wait."""
        key = -len(request.prompt_ids) if self._order == "longest" else 0
        bisect.insort(self._waiting.setdefault(request.adapter, []), _Waiting(key, next(self._numbers), request))

    def count(self, adapter: str | None) -> int:
        """Return how many requests wait for one adapter."""
        return len(self._waiting.get(adapter, ()))

    def waiting_for(self, adapter: str | None) -> Iterator[GenerationRequest]:
        """Yield the requests for one adapter, the next one first."""
        return (waiting.request for waiting in self._waiting.get(adapter, ()))

    def pop(self, adapter: str | None, count: int) -> None:
        """Remove the next requests for one adapter."""
        waiting = self._waiting[adapter]
        del waiting[:count]
        if not waiting:
            del self._waiting[adapter]

    def remove(self, request_id: str) -> bool:
        """Remove a request; tell whether it was waiting."""
        for adapter, waiting in self._waiting.items():
            for place, own in enumerate(waiting):
                if own.request.id == request_id:
                    del waiting[place]
                    if not waiting:
                        del self._waiting[adapter]
                    return True
        return False

    def next_adapter(self) -> str | None:
        """Return the adapter of the request that has waited longest; there must be one."""
        return min(self._waiting, key=lambda adapter: min(own.number for own in self._waiting[adapter]))

    def waits_for_others(self, adapter: str | None) -> bool:
        """Whether requests for other adapters wait."""
        return len(self._waiting) > (adapter in self._waiting)
