"""Continuous batching: requests may come and be cancelled at any time; each step gives every running one a token.

A scheduler has no thread of its own. Whoever owns it calls :meth:`Scheduler.step` until it is idle, and may submit and
cancel between steps. In float32, no generation depends on its neighbours or on when it was admitted.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from luthier.errors import ModelError
from luthier.inference.capabilities import capabilities_of
from luthier.inference.generation_request import Event, FinishEvent, GenerationRequest, TokenEvent
from luthier.inference.kv_slots import KVSlots
from luthier.inference.request_queue import Order, RequestQueue
from luthier.inference.running_batch import PendingSequence, RunningBatch
from luthier.inference.sampling import choose_each, random_stream
from luthier.inference.static_batch import StaticBatch
from luthier.inference.stop_conditions import GeneratedText, Generation
from luthier.models.language_model import LanguageModel

TURN = 32
"""Steps for which an adapter may admit requests while requests for another adapter wait."""
_JOIN_FRACTION = 8
"""One in so many places of a batch is free before others join: running one prompt alone wastes a forward pass."""


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A running request."""

    request: GenerationRequest
    text: GeneratedText
    random: torch.Generator


class Scheduler:
    """Runs generation requests in a batch that others join while it runs.

    Requests for one adapter run together, one adapter at a time. When the batch is empty, the adapter of the request
    that has waited longest is next. While requests for another adapter wait, the present one admits requests for
    ``turn`` steps more, then its running requests finish and the batch is empty: no adapter starves.

    Args:
        model: In evaluation mode. Its weights and adapters must not be changed while requests run.
        budget: Maximum number of tokens of prompts and generations held at a time; None is no limit.
        order: In which requests for one adapter are admitted. The queue is strict: none overtakes the next one, so none
            starves in the order of arrival.
        refuse: Whether :meth:`submit` refuses requests that fit neither the budget nor the model. Otherwise a request
            above the budget runs alone.
        turn: See above; at least 0.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        budget: int | None = None,
        order: Order = "arrival",
        refuse: bool = True,
        turn: int = TURN,
    ) -> None:
        self.model = model
        self.budget = budget
        self._order = order
        self._refuse = refuse
        self._turn = turn
        self._ids: set[str] = set()
        self._queue = RequestQueue(order)
        self._running: list[_Sequence] = []
        self._batch: RunningBatch | None = None
        self._adapter: str | None = None
        self._steps_while_others_wait = 0

    @property
    def running(self) -> int:
        """Number of requests in the batch."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Number of requests that wait."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._ids

    def holds(self, request_id: str) -> bool:
        """Whether a request of that id waits or runs."""
        return request_id in self._ids

    def submit(self, request: GenerationRequest) -> None:
        """Let a request wait for the next step that can admit it.

        Raises:
            ModelError: When there is no adapter of that name, a request of that id is not finished yet, or the request
                can never fit the budget or the model's context.
        """
        if request.id in self._ids:
            raise ModelError(f"a request '{request.id}' is still running", fix="Give each request an id of its own.")
        with self.model.using(request.adapter):
            if self._refuse:
                _require_fit(self.model, request, self.budget)
        self._queue.push(request)
        self._ids.add(request.id)

    def cancel(self, request_id: str) -> Generation | None:
        """End a request at once and free its slot.

        Returns:
            What was generated so far, or None when no such request waits or runs. There is no event for it.
        """
        if request_id not in self._ids:
            return None
        self._ids.remove(request_id)
        if self._queue.remove(request_id):
            self._release()
            return Generation("", 0, "cancelled")
        place = next(place for place, own in enumerate(self._running) if own.request.id == request_id)
        cancelled = self._running[place]
        self._keep([row != place for row in range(len(self._running))])
        return cancelled.text.finished("cancelled")

    @torch.no_grad()
    def step(self) -> list[Event]:
        """Admit waiting requests, and give each running request one more token.

        Returns:
            In the order of the batch: a :class:`FinishEvent` of each request that has ended, and a :class:`TokenEvent`
            of each streamed request that goes on.
        """
        if not self._running:
            if not len(self._queue):
                return []
            self._change_adapter(self._queue.next_adapter())
        with self.model.using(self._adapter):
            self._admit()
            assert self._batch is not None
            tokens = choose_each(
                self._batch.logits,
                [own.request.sampling for own in self._running],
                [own.random for own in self._running],
            )
            finishes = [own.text.add(token) for own, token in zip(self._running, tokens.tolist(), strict=True)]
            events = _events(self._running, finishes)
            self._ids -= {event.id for event in events if isinstance(event, FinishEvent)}
            rows = self._keep([finish is None for finish in finishes])
            if self._running:
                self._batch.advance(tokens if rows is None else tokens[rows])
        return events

    def _change_adapter(self, adapter: str | None) -> None:
        self._steps_while_others_wait = 0
        if adapter != self._adapter:
            self._adapter, self._batch = adapter, None

    def _admit(self) -> None:
        """Admit the next requests for the present adapter, as many as there is room for."""
        if self._queue.waits_for_others(self._adapter):
            self._steps_while_others_wait += 1
            if self._running and self._steps_while_others_wait > self._turn:
                return
        else:
            self._steps_while_others_wait = 0
        joining = self._joining()
        if not joining:
            return
        assert self._batch is not None
        self._batch.admit([_pending(request) for request in joining])
        self._queue.pop(self._adapter, len(joining))
        self._running += [
            _Sequence(
                request,
                GeneratedText(request.stop_conditions, streamed=request.streamed),
                random_stream(request.sampling.seed, request.random_stream or request.id),
            )
            for request in joining
        ]

    def _joining(self) -> list[GenerationRequest]:
        """Return the requests that join now; where no request runs, a batch is opened that suits the next one."""
        waiting = self._queue.count(self._adapter)
        if not waiting:
            return []
        room = self._room()
        if not self._running and not room:
            self._batch = self._open()
            room = self._room()
        if self._running and room < min(waiting, max(1, len(self._running) // _JOIN_FRACTION)):
            return []
        return list(itertools.islice(self._queue.waiting_for(self._adapter), room))

    def _open(self) -> RunningBatch:
        """Return an empty batch of the fastest kind that is verified for the model and holds the next request."""
        known = [_pending(request) for request in self._queue.waiting_for(self._adapter)]
        total = len(known[0].prompt_ids) + self.model.virtual_tokens + known[0].new_tokens
        if capabilities_of(self.model).slots and total <= self.model.window:
            return KVSlots(self.model, known, self.budget, shrink=self._order == "arrival")
        return StaticBatch(self.model, self.budget)

    def _room(self) -> int:
        waiting = map(_pending, self._queue.waiting_for(self._adapter))
        return self._batch.room(waiting) if self._batch is not None else 0

    def _keep(self, going_on: Sequence[bool]) -> torch.Tensor | None:
        """Let only these requests go on; return the rows that they had, or None when all go on."""
        kept = _compacted(going_on)
        if len(kept) == len(self._running):
            return None
        assert self._batch is not None
        rows = torch.tensor(kept, dtype=torch.int64, device=self._batch.logits.device)
        self._batch.keep(rows)
        self._running = [self._running[row] for row in kept]
        self._release()
        return rows

    def _release(self) -> None:
        """Free the memory of a batch that nothing needs; a static one holds nothing for later requests."""
        if not self._ids or (not self._running and not isinstance(self._batch, KVSlots)):
            self._batch = None


def run_until_done(scheduler: Scheduler) -> dict[str, Generation]:
    """Step until nothing is left to do; return what was generated meanwhile, by the ids of the requests."""
    finished: dict[str, Generation] = {}
    while not scheduler.idle:
        for event in scheduler.step():
            if isinstance(event, FinishEvent):
                finished[event.id] = event.generation
    return finished


def _pending(request: GenerationRequest) -> PendingSequence:
    return PendingSequence(request.prompt_ids, request.stop_conditions.limit)


def _require_fit(model: LanguageModel, request: GenerationRequest, budget: int | None) -> None:
    """Check that a request fits the budget and the model's context, with the adapter that is attached.

    The context is ``model.max_length``, from which its owner has taken the virtual tokens (``keep_free``).
    """
    prompt, limit, virtual = len(request.prompt_ids), request.stop_conditions.limit, model.virtual_tokens
    where = f"request '{request.id}'"
    if not prompt or limit < 1:
        raise ModelError(f"{prompt} tokens of prompt and {limit} to generate", where=where, fix="Give at least 1 each.")
    needed = f"{prompt} tokens of prompt and {limit} to generate" + (f" and {virtual} virtual tokens" * (virtual > 0))
    if budget is not None and prompt + limit + virtual > budget:
        raise ModelError(
            f"{needed} do not fit the budget of {budget} tokens",
            where=where,
            fix="Shorten the prompt, lower the limit, or raise the budget.",
        )
    held = max(prompt, limit) if model.encoder_decoder else prompt + limit
    if held > model.max_length:
        raise ModelError(
            f"{needed} do not fit the model's context of {model.max_length} tokens",
            where=where,
            fix="Shorten the prompt or lower the limit.",
        )


def _events(running: Sequence[_Sequence], finishes: Sequence[str | None]) -> list[Event]:
    events: list[Event] = []
    for own, finish in zip(running, finishes, strict=True):
        request, token = own.request, own.text.tokens[-1]
        if finish is not None:
            rest = own.text.rest() if request.streamed else ""
            events.append(FinishEvent(request.id, token, rest, own.text.finished(finish)))
        elif request.streamed:
            events.append(TokenEvent(request.id, token, own.text.delta()))
    return events


def _compacted(going_on: Sequence[bool]) -> list[int]:
    """Return the rows that go on; the last ones take the places of those that have ended, so that few are moved."""
    rows = list(range(len(going_on)))
    place = 0
    while place < len(rows):
        if going_on[rows[place]]:
            place += 1
            continue
        last = rows.pop()
        if place < len(rows):
            rows[place] = last
    return rows
