"""The text of a prompt, laid out before it is tokenised."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layout:
    """The text of a prompt, ready to be tokenised, and what its target is tokenised with.

    Attributes:
        text: The whole text, exemplars included.
        span: Characters of it that may be cut.
        anchor: End of the text that a target is tokenised after, where the tokenizer marks words.
        lead: What stands between the text and the target.
        reply: The target as it is learned: without what stands in the text already.
        literal: The text holds the name of a special token, which must be read as ordinary text.
        masked: The same where other special tokens are meant (a chat template's own): those that are not are masked.
        written: The target is a template's own text, still masked: it may hold special tokens that are meant.
        lost: Tokens of the span that were cut already.
    """

    text: str
    span: tuple[int, int] | None
    anchor: str
    lead: str
    reply: str
    literal: bool = False
    masked: bool = False
    written: bool = False
    lost: int = 0
