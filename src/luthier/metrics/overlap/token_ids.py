"""Texts as sequences of token ids, so that n-grams and subsequences are compared with array arithmetic."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Characters in a chunk: its arrays then fit in the processor's cache.
_CHUNK = 400_000


@dataclass(frozen=True)
class TokenSequences:
    """Texts as sequences of token ids below ``size``; equal tokens have equal ids.

    Attributes:
        ids: int64 ``(tokens,)``, the texts concatenated.
        offsets: int64 ``(texts + 1,)``; text i is ``ids[offsets[i] : offsets[i + 1]]``.
        size: Number of different tokens.
    """

    ids: IntArray
    offsets: IntArray
    size: int

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text, int64 ``(texts,)``."""
        return np.diff(self.offsets)

    def pick(self, which: IntArray) -> TokenSequences:
        """Return the texts ``which``, int64 ``(picked,)``, in that order; repetitions are allowed."""
        lengths = self.lengths[which]
        offsets = offsets_of(lengths)
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[which] - offsets[:-1], lengths)
        return TokenSequences(self.ids[at], offsets, self.size)

    def split(self, first: int) -> tuple[TokenSequences, TokenSequences]:
        """Return the first ``first`` texts, and the others."""
        cut = self.offsets[first]
        left = TokenSequences(self.ids[:cut], self.offsets[: first + 1], self.size)
        return left, TokenSequences(self.ids[cut:], self.offsets[first:] - cut, self.size)


def offsets_of(lengths: IntArray) -> IntArray:
    """Return where each of n concatenated sequences begins, and where the last one ends: int64 ``(n + 1,)``."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(items: Sequence[str] | Sequence[bytes]) -> IntArray:
    """Return the length of each item, int64 ``(n,)``."""
    return np.fromiter(map(len, items), np.int64, len(items))


def group_equal_keys(keys: IntArray, bound: int) -> tuple[IntArray, IntArray]:
    """Group equal keys ``(n,)``, all below ``bound``, by sorting them.

    Returns:
        The order that sorts them, int64 ``(n,)``, and where each run of equal keys begins in it, int64 ``(runs,)``.
    """
    n = len(keys)
    shift = n.bit_length()
    if bound.bit_length() + shift < 63:
        # The position is packed into the low bits: one plain sort is several times faster than an argsort.
        packed = (keys << shift) | np.arange(n)
        packed.sort()
        order, ranked = packed & ((1 << shift) - 1), packed >> shift
    else:
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
    starts = np.flatnonzero(np.concatenate([np.ones(min(n, 1), dtype=bool), ranked[1:] != ranked[:-1]]))
    return order, starts


@dataclass(frozen=True)
class SeparatedWords:
    """The words of texts: the longest sequences of bytes without a separator.

    Attributes:
        sequences: The words of each text, as ids.
        starts: Where each word begins in the joined bytes, int64 ``(words,)``.
        dictionary: The distinct words in the order of their ids, as an Arrow array of bytes.
    """

    sequences: TokenSequences
    starts: IntArray
    dictionary: Any

    def words(self) -> list[str]:
        """Return the distinct words in the order of their ids."""
        return [word.decode("utf-8", "surrogatepass") for word in self.dictionary.to_pylist()]


def join(pieces: Sequence[bytes]) -> tuple[bytes, IntArray]:
    """Join texts with a zero byte before, between and after them.

    Returns:
        The bytes, and where each text begins in them (and where one more would), int64 ``(texts + 1,)``.
    """
    return b"\0" + b"\0".join(pieces) + b"\0", 1 + offsets_of(lengths_of(pieces) + 1)


def number_separated_words(data: bytes, text_starts: IntArray, separators: bytes) -> SeparatedWords:
    """Assign ids to the words of joined texts, without creating a Python object for each word.

    Args:
        data: Texts from `join`.
        text_starts: Where they begin, from `join`.
        separators: All bytes that separate words, zero among them.
    """
    import pyarrow as pa

    table = bytes(0 if byte in separators else 1 for byte in range(256))
    inside = np.frombuffer(data.translate(table), np.int8)
    edges = np.flatnonzero(inside[1:] != inside[:-1]) + 1
    starts, ends = edges[0::2], edges[1::2]
    # Arrow uses the buffers without a copy.
    buffers = [None, pa.py_buffer(offsets_of(ends - starts)), pa.py_buffer(data.translate(None, separators))]
    words = pa.Array.from_buffers(pa.large_binary(), len(starts), buffers).dictionary_encode()
    offsets = np.searchsorted(starts, text_starts).astype(np.int64)
    sequences = TokenSequences(words.indices.to_numpy().astype(np.int64), offsets, len(words.dictionary))
    return SeparatedWords(sequences, starts, words.dictionary)


def number_words(words: Sequence[Sequence[str]]) -> TokenSequences:
    """Assign ids to the words of texts that are tokenised already."""
    numbers: dict[str, int] = {}
    ids = [numbers.setdefault(word, len(numbers)) for word in chain.from_iterable(words)]
    offsets = offsets_of(np.fromiter(map(len, words), np.int64, len(words)))
    return TokenSequences(np.array(ids, dtype=np.int64), offsets, len(numbers))


def replace_words(words: TokenSequences, parts: Sequence[Sequence[str]]) -> TokenSequences:
    """Replace words by tokens: the word with id i becomes the tokens ``parts[i]``."""
    tokens = number_words(parts)
    offsets = offsets_of(tokens.lengths[words.ids])[words.offsets]
    return TokenSequences(tokens.pick(words.ids).ids, offsets, tokens.size)


def number_characters(texts: Sequence[str]) -> TokenSequences:
    """Assign ids to the characters of texts."""
    # With "surrogatepass", UTF-32 also represents lone surrogates.
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    used = np.zeros(int(points.max(initial=0)) + 1, dtype=bool)
    used[points] = True
    number = np.cumsum(used) - 1
    return TokenSequences(number[points], offsets_of(lengths_of(texts)), int(used.sum()))


def in_chunks(sizes: IntArray, work: Callable[[slice], Result], *, limit: int = _CHUNK) -> list[Result]:
    """Apply ``work`` to consecutive slices of some items, on all cores; results are in the order of the items.

    Args:
        sizes: Characters of each item, int64 ``(items,)``.
        work: Computes one slice. numpy, pyarrow and rapidfuzz release the interpreter lock, so threads suffice.
        limit: Approximate number of characters in a slice.
    """
    chunk = np.cumsum(sizes) // limit
    bounds = [0, *(np.flatnonzero(np.diff(chunk)) + 1).tolist(), len(sizes)]
    slices = [slice(a, b) for a, b in pairwise(bounds)]
    return on_all_cores(slices, work)


def on_all_cores(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """Apply ``work`` to every item, in threads; results are in the order of the items."""
    cores = min(len(items), len(os.sched_getaffinity(0)))
    if cores <= 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(max_workers=cores) as pool:
        return list(pool.map(work, items))
