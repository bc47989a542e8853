"""How an answer ends: the end token, a stop string anywhere in its text, or the limit of tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

_PARTIAL = "\ufffd"
"""What decoders write for the first bytes of a character."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated after one prompt.

    Attributes:
        text: Up to the end token or the first stop string, neither included.
        tokens: Generated tokens, the end token included.
        finish: ``"stop"`` or ``"length"``.
    """

    text: str
    tokens: int
    finish: str


@dataclass(frozen=True, slots=True)
class StopConditions:
    """What ends an answer.

    Attributes:
        decode: Token ids of an answer to its text.
        limit: Tokens at most.
        end_ids: Tokens that end it.
        stop: Strings that end it; looked for in the text, so that they may span tokens.
    """

    decode: Callable[[list[int]], str]
    limit: int
    end_ids: Collection[int] = ()
    stop: Sequence[str] = ()


class Answer:
    """One answer while it is written; its text is decoded a few tokens at a time.

    Args:
        ending: What ends it.

    Attributes:
        tokens: Written so far.
    """

    def __init__(self, ending: StopConditions) -> None:
        self.ending = ending
        self.tokens: list[int] = []
        self._tail = ""  # the end of the settled text, as much as a stop string may begin in
        self._first = 0  # tokens from here on are decoded together …
        self._settled = 0  # … and those before here are in the tail already
        self._reach = max((len(string) for string in ending.stop), default=1) - 1

    def add(self, token: int) -> str | None:
        """Append a token; return how the answer has ended, ``"stop"`` or ``"length"``, or None if it goes on."""
        self.tokens.append(token)
        if token in self.ending.end_ids or (self.ending.stop and self._stops()):
            return "stop"
        return "length" if len(self.tokens) >= self.ending.limit else None

    def text(self) -> str:
        """Return the text up to the end token or the first stop string, neither included."""
        ended = bool(self.tokens) and self.tokens[-1] in self.ending.end_ids
        return cut(self.ending.decode(self.tokens[:-1] if ended else self.tokens), self.ending.stop)

    def finished(self, finish: str) -> Generation:
        """Return the answer as what was generated; ``finish`` says how it has ended."""
        return Generation(self.text(), len(self.tokens), finish)

    def _stops(self) -> bool:
        """Look for stop strings in what the newest tokens have added, and in the whole text where one seems to be."""
        fresh = self._fresh()
        if not any(string in self._tail + fresh for string in self.ending.stop):
            if fresh and not fresh.endswith(_PARTIAL):
                together = self._tail + fresh
                self._tail = together[len(together) - min(self._reach, len(together)) :]
                self._first, self._settled = self._settled, len(self.tokens)
            return False
        whole = self.ending.decode(self.tokens)
        return any(string in whole for string in self.ending.stop)

    def _fresh(self) -> str:
        """Return the text of the tokens that are not settled, as it is behind those before them."""
        if self._settled == 0:
            return self.ending.decode(self.tokens)
        before = self.ending.decode(self.tokens[self._first : self._settled])
        return self.ending.decode(self.tokens[self._first :])[len(before) :]


def up_to_end(tokens: Iterable[int], ending: StopConditions) -> Generation:
    """Return what tokens say up to where they end; those behind are not read."""
    answer = Answer(ending)
    finish = next((finish for token in tokens if (finish := answer.add(token)) is not None), "length")
    return answer.finished(finish)


def cut(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    places = [text.find(string) for string in stop]
    return text[: min((place for place in places if place >= 0), default=len(text))]
