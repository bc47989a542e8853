"""Text to token ids, with nothing added: what the encoder asks of a tokenizer, learned from its behaviour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

from luthier.files.native_output import native_output_said

Offsets: TypeAlias = list[tuple[int, int]]
_PROBES = (("the", "cat"), ("a", "b"), ("one two", "three"))


class TokenizerAdapter(Protocol):
    """A tokenizer without its special tokens."""

    def ids(self, texts: Sequence[str], *, literal: bool = False) -> list[list[int]]:
        """Return the ids of each text.

        Args:
            texts: What to tokenise.
            literal: Read the names of special tokens (``"</s>"``) as ordinary text.
        """

    def offsets(self, text: str, *, literal: bool = False) -> tuple[list[int], Offsets | None]:
        """Return the ids of a text and the characters ``[start, end)`` of each; None where they are not known."""

    def state(self) -> str:
        """Return everything that the ids depend on."""


class FastTokenizerAdapter:
    """A copy of the Rust tokenizer behind a Hugging Face tokenizer: truncation and padding off, nobody else's."""

    def __init__(self, tokenizer: Any) -> None:
        from tokenizers import Tokenizer

        self._state: str = tokenizer.backend_tokenizer.to_str()
        with native_output_said(f"{tokenizer.name_or_path}, tokenizer"):
            self._parsing, self._literal = Tokenizer.from_str(self._state), Tokenizer.from_str(self._state)
        for backend in (self._parsing, self._literal):
            backend.no_truncation()
            backend.no_padding()
        self._state = self._parsing.to_str()
        self._literal.encode_special_tokens = True

    def ids(self, texts: Sequence[str], *, literal: bool = False) -> list[list[int]]:
        """See :class:`TokenizerAdapter`."""
        backend = self._literal if literal else self._parsing
        return [item.ids for item in backend.encode_batch_fast(list(texts), add_special_tokens=False)]

    def offsets(self, text: str, *, literal: bool = False) -> tuple[list[int], Offsets | None]:
        """See :class:`TokenizerAdapter`."""
        backend = self._literal if literal else self._parsing
        encoded = backend.encode(text, add_special_tokens=False)
        return encoded.ids, encoded.offsets

    def state(self) -> str:
        """See :class:`TokenizerAdapter`."""
        return self._state


class SlowTokenizerAdapter:
    """A tokenizer written in Python (ByT5, for one), which knows no offsets: nothing can be cut."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def ids(self, texts: Sequence[str], *, literal: bool = False) -> list[list[int]]:
        """See :class:`TokenizerAdapter`."""
        tokenizer = self._tokenizer
        return [
            list(tokenizer(text, add_special_tokens=False, split_special_tokens=literal, verbose=False)["input_ids"])
            for text in texts
        ]

    def offsets(self, text: str, *, literal: bool = False) -> tuple[list[int], Offsets | None]:
        """See :class:`TokenizerAdapter`."""
        return self.ids([text], literal=literal)[0], None

    def state(self) -> str:
        """See :class:`TokenizerAdapter`."""
        return f"{type(self._tokenizer).__name__} {sorted(self._tokenizer.get_vocab().items())!r}"


def adapt_tokenizer(tokenizer: Any) -> TokenizerAdapter:
    """Return the tokenizer's pieces, by the fastest road it has."""
    return FastTokenizerAdapter(tokenizer) if getattr(tokenizer, "is_fast", False) else SlowTokenizerAdapter(tokenizer)


def marks_words(pieces: TokenizerAdapter) -> bool:
    """Say whether the tokenizer itself puts a word mark before a text, as SentencePiece does.

    Where it does, the pieces of ``"a"`` and ``"b"`` laid end to end are those of ``"a b"``; else it takes ``" b"``.
    """
    for left, right in _PROBES:
        whole, head, bare, spaced = pieces.ids([f"{left} {right}", left, right, f" {right}"])
        # Some marking tokenizers read " b" as they read "b", so the second form says nothing where the first fits.
        if head + bare == whole:
            return True
        if head + spaced == whole:
            return False
    return False


def added_around(tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids that the tokenizer itself puts before and after a text."""
    text = "a b"
    bare = list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    full = list(tokenizer(text, add_special_tokens=True, verbose=False)["input_ids"])
    for start in range(len(full) - len(bare) + 1):
        if full[start : start + len(bare)] == bare:
            return tuple(full[:start]), tuple(full[start + len(bare) :])
    return (), ()


def special_names(tokenizer: Any) -> tuple[str, ...]:
    """Return the names of the special tokens, longest first."""
    names = set(tokenizer.all_special_tokens)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    names |= {str(token.content) for token in added.values() if getattr(token, "special", False)}
    return tuple(sorted((name for name in names if name), key=lambda name: (-len(name), name)))
