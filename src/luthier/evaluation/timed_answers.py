"""What answering takes, timed on a few requests before an evaluation, by the paths that the evaluation will take.

How many requests are tried is decided by the clock: the first one alone says how many others fit into about a second.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from luthier.inference.generation_request import FinishEvent, GenerationRequest
from luthier.inference.scheduler import Scheduler
from luthier.inference.scoring import answer_logprobs
from luthier.inference.stop_conditions import StopConditions
from luthier.inference.tree_scoring import count_tokens
from luthier.models.language_model import LanguageModel
from luthier.records import Encoded

SECONDS = 1.0
"""Of reading prompts, and of writing answers, in one measurement."""
_LEAST_STEPS = 4
_LEAST_REQUESTS = 4


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt and what ends its answer."""

    prompt: Encoded
    ending: StopConditions


@dataclass(frozen=True, slots=True)
class Written:
    """How long the answer to one prompt was.

    Attributes:
        place: Of its prompt among those that were given.
        tokens: Written until its end, or until the measurement was ended.
        ended: Whether it ended by itself.
        limit: Tokens that it may have.
    """

    place: int
    tokens: int
    ended: bool
    limit: int


@dataclass(frozen=True, slots=True)
class WritingRates:
    """What writing answers takes, in seconds.

    Attributes:
        work: Each unit of the work of reading prompts; see :func:`work_of`.
        step: Each step in which all running answers get one token.
        sequence: Each running answer in such a step, besides.
    """

    work: float
    step: float
    sequence: float


@dataclass(frozen=True, slots=True)
class Sample:
    """What a measurement of writing found.

    Attributes:
        rates: Seconds.
        written: The answers, as far as they were written.
    """

    rates: WritingRates
    written: tuple[Written, ...]


@dataclass(frozen=True, slots=True)
class _Run:
    """A run of some requests: seconds of reading their prompts and of the mean step, and how many ran in it."""

    reading: float
    step: float
    width: float
    written: tuple[Written, ...]


def work_of(model: LanguageModel, items: Sequence[Encoded]) -> float:
    """Return the work of computing some sequences: their tokens, weighted by how many each attends to.

    Prefixes that sequences of a decoder share count once, as does the prompt of several targets of an encoder-decoder.
    """
    lengths = [len(item.prompt_ids) + len(item.target_ids) for item in items]
    if not sum(lengths):
        return 0.0
    if model.encoder_decoder:
        prompts = {item.prompt_ids.tobytes(): len(item.prompt_ids) for item in items}
        tokens = sum(prompts.values()) + sum(len(item.target_ids) for item in items)
    else:
        tokens = count_tokens([np.concatenate([item.prompt_ids, item.target_ids]) for item in items])
    context = sum(length * length for length in lengths) / sum(lengths) / 2
    return tokens * (1 + _attention_share(model) * (model.virtual_tokens + context))


def _attention_share(model: LanguageModel) -> float:
    """Return the work of attending to one token, in parts of the work of a token that attends to none.

    The latter is two operations for each weight, the former four for each number of a hidden state in every block.
    """
    config = model.module.config.get_text_config()
    blocks, width = getattr(config, "num_hidden_layers", 0), getattr(config, "hidden_size", 0)
    return 2 * blocks * width / max(1, model.parameters)


def time_writing(model: LanguageModel, asked: Sequence[Asked], *, budget: int, seconds: float = SECONDS) -> Sample:
    """Time the writing of answers: to one prompt alone, and to as many at a time as the clock allows.

    Args:
        model: In evaluation mode, as it will answer.
        asked: Prompts, at least one; those that are tried are spread evenly over them.
        budget: Tokens that are held at a time, as in the evaluation.
        seconds: Of reading prompts, and of writing, in each of two measurements.
    """
    alone = _run(model, asked[:1], budget, seconds=seconds / 2)
    if alone.reading < seconds:  # otherwise verifying paths and choosing kernels is a small part of it
        alone = _run(model, asked[:1], budget, seconds=seconds / 2)
    fitting = int(seconds / max(1e-9, alone.reading))
    places = _spread(len(asked), max(_LEAST_REQUESTS, min(fitting, running_at_once(asked, budget))))
    together = [asked[place] for place in places]
    many = _run(model, together, budget, seconds=seconds) if len(together) > 1 else alone
    work = work_of(model, [item.prompt for item in together])
    step, sequence = step_and_sequence((alone.width, alone.step), (many.width, many.step))
    written = tuple(replace(own, place=places[own.place]) for own in many.written)
    return Sample(WritingRates(many.reading / work, step, sequence), written)


def step_and_sequence(alone: tuple[float, float], many: tuple[float, float]) -> tuple[float, float]:
    """Return the seconds of a step and of each sequence in it, from two steps given by their width and seconds."""
    (few, short), (wide, long) = alone, many
    each = max(0.0, (long - short) / (wide - few)) if wide > few else 0.0
    return max(0.0, long - each * wide), each


def time_scoring(
    model: LanguageModel, requests: Sequence[Sequence[Encoded]], *, budget: int, seconds: float = SECONDS
) -> float:
    """Return the seconds of each unit of the work of scoring given answers; see :func:`work_of`.

    Args:
        model: In evaluation mode, as it will score.
        requests: The sequences of each, neighbours in the order in which they are scored; at least one.
        budget: Tokens of a forward pass, as in the evaluation.
        seconds: What the measurement may take, about.
    """
    count = 1
    answer_logprobs(model, requests[0], budget=budget)  # paths are verified, kernels chosen
    while True:
        items = [item for request in requests[:count] for item in request]
        started = time.monotonic()
        answer_logprobs(model, items, budget=budget)
        taken = time.monotonic() - started
        more = min(len(requests), int(count * min(8.0, seconds / max(taken, 1e-3))))
        if more < 2 * count:
            return taken / work_of(model, items)
        count = more


def _run(model: LanguageModel, asked: Sequence[Asked], budget: int, *, seconds: float) -> _Run:
    """Let a batch write for so many seconds, and a few steps at least."""
    scheduler = Scheduler(model, budget=budget, order="longest", refuse=False)
    limits = {str(number): item.ending.limit for number, item in enumerate(asked)}
    for number, item in enumerate(asked):
        adapter = model.adapters.active
        scheduler.submit(GenerationRequest(str(number), item.prompt.prompt_ids, item.ending, adapter=adapter))
    written: list[Written] = []
    reading, first, steps = 0.0, 0.0, list[tuple[int, float]]()
    while not scheduler.idle and (len(steps) < _LEAST_STEPS or sum(taken for _, taken in steps) < seconds):
        waiting = scheduler.waiting
        started = time.monotonic()
        events = scheduler.step()
        taken = time.monotonic() - started
        for event in events:
            if isinstance(event, FinishEvent):
                found = event.generation
                written.append(Written(int(event.id), found.tokens, found.finish == "stop", limits.pop(event.id)))
        if scheduler.waiting < waiting:
            reading, first = reading + taken, first + 1
        elif scheduler.running:  # where all have ended, nothing was computed
            steps.append((scheduler.running, taken))
    for name, limit in limits.items():
        cancelled = scheduler.cancel(name)
        if cancelled is not None and cancelled.tokens:
            written.append(Written(int(name), cancelled.tokens, ended=False, limit=limit))
    step = sum(taken for _, taken in steps) / max(1, len(steps))
    width = sum(running for running, _ in steps) / max(1, len(steps))
    return _Run(max(reading - first * step, reading / 4), step, max(1.0, width), tuple(written))


def running_at_once(asked: Sequence[Asked], budget: int) -> int:
    """Return how many answers run at a time at most: each holds the room that the longest of them needs."""
    return max(1, budget // max(len(item.prompt.prompt_ids) + item.ending.limit for item in asked))


def _spread(total: int, count: int) -> list[int]:
    """Return so many of the places below ``total``, evenly spread."""
    count = min(count, total)
    return [place * total // count for place in range(count)]
