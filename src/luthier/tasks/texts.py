"""The text that an example is about, by which the same row is known in several tasks."""

from __future__ import annotations

from luthier.records import Example
from luthier.tasks.rows.splits import hash64


def text_of(example: Example) -> str:
    """Return the input text of an example where its template marks one, else its prompt, without blanks around it."""
    start, end = example.input_span or (0, len(example.prompt))
    return example.prompt[start:end].strip()


def text_hash(example: Example) -> int:
    """Return a hash of 64 bits of :func:`text_of`."""
    return hash64(text_of(example), "luthier text")
