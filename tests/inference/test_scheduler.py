"""Requests come, stream and are cancelled while others run, and none feels it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import ModelError
from luthier.inference.capabilities import capabilities_of
from luthier.inference.generation_request import Event, FinishEvent, GenerationRequest, TokenEvent
from luthier.inference.kv_slots import KVSlots
from luthier.inference.sampling import Sampling
from luthier.inference.scheduler import Scheduler, run_until_done
from luthier.inference.stop_conditions import GeneratedText, Generation, StopConditions
from luthier.inference.streaming import EventStreams, stream
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from tiny_models import encoded, make_tokenizer, tiny_model

TOKENIZER = make_tokenizer()
HEAD = encoded(71, [(40, 1)])[0].prompt_ids
ADAPTERS = {
    "lora": ("lora", {"rank": 2}),
    "prompt": ("prompt_tuning", {"virtual_tokens": 5}),
    "prefix": ("prefix_tuning", {"virtual_tokens": 6}),
}


def decode(ids: list[int]) -> str:
    return str(TOKENIZER.decode(ids))


def model_with(name: str, adapters: Sequence[str] = ()) -> LanguageModel:
    """Return a tiny model with adapters of drawn weights in its cache."""
    model = tiny_model(name)
    for number, adapter in enumerate(adapters):
        method, given = ADAPTERS[adapter]
        found = find_method(method)
        attached = found.attach(model, read_settings(found, given, where="test"), seed=0)
        with torch.no_grad():
            for weight in attached.trainable().values():
                weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(number))
        model.adapters.put(adapter, attached)
    return model


def requests(seed: int, count: int, adapters: Sequence[str | None] = (None,)) -> list[GenerationRequest]:
    """Draw requests that differ in all that a request can say; half of them begin alike."""
    draw = random.Random(seed)
    items = encoded(seed, [(draw.randint(1, 25), 1) for _ in range(count)])
    return [
        GenerationRequest(
            item.id,
            np.concatenate([HEAD, item.prompt_ids]) if draw.random() < 0.5 else item.prompt_ids,
            StopConditions(
                decode,
                draw.randint(1, 16),
                frozenset(range(5, 74, draw.choice([8, 100]))),
                draw.choice([(), ("a",), ("the", "b"), ("zz",)]),
            ),
            draw.choice([Sampling(), Sampling(1.2, seed=3), Sampling(0.8, top_k=9), Sampling(1.5, top_p=0.8, seed=1)]),
            adapter=draw.choice(list(adapters)),
            streamed=draw.random() < 0.5,
        )
        for item in items
    ]


def alone(model: LanguageModel, request: GenerationRequest) -> Generation:
    scheduler = Scheduler(model)
    scheduler.submit(request)
    return run_until_done(scheduler)[request.id]


def run_live(
    scheduler: Scheduler, asked: Sequence[GenerationRequest], seed: int, *, cancel: float = 0.0
) -> tuple[list[Event], set[str]]:
    """Submit requests at random steps and cancel some; return all events, and the ids of the cancelled ones."""
    draw = random.Random(seed)
    left, events, cancelled = list(asked), list[Event](), set[str]()
    draw.shuffle(left)
    while left or not scheduler.idle:
        while left and draw.random() < 0.4:
            scheduler.submit(left.pop())
        if draw.random() < cancel:
            request_id = draw.choice(asked).id
            if scheduler.cancel(request_id) is not None:
                cancelled.add(request_id)
                assert not scheduler.holds(request_id)
        events += scheduler.step()
    return events, cancelled


def check(asked: Sequence[GenerationRequest], events: Sequence[Event], expected: dict[str, Generation]) -> None:
    finished = {event.id: event.generation for event in events if isinstance(event, FinishEvent)}
    assert finished == expected
    for request in asked:
        own = [event for event in events if event.id == request.id]
        if request.id in expected:
            assert isinstance(own[-1], FinishEvent)
            assert len(own) == (expected[request.id].tokens if request.streamed else 1)
            if request.streamed:
                assert "".join(event.text for event in own) == expected[request.id].text


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "gemma3"])
@pytest.mark.parametrize("budget", [None, 150])
def test_a_generation_depends_neither_on_neighbours_nor_on_arrival(name: str, budget: int | None) -> None:
    model = model_with(name)
    asked = requests(1, 14)
    expected = {request.id: alone(model, request) for request in asked}
    assert len({generation.finish for generation in expected.values()}) == 2
    for seed in range(3):
        events, _ = run_live(Scheduler(model, budget=budget), asked, seed)
        check(asked, events, expected)


@pytest.mark.parametrize(("name", "adapters"), [("llama", ("lora", "prompt", "prefix")), ("t5", ("lora", "prompt"))])
def test_adapters_by_turns_with_cancellations(name: str, adapters: tuple[str, ...]) -> None:
    model = model_with(name, adapters)
    asked = requests(2, 16, [None, *adapters])
    expected = {request.id: alone(model, request) for request in asked}
    bare = {request.id: alone(model, replace(request, adapter=None)) for request in asked}
    assert expected != bare
    cancellations = 0
    for seed in range(3):
        scheduler = Scheduler(model, budget=300, turn=2)
        events, cancelled = run_live(scheduler, asked, seed, cancel=0.15)
        cancellations += len(cancelled)
        left = {request_id: own for request_id, own in expected.items() if request_id not in cancelled}
        check(asked, events, left)
        assert scheduler.idle
        assert not scheduler.running
        assert not scheduler.waiting
    assert cancellations


def plain(number: int, tokens: int, limit: int, adapter: str | None = None) -> GenerationRequest:
    prompt = encoded(90 + number, [(tokens, 1)])[0].prompt_ids
    return GenerationRequest(str(number), prompt, StopConditions(str, limit), adapter=adapter)


def test_slots_grow_for_longer_prompts_and_the_budget_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_with("llama")
    capabilities_of(model)
    held: list[int] = []
    before = KVSlots.advance

    def advance(slots: KVSlots, tokens: torch.Tensor) -> None:
        before(slots, tokens)
        held.append(slots.rows * slots.size + slots.shared)

    asked = [
        plain(0, 4, 20),
        plain(1, 5, 6),
        plain(2, 30, 10),
        plain(3, 60, 12),
        *(plain(n, 3, 8) for n in range(4, 9)),
    ]
    expected = {request.id: alone(model, request) for request in asked}
    monkeypatch.setattr(KVSlots, "advance", advance)
    scheduler = Scheduler(model, budget=100)
    found: dict[str, Generation] = {}
    most = 0
    for request in asked:
        scheduler.submit(request)
        found |= {event.id: event.generation for event in scheduler.step() if isinstance(event, FinishEvent)}
        most = max(most, scheduler.running)
    assert found | run_until_done(scheduler) == expected
    assert max(held) <= 100
    assert len(set(held)) > 2
    assert most >= 2


def test_first_come_first_served() -> None:
    model = model_with("llama")
    scheduler = Scheduler(model, budget=60)
    for request in (plain(0, 10, 20), plain(1, 40, 10), plain(2, 4, 20)):
        scheduler.submit(request)
    scheduler.step()
    assert (scheduler.running, scheduler.waiting) == (1, 2)  # the third would fit, but the second is next
    assert [event.id for event in _until_idle(scheduler)] == ["0", "1", "2"]


def test_cancelling_frees_the_slot_at_once() -> None:
    model = model_with("llama")
    scheduler = Scheduler(model, budget=35)
    scheduler.submit(plain(0, 10, 20))
    scheduler.submit(plain(1, 10, 5))
    scheduler.submit(plain(2, 10, 5))
    for _ in range(3):
        scheduler.step()
    assert scheduler.running == 1
    cancelled = scheduler.cancel("0")
    assert cancelled is not None
    assert (cancelled.tokens, cancelled.finish) == (3, "cancelled")
    assert cancelled.text == str(list(map(int, alone(model, plain(0, 10, 20)).text.strip("[]").split(",")))[:3])
    assert scheduler.cancel("2") == Generation("", 0, "cancelled")
    assert scheduler.cancel("0") is None
    scheduler.step()
    assert scheduler.running == 1
    assert [event.id for event in _until_idle(scheduler)] == ["1"]


def test_no_adapter_starves() -> None:
    """One adapter has always something to do; a request for another comes, and waits for a bounded number of steps."""
    model = model_with("llama", ["lora"])
    scheduler = Scheduler(model, turn=4)
    scheduler.submit(plain(0, 5, 6))
    number, waited = 1, 0
    while True:
        scheduler.submit(plain(number, 5, 6))
        number += 1
        if number == 3:
            scheduler.submit(replace(plain(0, 5, 6, "lora"), id="other"))
        waited += number > 3
        if any(event.id == "other" for event in scheduler.step()):
            break
        assert waited <= 4 + 2 * 6
    assert scheduler.waiting


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (plain(0, 30, 21), ["30 tokens of prompt and 21 to generate", "budget of 50 tokens", "'0'"]),
        (plain(0, 0, 5), ["0 tokens of prompt"]),
        (plain(0, 3, 5, "reviews"), ["no adapter 'reviews'"]),
    ],
)
def test_what_can_never_run_is_refused(request_: GenerationRequest, words: list[str]) -> None:
    if request_.id == "0" and not len(request_.prompt_ids) > 1:
        request_ = replace(request_, prompt_ids=np.zeros(0, np.int32))
    scheduler = Scheduler(model_with("llama"), budget=50)
    with pytest.raises(ModelError) as refused:
        scheduler.submit(request_)
    assert all(word in str(refused.value) for word in words), refused.value
    assert scheduler.idle


def test_a_request_beyond_the_context_is_refused() -> None:
    model = model_with("llama", ["prompt"])
    Scheduler(model).submit(plain(0, 100, 28))
    with pytest.raises(ModelError, match="context of 128 tokens"):
        Scheduler(model).submit(plain(0, 100, 29))
    model.keep_free(5)
    with pytest.raises(ModelError, match="and 5 virtual tokens do not fit the model's context of 123"):
        Scheduler(model).submit(plain(0, 100, 28, "prompt"))
    scheduler = Scheduler(model)
    scheduler.submit(plain(0, 4, 4))
    with pytest.raises(ModelError, match="'0' is still running"):
        scheduler.submit(plain(0, 4, 4))


def test_streams_of_several_requests_are_read_by_turns() -> None:
    model = model_with("llama")
    asked = [replace(request, streamed=True) for request in requests(5, 5)]
    expected = [alone(model, request) for request in asked]
    scheduler = Scheduler(model)
    streams = EventStreams(scheduler)
    open_ = [streams.stream(request) for request in asked]
    texts = [""] * len(asked)
    left = set(range(len(asked)))
    draw = random.Random(0)
    while left:
        place = draw.choice(sorted(left))
        event = next(open_[place], None)
        texts[place] += event.text if event else ""
        left -= set() if event else {place}
    assert texts == [generation.text for generation in expected]
    assert scheduler.idle


def test_closing_a_stream_cancels_its_request() -> None:
    model = model_with("llama")
    scheduler = Scheduler(model)
    request = replace(plain(0, 5, 20), streamed=True)
    events = stream(scheduler, request)
    assert isinstance(next(events), TokenEvent)
    assert scheduler.running == 1
    events.close()  # type: ignore[attr-defined]
    assert scheduler.idle
    # Cancelled elsewhere: the iterator ends.
    events = stream(scheduler, request)
    next(events)
    scheduler.cancel("0")
    assert list(events) == []


PIECES = [b"a", b"b", b"ab", b"EN", b"D", b"\n", *(bytes([byte]) for byte in "ü日😀".encode()), b"", b"\xff"]


def of_bytes(ids: list[int]) -> str:
    return b"".join(PIECES[token] for token in ids).decode("utf-8", errors="replace")


@given(
    st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=40),
    st.lists(st.sampled_from(["ab", "END", "\n\n", "ü", "日a", "aab", "b"]), max_size=3, unique=True),
    st.integers(1, 40),
)
@settings(max_examples=400, deadline=None)
def test_deltas_are_the_text_and_hold_no_stop_string(tokens: list[int], stop: list[str], limit: int) -> None:
    text = GeneratedText(StopConditions(of_bytes, limit, stop=stop), streamed=True)
    plainly = GeneratedText(StopConditions(of_bytes, limit, stop=stop))
    deltas: list[str] = []
    for token in tokens:
        finish = text.add(token)
        assert plainly.add(token) == finish
        if finish is not None:
            break
        deltas.append(text.delta())
    deltas.append(text.rest())
    told = "".join(deltas)
    assert told == text.text() == plainly.text()
    assert not any(string in told for string in stop)


def _until_idle(scheduler: Scheduler) -> list[FinishEvent]:
    events: list[FinishEvent] = []
    while not scheduler.idle:
        events += [event for event in scheduler.step() if isinstance(event, FinishEvent)]
    return events
