"""Answers that are learned from by what they are worth: the right one of an example, and those that a model drew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from luthier.data.encoding import Encoder
from luthier.data.long_texts import in_batches
from luthier.records import Dropped, Encoded, Example

NO_TARGET = "it has no right answer"
_TOGETHER = 256
"""Examples that are encoded together."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is known of an answer that the model drew.

    Attributes:
        advantage: By how much it is better than the other answers to its prompt; 0 where it has no reward.
        old: The log-probability (nats) of each of its tokens when it was drawn; empty where it is learned from once,
            with the weights that drew it.
    """

    advantage: float
    old: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """An answer to a prompt.

    Attributes:
        id: Of the example, and the number of the answer where it was drawn.
        example: What was asked.
        answer: The prompt with the answer: the example's first target, until the model draws its own.
        drawn: None for the example's target.
    """

    id: str
    example: Example
    answer: Encoded
    drawn: Drawn | None = None


def attempts_of(examples: Iterable[Example], encoder: Encoder) -> Iterator[Attempt | Dropped]:
    """Encode the prompt and the first target of each example, or say why it cannot be learned from."""
    for batch in in_batches(examples, _TOGETHER):
        encoded = encoder.stream(example for example in batch if example.targets)
        for example in batch:
            item = next(encoded) if example.targets else Dropped(example.id, NO_TARGET)
            yield item if isinstance(item, Dropped) else Attempt(example.id, example, item)
