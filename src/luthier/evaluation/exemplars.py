"""Few-shot exemplars: drawn by a seed or taken in order, the same for every example, as many as fit."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from luthier.data.chat_messages import messages_of_turns
from luthier.records import Example, Message, Turn


@dataclass(frozen=True, slots=True)
class ExamplesWithExemplars:
    """Examples with their exemplars.

    Attributes:
        examples: In the given order, with ``turns`` filled.
        used: Fewest and most exemplars that fitted.
    """

    examples: tuple[Example, ...]
    used: tuple[int, int]


def add_exemplars(
    examples: Sequence[Example],
    pool: Sequence[Example],
    shots: int,
    *,
    seed: int,
    fits: Callable[[Example], bool],
    order: Literal["drawn", "first"] = "drawn",
) -> ExamplesWithExemplars:
    """Put exemplars before each prompt.

    All examples get the same exemplars in the same order, so that their common prefix is computed once; an example that
    cannot hold them all gets the first that fit. An exemplar is whole or left out; it is never an evaluated example.

    Args:
        examples: What is evaluated.
        pool: What exemplars are taken from, rendered by the template of the evaluated examples.
        shots: Exemplars wanted.
        seed: Decides which.
        fits: Whether an example with its exemplars and its answer fits the model.
        order: ``drawn`` by the seed whatever the order of the pool, or the ``first`` of the pool.
    """
    prompts = {example.prompt for example in examples}
    # An exemplar that is itself evaluated would give its answer away.
    candidates = [item for item in pool if item.prompt not in prompts]
    if order == "drawn":
        candidates.sort(key=lambda item: item.id)
        candidates = random.Random(seed).sample(candidates, min(shots, len(candidates)))
    turns = tuple(Turn(item.prompt, item.reply) for item in candidates[:shots])
    filled = tuple(_fill(example, turns, fits) for example in examples)
    counts = [len(new.turns) - len(old.turns) for new, old in zip(filled, examples, strict=True)]
    return ExamplesWithExemplars(filled, (min(counts, default=0), max(counts, default=0)))


def _fill(example: Example, turns: tuple[Turn, ...], fits: Callable[[Example], bool]) -> Example:
    for count in range(len(turns), 0, -1):
        filled = replace(example, turns=turns[:count] + example.turns, messages=_after(turns[:count], example.messages))
        if fits(filled):
            return filled
    return example


def _after(turns: Sequence[Turn], messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """Return the messages of a conversation after exemplars; none where its turns say it all."""
    return (*messages_of_turns(turns), *messages) if messages else ()
