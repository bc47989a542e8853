"""Texts of millions of characters, made short before they are tokenised, because tokens take hundreds of bytes each.

What is lost is what would be lost anyway: the head of the input text, or a whole example that can never fit. It is
counted piece by piece, each cut where a word begins, so that the count is that of the whole text but for a token at a
joint where no word begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from luthier.data.layout import Layout
from luthier.records import Example

LONG = 1 << 20
"""Characters from which on a text is made short before it is tokenised."""
_PIECE = 1 << 16
_SEARCHED = 1024
_CHARACTERS_OF_A_TOKEN = 16


def shortened(layout: Layout, max_length: int, count: Callable[[str], int]) -> Layout:
    """Return a layout whose texts can be tokenised in little memory, and that fits or does not fit as before.

    Args:
        layout: Of any size.
        max_length: Tokens that fit.
        count: Returns the tokens of a piece of text.
    """
    layout = replace(layout, reply=_bounded(layout.reply, max_length, count))
    if len(layout.text) < LONG:
        return layout
    start, end = layout.span or (len(layout.text), len(layout.text))
    begin = max(start, end - _CHARACTERS_OF_A_TOKEN * max_length - _PIECE)
    begin = _joint(layout.text, begin, end) if begin > start else start
    head = _bounded(layout.text[:start], max_length, count)
    tail = _bounded(layout.text[end:], max_length, count)
    lost = sum(count(piece) for piece in _pieces(layout.text[start:begin]))
    kept = layout.text[begin:end]
    span = None if layout.span is None else (len(head), len(head) + len(kept))
    return replace(layout, text=head + kept + tail, span=span, lost=lost)


def in_batches(examples: Iterable[Example], most: int) -> Iterator[list[Example]]:
    """Yield examples in lists of some number, and fewer where their texts are long."""
    batch: list[Example] = []
    size = 0
    for example in examples:
        batch.append(example)
        size += characters(example)
        if len(batch) == most or size >= LONG:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def characters(example: Example) -> int:
    """Return the characters of an example's prompt and first target."""
    return len(example.prompt) + len(example.targets[0] if example.targets else "")


def _bounded(text: str, most: int, count: Callable[[str], int]) -> str:
    """Return a text, or so much of it as has too many tokens already."""
    if len(text) < LONG:
        return text
    tokens = size = 0
    for piece in _pieces(text):
        tokens, size = tokens + count(piece), size + len(piece)
        if tokens > most + size // _PIECE:  # a joint may have made one more of a token
            return text[:size]
    return text


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = _joint(text, start + _PIECE, len(text)) if start + _PIECE < len(text) else len(text)
        yield text[start:end]
        start = end


def _joint(text: str, place: int, end: int) -> int:
    """Return where a word begins, with the blank before it, at or soon after a place; the place itself where none
    does."""
    most = min(place + _SEARCHED, end)
    return next((at for at in range(place, most) if text[at].isspace() and not text[at - 1].isspace()), place)
