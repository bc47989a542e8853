"""Iterators over the events of single requests, where one thread reads several of them by turns."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from luthier.inference.generation_request import Event, FinishEvent, GenerationRequest
from luthier.inference.scheduler import Scheduler


class EventStreams:
    """Hands the events of a scheduler to iterators, one for each request.

    Whichever iterator has no event left runs the next step, whose events all iterators receive. The scheduler must not
    be stepped elsewhere meanwhile.

    Args:
        scheduler: Runs the requests.
    """

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self._events: dict[str, deque[Event]] = {}

    def stream(self, request: GenerationRequest) -> Iterator[Event]:
        """Submit a request now, and iterate over its events.

        Closing the iterator cancels the request. The iterator ends with the request's
        :class:`~luthier.inference.generation_request.FinishEvent`, or without it when the request is cancelled.

        Raises:
            ModelError: See :meth:`~luthier.inference.scheduler.Scheduler.submit`.
        """
        self.scheduler.submit(request)
        self._events[request.id] = deque()
        return self._iterate(request.id)

    def _iterate(self, request_id: str) -> Iterator[Event]:
        own = self._events[request_id]
        try:
            while own or self.scheduler.holds(request_id):
                if not own:
                    self._step()
                    continue
                event = own.popleft()
                yield event
                if isinstance(event, FinishEvent):
                    return
        finally:
            del self._events[request_id]
            self.scheduler.cancel(request_id)

    def _step(self) -> None:
        for event in self.scheduler.step():
            if event.id in self._events:
                self._events[event.id].append(event)


def stream(scheduler: Scheduler, request: GenerationRequest) -> Iterator[Event]:
    """Submit one request and iterate over its events; those of other requests meanwhile are lost.

    See :meth:`EventStreams.stream`.
    """
    return EventStreams(scheduler).stream(request)
