"""How a generation ends: by an end token, by a stop string anywhere in its text, or by the limit of tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

_REPLACEMENT = "\ufffd"
"""What decoders write for the first bytes of a character."""


@dataclass(frozen=True, slots=True)
class Generation:
    """What was generated after one prompt.

    Attributes:
        text: Up to the end token or the first stop string, neither included.
        tokens: Number of generated tokens, the end token included.
        finish: ``"stop"`` (end token or stop string), ``"length"``, or ``"cancelled"``.
        ids: The generated tokens, where torch generated them one by one; they are no part of a comparison.
    """

    text: str
    tokens: int
    finish: str
    ids: tuple[int, ...] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class StopConditions:
    """What ends a generation.

    Attributes:
        decode: Converts generated token ids to text.
        limit: Maximum number of generated tokens, at least 1.
        end_ids: End tokens.
        stop: Stop strings; they are searched for in the text, so that they may span tokens.
    """

    decode: Callable[[list[int]], str]
    limit: int
    end_ids: Collection[int] = ()
    stop: Sequence[str] = ()


class GeneratedText:
    """The text of one sequence while it is generated; only the newest tokens are decoded at each step.

    Args:
        conditions: What ends the sequence.
        streamed: Whether :meth:`delta` will be called.

    Attributes:
        tokens: The tokens generated so far.
    """

    def __init__(self, conditions: StopConditions, *, streamed: bool = False) -> None:
        self.conditions = conditions
        self.tokens: list[int] = []
        self._streamed = streamed
        self._emitted = ""  # what the deltas hold so far
        self._pending = ""  # settled text that no delta holds yet: a stop string may begin in it
        self._tail = ""  # the end of the settled text, as much as a stop string may begin in
        self._first = 0  # tokens from here on are decoded together …
        self._settled = 0  # … and those before here are in the tail already
        self._reach = max((len(string) for string in conditions.stop), default=1) - 1

    def add(self, token: int) -> str | None:
        """Append a token; return why the sequence ends, ``"stop"`` or ``"length"``, or None if it goes on."""
        self.tokens.append(token)
        if token in self.conditions.end_ids:
            return "stop"
        if (self._streamed or self.conditions.stop) and self._stops():
            return "stop"
        return "length" if len(self.tokens) >= self.conditions.limit else None

    def text(self) -> str:
        """Return the text up to the end token or the first stop string, neither included."""
        ended = bool(self.tokens) and self.tokens[-1] in self.conditions.end_ids
        whole = cut(self.conditions.decode(self.tokens[:-1] if ended else self.tokens), self.conditions.stop)
        # Some tokenizers decode a text in one piece to other characters than piece by piece. What was sent stands.
        return self._emitted + whole[len(self._emitted) :]

    def delta(self) -> str:
        """Return the text that is certain by now and that no delta before has returned; it may be empty.

        Incomplete characters are held back, and so is the beginning of anything that may become a stop string. The
        deltas of a sequence, with :meth:`rest` behind them, are its text.
        """
        end = _certain(self._pending, self.conditions.stop)
        certain, self._pending = self._pending[:end], self._pending[end:]
        self._emitted += certain
        return certain

    def rest(self) -> str:
        """Return the text of the finished sequence that no delta has returned."""
        return self.text()[len(self._emitted) :]

    def finished(self, finish: str) -> Generation:
        """Return what was generated; ``finish`` says why the sequence has ended."""
        return Generation(self.text(), len(self.tokens), finish, tuple(self.tokens))

    def _stops(self) -> bool:
        """Search the text of the newest tokens for stop strings, and the whole text where one seems to be."""
        fresh = self._fresh()
        if not any(string in self._tail + fresh for string in self.conditions.stop):
            if fresh and not fresh.endswith(_REPLACEMENT):
                together = self._tail + fresh
                self._tail = together[len(together) - min(self._reach, len(together)) :]
                self._first, self._settled = self._settled, len(self.tokens)
                self._pending += fresh if self._streamed else ""
            return False
        whole = self.conditions.decode(self.tokens)
        return any(string in whole for string in self.conditions.stop)

    def _fresh(self) -> str:
        """Return the text of the tokens that are not settled, as it is behind those before them."""
        if self._settled == 0:
            return self.conditions.decode(self.tokens)
        before = self.conditions.decode(self.tokens[self._first : self._settled])
        return self.conditions.decode(self.tokens[self._first :])[len(before) :]


def up_to_end(tokens: Iterable[int], conditions: StopConditions) -> Generation:
    """Return the generation that tokens hold up to their end; tokens behind it are ignored."""
    generated = GeneratedText(conditions)
    finish = next((finish for token in tokens if (finish := generated.add(token)) is not None), "length")
    return generated.finished(finish)


def cut(text: str, stop: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    places = [text.find(string) for string in stop]
    return text[: min((place for place in places if place >= 0), default=len(text))]


def _certain(text: str, stop: Sequence[str]) -> int:
    """Return how many characters of a text no stop string can begin in, whatever follows the text."""
    longest = max((len(string) for string in stop), default=0)
    for start in range(max(0, len(text) - longest + 1), len(text)):
        if any(string.startswith(text[start:]) for string in stop):
            return start
    return len(text)
