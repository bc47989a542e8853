"""Which tokens of an over-long prompt are cut: whole tokens at the head of its input text, and never anything else."""

from __future__ import annotations

from luthier.data.tokenizer_adapter import Offsets


def cut_range(text: str, span: tuple[int, int], offsets: Offsets, excess: int) -> tuple[int, int] | None:
    """Return the tokens ``[first, last)`` at the head of the span whose removal frees ``excess`` places.

    At least one token of the span stays. Tokens that share a character go together.
    """
    inside = [place for place, characters in enumerate(offsets) if _lies_in(text, characters, span)]
    if len(inside) <= excess:
        return None
    first, last = inside[0], inside[0] + excess
    while last < inside[-1] and offsets[last][0] < offsets[last - 1][1]:
        last += 1
    return first, last


def _lies_in(text: str, characters: tuple[int, int], span: tuple[int, int]) -> bool:
    start, end = characters
    while start < end and text[start].isspace() and start < span[0]:
        start += 1
    return span[0] <= start < end <= span[1]


def moved_span(span: tuple[int, int] | None, by: int, limit: int) -> tuple[int, int] | None:
    """Return a span moved by some characters, within the first ``limit`` characters of a text."""
    if span is None:
        return None
    return max(span[0] + by, 0), min(span[1] + by, limit)
