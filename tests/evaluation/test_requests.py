"""Examples in, predictions out: the same ones at every batch size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.decoding import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.data.encoding import Encoder
from luthier.evaluation.requests import GenerationSettings, encode_requests, plan_request_batches, predict_all
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.objectives.objective import cut_into_micro_batches
from luthier.records import Encoded, Example, Prediction
from tiny_models import tiny_model

WORDS = ["the", "cat", "sat", "on", "the", "red", "dog", "and", "then", "it", "stopped", "again"]
FREE = [
    Example(f"free-{n}", "summary", "plain", " ".join(WORDS[: n + 1]), (WORDS[n],), group=f"g{n // 2}")
    for n in range(9)
]
CLOSED = [
    Example(f"closed-{n}", "choice", "plain", " ".join(WORDS[n:]), ("no",), choices=("yes", "no", "perhaps the cat"))
    for n in range(6)
]


def encoder_of(model: LanguageModel, max_length: int = 128) -> Encoder:
    return Encoder(model.tokenizer, encoder_decoder=model.encoder_decoder, max_length=max_length)


def answers(
    model: LanguageModel, examples: list[Example], batch_tokens: int, decoding: DecodingConfig | None = None
) -> dict[str, Prediction]:
    encoder = encoder_of(model)
    requests, dropped = encode_requests(examples, encoder, new_tokens=8)
    assert not dropped
    how = GenerationSettings(decoding or DecodingConfig(), new_tokens=8, stop=("a",))
    batches = predict_all(model, encoder, requests, how, batch_tokens=batch_tokens)
    return {prediction.id: prediction for batch in batches for prediction in batch}


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5", "bart"])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_predictions_do_not_depend_on_the_batch_size(name: str, temperature: float) -> None:
    model = tiny_model(name)
    mixed = [item for pair in zip(FREE, [*CLOSED, *CLOSED[:3]], strict=True) for item in pair]
    examples = list({item.id: item for item in mixed}.values())
    decoding = DecodingConfig(temperature=temperature)
    alone = answers(model, examples, 1, decoding)
    for batch_tokens in (100, 100_000):
        found = answers(model, examples, batch_tokens, decoding)
        assert found.keys() == alone.keys() == {item.id for item in examples}
        for key, prediction in found.items():
            other = alone[key]
            assert prediction.choice_logprobs == pytest.approx(other.choice_logprobs, abs=1e-4)
            fixed, expected = (replace(item, seconds=0.0, choice_logprobs=()) for item in (prediction, other))
            assert fixed == expected


def test_choices_are_scored_as_the_model_scores_them() -> None:
    model = tiny_model("llama")
    encoder = encoder_of(model)
    found = answers(model, CLOSED, 10_000)
    for example in CLOSED:
        items = encoder.encode_choices(example)
        assert isinstance(items, list)
        with torch.no_grad():
            sums = [float(model.target_logprobs([item]).double().sum()) for item in items]
        prediction = found[example.id]
        assert prediction.choice_logprobs == pytest.approx(sums, abs=1e-4)
        assert prediction.text == example.choices[sums.index(max(sums))]
        assert prediction.choice_tokens == tuple(len(item.target_ids) for item in items)
        assert (prediction.finish, prediction.targets) == ("choice", ("no",))
        assert prediction.choices == example.choices


def test_a_prediction_carries_what_metrics_need() -> None:
    model = tiny_model("llama")
    encoder = encoder_of(model)
    for example in FREE:
        prediction = answers(model, [example], 1)[example.id]
        prompt = encoder.encode_prompt(example, 8)
        assert isinstance(prompt, Encoded)
        assert prediction.prompt_tokens == len(prompt.prompt_ids)
        assert (prediction.task, prediction.targets, prediction.group) == ("summary", example.targets, example.group)
        assert 1 <= prediction.generated_tokens <= 8
        assert prediction.seconds > 0
        assert prediction.finish == "stop" or prediction.generated_tokens == 8
        assert "a" not in prediction.text  # the stop string


def test_what_does_not_fit_is_returned_apart() -> None:
    model = tiny_model("llama")
    long = Example("long", "summary", "plain", "x" * 200, ("y",))
    wide = Example("wide", "choice", "plain", "x", ("y",), choices=("y", "z" * 200))
    requests, dropped = encode_requests([FREE[0], long, wide, CLOSED[0]], encoder_of(model), new_tokens=8)
    assert [request.example.id for request in requests] == ["free-0", "closed-0"]
    assert [item.id for item in dropped] == ["long", "wide"]
    assert all(item.reason for item in dropped)


def test_the_answer_has_room_after_a_cut_prompt() -> None:
    model = tiny_model("llama")
    text = "x" * 300
    long = Example("long", "summary", "plain", f"say: {text}.", ("y",), input_span=(5, 305))
    (request,), dropped = encode_requests([long], encoder_of(model), new_tokens=20)
    assert not dropped
    assert len(request.items[0].prompt_ids) == 108
    # The begin token, 306 characters, and 20 places for the answer in 128.
    assert request.items[0].cut_tokens == 1 + 306 - (128 - 20)


lengths = st.lists(st.integers(1, 60), min_size=0, max_size=40)


@given(lengths, st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_batches_hold_every_item_once_and_no_more_tokens_than_allowed(sizes: list[int], most: int) -> None:
    batches = plan_batches(sizes, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sizes[index] for index in batch) <= most
    assert plan_batches(sizes, most) == batches
    longest = [max(sizes[index] for index in batch) for batch in batches]
    assert longest == sorted(longest, reverse=True)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 9)), min_size=1, max_size=20), st.integers(1, 90))
@settings(max_examples=100, deadline=None)
def test_micro_batches_keep_every_example(sizes: list[tuple[int, int]], most: int) -> None:
    items = [
        Encoded(str(index), np.ones(prompt, np.int32), np.ones(target, np.int32))
        for index, (prompt, target) in enumerate(sizes)
    ]
    parts = cut_into_micro_batches(CrossEntropy(), items, most)
    assert sorted(item.id for part in parts for item in part.records) == sorted(item.id for item in items)


def test_a_busy_batch_takes_nothing_that_would_be_mostly_padding() -> None:
    # 2 x 100 tokens are enough: 90 is alike, 84 is not; 84 + 80 are not enough, so that 10 still goes with them.
    assert plan_batches([100, 100, 90, 84, 80, 10], 10_000, enough=200) == [(0, 1, 2), (3, 4, 5)]
    assert plan_batches([100, 100, 90, 84, 80, 10], 10_000) == [(0, 1, 2, 3, 4, 5)]
    assert plan_batches([100, 90, 84, 80, 10], 250, enough=1) == [(0, 1), (2, 3), (4,)]


@given(st.permutations(range(15)))
@settings(max_examples=50, deadline=None)
def test_choices_and_free_text_never_share_a_batch(order: list[int]) -> None:
    examples = [[*FREE, *CLOSED][index] for index in order]
    requests, _ = encode_requests(examples, ENCODER, new_tokens=8)
    batches = plan_request_batches(requests, new_tokens=8, batch_tokens=200)
    assert sorted(index for batch in batches for index in batch) == list(range(15))
    for batch in batches:
        assert len({bool(requests[index].example.choices) for index in batch}) == 1


ENCODER = encoder_of(tiny_model("llama"))
