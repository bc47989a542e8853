"""Examples in, predictions out: choices by log-probability, free text by generation."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.config.decoding import DecodingConfig
from luthier.data.batching import plan_batches
from luthier.data.encoding import Encoder
from luthier.data.special_tokens import stop_tokens
from luthier.inference.engine import Engine, TorchEngine
from luthier.inference.prefix_tree import sort_key
from luthier.inference.scoring import BUDGET
from luthier.inference.stop_conditions import StopConditions
from luthier.kernels.branches import common_prefix
from luthier.models.language_model import LanguageModel
from luthier.records import Dropped, Encoded, Example, Prediction

_SCORED_AT_ONCE, _GENERATED_AT_ONCE = 2, 4
"""Tokens of a batch, in those of a forward pass: a killed evaluation loses one batch."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How answers are made.

    Attributes:
        decoding: Greedy or sampled.
        new_tokens: Tokens of an answer at most.
        stop: Strings that end one.
    """

    decoding: DecodingConfig
    new_tokens: int
    stop: tuple[str, ...] = ()

    def inputs(self) -> dict[str, Any]:
        """Return the record as JSON can hold it: part of the key of every generated answer."""
        return {
            "decoding": self.decoding.model_dump(mode="json"),
            "new_tokens": self.new_tokens,
            "stop": list(self.stop),
        }


@dataclass(frozen=True, slots=True)
class Request:
    """An example made ready: one prompt to answer, or one sequence for each choice.

    Attributes:
        example: What is asked.
        items: Its sequences.
        priors: Each choice without its prompt, where the task asks for that; else empty.
    """

    example: Example
    items: tuple[Encoded, ...]
    priors: tuple[Encoded, ...] = ()

    @property
    def sequences(self) -> tuple[Encoded, ...]:
        """Everything that is computed for it."""
        return (*self.items, *self.priors)

    def tokens(self, new_tokens: int) -> int:
        """Tokens that it takes in a batch."""
        longest = max(len(item.prompt_ids) + len(item.target_ids) for item in self.items)
        return longest * len(self.items) if self.example.choices else longest + new_tokens


def encode_requests(
    examples: Sequence[Example], encoder: Encoder, *, new_tokens: int
) -> tuple[list[Request], list[Dropped]]:
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
            priors = encoder.encode_priors(example) if example.choices else ()
            requests.append(Request(example, tuple(items), tuple(priors)))
    return requests, dropped


def fits_whole(example: Example, encoder: Encoder, *, new_tokens: int) -> bool:
    """Whether an example, exemplars included, and its answer fit without a cut."""
    requests, _ = encode_requests([example], encoder, new_tokens=new_tokens)
    return bool(requests) and all(item.cut_tokens == 0 for item in requests[0].items)


def plan_request_batches(requests: Sequence[Request], *, new_tokens: int, batch_tokens: int) -> list[tuple[int, ...]]:
    """Group requests; the same plan for the same requests, so that a killed evaluation goes on in it.

    Choices and free text never share a batch. Choices whose prompts begin alike stand together, free text by length. A
    batch is more than what is computed at a time, so that what is shared is shared widely and freed places are taken.
    """
    closed = [index for index, request in enumerate(requests) if request.example.choices]
    free = [index for index, request in enumerate(requests) if not request.example.choices]
    lengths = [requests[index].tokens(new_tokens) for index in free]
    written = plan_batches(lengths, _GENERATED_AT_ONCE * batch_tokens)
    chosen = _plan_choices(requests, closed, _SCORED_AT_ONCE * batch_tokens)
    return chosen + [tuple(free[place] for place in batch) for batch in written]


def _plan_choices(requests: Sequence[Request], closed: Sequence[int], most: int) -> list[tuple[int, ...]]:
    """Cut choices, sorted by their prompts, into batches of at most so many tokens, shared ones counted once."""
    batches: list[list[int]] = []
    size = 0
    for index in sorted(closed, key=lambda index: (sort_key(requests[index].items[0].prompt_ids), index)):
        items = requests[index].items
        prompt = items[0].prompt_ids
        answers = sum(len(item.target_ids) for item in items)
        alike = common_prefix(requests[batches[-1][-1]].items[0].prompt_ids, prompt) if batches else 0
        size += len(prompt) - alike + answers
        if not batches or size > most:
            batches.append([])
            size = len(prompt) + answers
        batches[-1].append(index)
    return [tuple(batch) for batch in batches]


def answer_batch(
    model: LanguageModel,
    encoder: Encoder,
    requests: Sequence[Request],
    generation: GenerationSettings,
    *,
    batch_tokens: int = BUDGET,
    engine: Engine | None = None,
) -> list[Prediction]:
    """Answer one batch of requests, all of one kind, at most ``batch_tokens`` tokens at a time.

    Args:
        model: What is asked.
        encoder: Turns generated tokens into text.
        requests: At least one.
        generation: How free text is generated.
        batch_tokens: Tokens that are computed at a time.
        engine: What computes for the model; torch when not given.
    """
    engine = engine or TorchEngine(model)
    if requests[0].example.choices:
        return _choose(model, engine, requests, batch_tokens)
    return _generate(model, engine, encoder, requests, generation, batch_tokens)


def _choose(model: LanguageModel, engine: Engine, requests: Sequence[Request], batch_tokens: int) -> list[Prediction]:
    started = time.monotonic()
    items = [item for request in requests for item in request.sequences]
    logprobs = iter(engine.answer_logprobs(items, budget=batch_tokens))
    seconds = (time.monotonic() - started) / len(requests)
    predictions = []
    for request in requests:
        own = tuple(next(logprobs) for _ in request.items)
        priors = tuple(next(logprobs) for _ in request.priors)
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
                choice_priors=priors,
            )
        )
    return predictions


def _generate(
    model: LanguageModel,
    engine: Engine,
    encoder: Encoder,
    requests: Sequence[Request],
    generation: GenerationSettings,
    batch_tokens: int,
) -> list[Prediction]:
    started = time.monotonic()
    prompts = [request.items[0] for request in requests]
    ending = stop_conditions_of(model, encoder, generation)
    generations = engine.generate(prompts, generation.decoding, ending, budget=batch_tokens)
    seconds = (time.monotonic() - started) / len(requests)
    return [
        Prediction(
            id=request.example.id,
            task=request.example.task,
            text=encoder.begun(request.example) + generated.text,
            targets=request.example.targets,
            prompt_tokens=model.virtual_tokens + len(request.items[0].prompt_ids),
            generated_tokens=generated.tokens,
            seconds=seconds,
            finish=generated.finish,
            group=request.example.group,
            wrong=request.example.wrong,
        )
        for request, generated in zip(requests, generations, strict=True)
    ]


def stop_conditions_of(model: LanguageModel, encoder: Encoder, generation: GenerationSettings) -> StopConditions:
    """Return what ends the answers of a model to a task."""
    ids, texts = stop_tokens(encoder.tokenizer, generation.stop)
    ends = model.end_ids.union(encoder.stop_ids, ids)
    return StopConditions(encoder.decode, generation.new_tokens, ends, (*texts, *encoder.stop_texts))


def predict_all(
    model: LanguageModel,
    encoder: Encoder,
    requests: Sequence[Request],
    generation: GenerationSettings,
    *,
    batch_tokens: int,
) -> Iterator[list[Prediction]]:
    """Answer all requests, a batch at a time."""
    for batch in plan_request_batches(requests, new_tokens=generation.new_tokens, batch_tokens=batch_tokens):
        yield answer_batch(model, encoder, [requests[index] for index in batch], generation, batch_tokens=batch_tokens)
