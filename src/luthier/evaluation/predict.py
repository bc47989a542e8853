"""Examples in, predictions out: choices by log-probability, free text by generation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from luthier.config import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.data.encoding import Encoder
from luthier.inference.generate import generate
from luthier.inference.score import answer_logprobs
from luthier.models.language_model import LanguageModel
from luthier.records import Dropped, Encoded, Example, Prediction


@dataclass(frozen=True, slots=True)
class Answering:
    """How answers are made.

    Attributes:
        decoding: Greedy or sampled.
        new_tokens: Tokens of an answer at most.
        stop: Strings that end one.
    """

    decoding: DecodingConfig
    new_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """An example made ready: one prompt to answer, or one sequence for each choice."""

    example: Example
    items: tuple[Encoded, ...]

    def tokens(self, new_tokens: int) -> int:
        """Tokens that it takes in a batch."""
        longest = max(len(item.prompt_ids) + len(item.target_ids) for item in self.items)
        return longest * len(self.items) if self.example.choices else longest + new_tokens


def prepare(examples: Sequence[Example], encoder: Encoder, *, new_tokens: int) -> tuple[list[Request], list[Dropped]]:
    """Encode examples for inference; those that cannot fit are returned apart, never lost."""
    requests: list[Request] = []
    dropped: list[Dropped] = []
    for example in examples:
        if example.choices:
            items = encoder.encode_choices(example)
        else:
            prompt = encoder.encode_prompt(example, new_tokens)
            items = prompt if isinstance(prompt, Dropped) else [prompt]
        if isinstance(items, Dropped):
            dropped.append(items)
        else:
            requests.append(Request(example, tuple(items)))
    return requests, dropped


def fits_whole(example: Example, encoder: Encoder, *, new_tokens: int) -> bool:
    """Whether an example, exemplars included, and its answer fit without a cut."""
    requests, _ = prepare([example], encoder, new_tokens=new_tokens)
    return bool(requests) and all(item.cut_tokens == 0 for item in requests[0].items)


def plan(requests: Sequence[Request], *, new_tokens: int, batch_tokens: int) -> list[tuple[int, ...]]:
    """Group requests by length; the same plan for the same requests, so that a killed evaluation goes on in it.

    Choices and free text never share a batch.
    """
    batches: list[tuple[int, ...]] = []
    for closed in (True, False):
        own = [index for index, request in enumerate(requests) if bool(request.example.choices) is closed]
        lengths = [requests[index].tokens(new_tokens) for index in own]
        batches += [tuple(own[place] for place in batch) for batch in plan_batches(lengths, batch_tokens)]
    return batches


def answer(model: LanguageModel, encoder: Encoder, requests: Sequence[Request], how: Answering) -> list[Prediction]:
    """Answer one batch of requests, all of one kind."""
    if requests[0].example.choices:
        return _choose(model, requests)
    return _write(model, encoder, requests, how)


def _choose(model: LanguageModel, requests: Sequence[Request]) -> list[Prediction]:
    started = time.monotonic()
    logprobs = iter(answer_logprobs(model, [item for request in requests for item in request.items]))
    seconds = (time.monotonic() - started) / len(requests)
    predictions = []
    for request in requests:
        own = tuple(next(logprobs) for _ in request.items)
        best = max(range(len(own)), key=lambda index: (own[index], -index))
        predictions.append(
            Prediction(
                id=request.example.id,
                task=request.example.task,
                text=request.example.choices[best],
                targets=request.example.targets,
                choices=request.example.choices,
                choice_logprobs=own,
                choice_tokens=tuple(len(item.target_ids) for item in request.items),
                prompt_tokens=model.virtual_tokens + max(len(item.prompt_ids) for item in request.items),
                seconds=seconds,
                finish="choice",
                group=request.example.group,
            )
        )
    return predictions


def _write(model: LanguageModel, encoder: Encoder, requests: Sequence[Request], how: Answering) -> list[Prediction]:
    started = time.monotonic()
    generations = generate(
        model,
        [request.items[0] for request in requests],
        encoder.decode,
        how.decoding,
        max_new_tokens=how.new_tokens,
        end_ids=model.end_ids.union(encoder.stop_ids),
        stop=how.stop,
    )
    seconds = (time.monotonic() - started) / len(requests)
    return [
        Prediction(
            id=request.example.id,
            task=request.example.task,
            text=generation.text,
            targets=request.example.targets,
            prompt_tokens=model.virtual_tokens + len(request.items[0].prompt_ids),
            generated_tokens=generation.tokens,
            seconds=seconds,
            finish=generation.finish,
            group=request.example.group,
        )
        for request, generation in zip(requests, generations, strict=True)
    ]


def predict(
    model: LanguageModel, encoder: Encoder, requests: Sequence[Request], how: Answering, *, batch_tokens: int
) -> Iterator[list[Prediction]]:
    """Answer all requests, a batch at a time, longest first."""
    for batch in plan(requests, new_tokens=how.new_tokens, batch_tokens=batch_tokens):
        yield answer(model, encoder, [requests[index] for index in batch], how)
