"""Sequences take the places of those that have ended, and none feels it; stop strings are found as text is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from luthier.config.decoding import DecodingConfig
from luthier.inference import custom_attention, kv_slots, tree_scoring
from luthier.inference.capabilities import capabilities_of
from luthier.inference.generation import generate
from luthier.inference.kv_slots import KVSlots
from luthier.inference.running_batch import PendingSequence
from luthier.inference.scheduler import _compacted
from luthier.inference.scoring import answer_logprobs
from luthier.inference.stop_conditions import GeneratedText, Generation, StopConditions, cut
from luthier.methods.registry import find_method, read_settings
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded
from tiny_models import BOS, encoded, tiny_model

NOTHING = np.zeros(0, dtype=np.int32)
HEAD = encoded(71, [(40, 1)])[0].prompt_ids


def prompts(*, head: bool, seed: int = 72) -> list[Encoded]:
    """Of uneven length, and in no order; all begin alike or not at all."""
    items = encoded(seed, [(3, 1), (17, 1), (8, 1), (25, 1), (5, 1), (12, 1), (21, 1), (9, 1)], bos=not head)
    return [
        Encoded(item.id, np.concatenate([HEAD, item.prompt_ids]) if head else item.prompt_ids, NOTHING)
        for item in items
    ]


def alone(model: LanguageModel, prompt: Encoded, steps: int, ends: set[int]) -> str:
    """Greedy decoding by the model's own continuation."""
    written: list[int] = []
    with torch.no_grad():
        continuation = model.begin([prompt.prompt_ids])
        while len(written) < steps:
            token = continuation.logits.argmax(dim=-1)
            written.append(int(token))
            if int(token) in ends:
                break
            continuation.advance(token)
    return str(written[:-1] if written[-1] in ends else written)


# Many end tokens, so that answers end at uneven places.
ENDS = set(range(5, 74, 8))


def answers(model: LanguageModel, asked: list[Encoded], budget: int | None, **sampled: Any) -> list[Generation]:
    decoding = DecodingConfig(**sampled)
    return generate(model, asked, decoding, StopConditions(str, 14, ENDS), budget=budget)


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "t5", "bart", "gemma3"])
@pytest.mark.parametrize("head", [True, False])
def test_greedy_answers_are_those_of_each_prompt_alone(name: str, head: bool) -> None:
    model = tiny_model(name)
    asked = prompts(head=head)
    expected = [alone(model, prompt, 14, ENDS) for prompt in asked]
    for budget in (None, 1, 90, 200):
        found = answers(model, asked, budget)
        assert [answer.text for answer in found] == expected
        assert answers(model, asked[::-1], budget)[::-1] == found
    if name in ("llama", "qwen3", "gemma3"):  # others say one token for ever
        assert len({answer.tokens for answer in found}) > 1  # they do end at uneven places


@pytest.mark.parametrize("method", [None, "prompt_tuning", "prefix_tuning"])
@pytest.mark.parametrize("head", [True, False])
def test_prompts_are_read_in_as_many_passes_as_they_need(
    monkeypatch: pytest.MonkeyPatch, method: str | None, head: bool
) -> None:
    """Prompts that begin alike across a cut go on from the keys and values of the pass before."""
    model = tiny_model("llama")
    if method is not None:
        found = find_method(method)
        found.attach(model, read_settings(found, {"virtual_tokens": 5}, where="test"), seed=0)
    alike = encoded(3, [(80, 1)])[0].prompt_ids
    asked = [replace(item, prompt_ids=np.concatenate([alike, item.prompt_ids])) for item in encoded(4, [(9, 1)] * 4)]
    asked += prompts(head=head)
    expected = answers(model, asked, None)
    sizes: list[int] = []
    once = custom_attention.forward_layout

    def counted(model: LanguageModel, tokens: Any, *others: Any, **more: Any) -> Any:
        sizes.append(len(tokens))
        return once(model, tokens, *others, **more)

    monkeypatch.setattr(kv_slots, "forward_layout", counted)
    monkeypatch.setattr(tree_scoring, "_MOST_ON_CPU", 100)
    assert answers(model, asked, None) == expected
    longest = max(len(item.prompt_ids) for item in asked) + 5
    assert max(sizes) <= max(100, longest)
    assert sum(sizes) < sum(len(item.prompt_ids) + 5 for item in asked) + sum(own.tokens for own in expected)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_sampled_answers_do_not_depend_on_the_budget(name: str) -> None:
    model = tiny_model(name)
    asked = prompts(head=True)
    together = answers(model, asked, None, temperature=1.2, top_p=0.9)
    assert answers(model, asked, 100, temperature=1.2, top_p=0.9) == together
    assert answers(model, asked, None, temperature=1.2, top_p=0.9, seed=1) != together


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("method", ["prompt_tuning", "prefix_tuning", "lora"])
def test_methods_are_seen(name: str, method: str) -> None:
    """Soft prompts stand before what prompts have in common, and adapters are part of what computes it."""
    model = tiny_model(name)
    bare = [alone(model, prompt, 8, set()) for prompt in prompts(head=True)]
    found = find_method(method)
    given = {"rank": 2} if method == "lora" else {"virtual_tokens": 6}
    attached = found.attach(model, read_settings(found, given, where="test"), seed=0)
    with torch.no_grad():
        for weight in attached.trainable().values():
            weight.normal_(0, 0.5, generator=torch.Generator().manual_seed(3))
    if name in ("llama", "gpt2"):
        assert capabilities_of(model).tree
        assert capabilities_of(model).slots
    asked = prompts(head=True)
    expected = [alone(model, prompt, 8, set()) for prompt in asked]
    assert expected != bare
    for budget in (None, 120):
        written = generate(model, asked, DecodingConfig(), StopConditions(str, 8), budget=budget)
        assert [answer.text for answer in written] == expected
    items = [
        Encoded(item.id, item.prompt_ids, np.array([9, 12, 2], np.int32)[:size]) for item in asked for size in (1, 3)
    ]
    with torch.no_grad():
        sums = [float(model.target_logprobs([item]).double().sum()) for item in items]
    for budget in (60, 10_000):
        assert answer_logprobs(model, items, budget=budget) == pytest.approx(sums, abs=1e-4)


class Watch:
    """Sees how many sequences ran in each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[int] = []
        self.held = 0
        before = KVSlots.advance

        def advance(slots: KVSlots, tokens: Tensor) -> None:
            before(slots, tokens)
            self.rows.append(len(tokens))
            self.held = max(self.held, slots.rows * slots.size + slots.shared)

        monkeypatch.setattr(KVSlots, "advance", advance)


def test_a_waiting_sequence_takes_the_place_of_one_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    capabilities_of(model)
    watch = Watch(monkeypatch)
    asked = prompts(head=False)
    budget = 3 * (25 + 14)
    found = answers(model, asked, budget)
    rows = list(watch.rows)
    assert sum(rows) == sum(answer.tokens - 1 for answer in found)  # the first token comes from reading the prompt
    assert max(rows) == 3
    assert watch.held <= budget
    longest_first = sorted(found, key=lambda answer: -len(asked[found.index(answer)].prompt_ids))
    waves = [max(answer.tokens - 1 for answer in longest_first[start : start + 3]) for start in (0, 3, 6)]
    assert len(rows) < sum(waves)


def test_what_all_prompts_begin_with_is_read_and_held_once() -> None:
    model = tiny_model("llama")
    capabilities_of(model)
    read: list[int] = []
    model.module.get_input_embeddings().register_forward_hook(lambda _, given, out: read.append(given[0].numel()))
    asked = prompts(head=True)
    answers(model, asked, None)
    own = [len(prompt.prompt_ids) - 40 for prompt in asked]
    assert read[:2] == [40, sum(own)]
    known = sorted((PendingSequence(prompt.prompt_ids, 14) for prompt in asked), key=lambda own: -len(own.prompt_ids))
    slots = KVSlots(model, known, 40 + 2 * (max(own) + 14))
    slots.admit(known[: slots.room(known)])
    assert (slots.shared, slots.rows, slots.size) == (40, 2, max(own) + 14)


def test_those_behind_move_into_the_places_of_those_that_have_ended() -> None:
    assert _compacted([True, True, True]) == [0, 1, 2]
    assert _compacted([True, False, True, True]) == [0, 3, 2]
    assert _compacted([False, True, False]) == [1]
    assert _compacted([False, False]) == []


# Text is decoded a few tokens at a time.

PIECES = [
    b"a",
    b"b",
    b"ab",
    b"END",
    b"\n",
    " ü".encode()[:2],
    " ü".encode()[2:],
    "日".encode()[:1],
    "日".encode()[1:],
    b"",
]


def decode(ids: list[int]) -> str:
    return b"".join(PIECES[token] for token in ids).decode("utf-8", errors="replace")


@given(
    st.lists(st.integers(0, len(PIECES) - 1), min_size=1, max_size=40),
    st.lists(
        st.sampled_from(["ab", "ba", "END", "\n\n", "ü", "日a", "bEN", "aaa"]), min_size=1, max_size=3, unique=True
    ),
)
@settings(max_examples=400, deadline=None)
def test_stop_strings_are_found_where_decoding_the_whole_finds_them(tokens: list[int], stop: list[str]) -> None:
    answer = GeneratedText(StopConditions(decode, 1000, stop=stop))
    for number, token in enumerate(tokens, start=1):
        whole = decode(tokens[:number])
        expected = "stop" if any(string in whole for string in stop) else None
        assert answer.add(token) == expected
        assert answer.text() == cut(whole, stop)
        if expected:
            break


def test_long_answers_are_not_decoded_again_at_every_step() -> None:
    seen: list[int] = []

    def counted(ids: list[int]) -> str:
        seen.append(len(ids))
        return decode(ids)

    answer = GeneratedText(StopConditions(counted, 1000, stop=["zz"]))
    for _ in range(500):
        answer.add(0)
    assert sum(seen) <= 4 * 500
    assert BOS not in answer.tokens
