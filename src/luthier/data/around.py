"""The special tokens that stand around every prompt: those that the tokenizer adds by itself, and one begin token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.data.tokenizer_adapter import added_around


@dataclass(frozen=True, slots=True)
class Around:
    """What is put before and after the ids of a text, unless the text begins or ends with it already.

    Attributes:
        before: Begin tokens, in their order.
        after: End tokens of an encoder–decoder's input.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]

    def head(self, body: Sequence[int]) -> tuple[int, ...]:
        """Return what goes before a text; nothing where a chat template wrote it."""
        return () if self.before and tuple(body[: len(self.before)]) == self.before else self.before

    def tail(self, body: Sequence[int]) -> tuple[int, ...]:
        """Return what goes after a text."""
        return () if self.after and tuple(body[-len(self.after) :]) == self.after else self.after

    def may_double(self, ids: Sequence[int]) -> bool:
        """Whether a prompt begins with what is put before texts, and holds some of it again."""
        size = len(self.before)
        return bool(size) and tuple(ids[:size]) == self.before and not set(self.before).isdisjoint(ids[size:])


def around_texts(tokenizer: Any, *, encoder_decoder: bool) -> Around:
    """Learn from a tokenizer what stands around its texts; a decoder's prompt has one begin token, and no end token."""
    before, after = added_around(tokenizer)
    eos, bos = int(tokenizer.eos_token_id), tokenizer.bos_token_id
    if encoder_decoder:
        return Around(before, after if after and after[-1] == eos else (*after, eos))
    before = tuple(item for place, item in enumerate(before) if item != bos or item not in before[:place])
    if bos is not None and bos != eos and bos not in before:
        before = (int(bos), *before)
    return Around(before, ())
