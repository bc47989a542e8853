"""Texts as integers, so that n-grams and subsequences are compared with array arithmetic and not with strings."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

IntArray: TypeAlias = npt.NDArray[np.int64]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Characters handled at once: the arrays of a chunk then stay in the processor's cache.
_CHUNK = 400_000


@dataclass(frozen=True)
class Coded:
    """Texts as sequences of integers below ``size``; equal tokens have equal integers.

    Attributes:
        ids: int64 ``(tokens,)``, all texts one after another.
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

    def pick(self, which: IntArray) -> Coded:
        """The texts ``which``, int64 ``(picked,)``, in that order; a text may be picked several times or never."""
        lengths = self.lengths[which]
        offsets = offsets_of(lengths)
        at = np.arange(offsets[-1]) + np.repeat(self.offsets[which] - offsets[:-1], lengths)
        return Coded(self.ids[at], offsets, self.size)

    def split(self, first: int) -> tuple[Coded, Coded]:
        """The first texts, and the others."""
        cut = self.offsets[first]
        left = Coded(self.ids[:cut], self.offsets[: first + 1], self.size)
        return left, Coded(self.ids[cut:], self.offsets[first:] - cut, self.size)


def offsets_of(lengths: IntArray) -> IntArray:
    """Where each of several sequences of the given lengths begins, and where the last one ends: ``(n + 1,)``."""
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def lengths_of(items: Sequence[str] | Sequence[bytes]) -> IntArray:
    """Length of each item, int64 ``(n,)``."""
    return np.fromiter(map(len, items), np.int64, len(items))


def dense(keys: IntArray, bound: int) -> tuple[IntArray, IntArray]:
    """Sort keys ``(n,)``, all below ``bound``.

    Returns:
        The order that sorts them, int64 ``(n,)``, and where each run of equal keys begins in it, int64 ``(runs,)``.
    """
    n = len(keys)
    shift = n.bit_length()
    if bound.bit_length() + shift < 63:
        # The position rides along in the low bits: one plain sort is several times faster than an argsort.
        packed = (keys << shift) | np.arange(n)
        packed.sort()
        order, ranked = packed & ((1 << shift) - 1), packed >> shift
    else:
        order = np.argsort(keys, kind="stable")
        ranked = keys[order]
    starts = np.flatnonzero(np.concatenate([np.ones(min(n, 1), dtype=bool), ranked[1:] != ranked[:-1]]))
    return order, starts


def code_words(words: Sequence[Sequence[str]]) -> Coded:
    """Number the words of tokenised texts."""
    import pyarrow as pa

    flat = pa.array(list(chain.from_iterable(words)), pa.large_string()).dictionary_encode()
    ids = flat.indices.to_numpy().astype(np.int64)
    return Coded(ids, offsets_of(np.fromiter(map(len, words), np.int64, len(words))), len(flat.dictionary))


def code_characters(texts: Sequence[str]) -> Coded:
    """Number the characters of texts."""
    # UTF-32 also holds lone surrogates, when told to.
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    used = np.zeros(0x110000, dtype=bool)
    used[points] = True
    number = np.cumsum(used) - 1
    return Coded(number[points], offsets_of(lengths_of(texts)), int(used.sum()))


def in_chunks(
    items: Sequence[Item], weight: Callable[[Item], int], work: Callable[[Sequence[Item]], Result]
) -> list[Result]:
    """Do ``work`` on consecutive chunks of ``items``, on all cores; results in the order of the items.

    Args:
        items: What to work on.
        weight: Characters of an item.
        work: numpy, pyarrow and rapidfuzz let other threads run while they compute, so threads suffice.
    """
    chunks = list(_chunks(items, weight))
    if len(chunks) == 1:
        return [work(chunks[0])]
    with ThreadPoolExecutor(max_workers=min(len(chunks), len(os.sched_getaffinity(0)))) as pool:
        return list(pool.map(work, chunks))


def _chunks(items: Sequence[Item], weight: Callable[[Item], int]) -> Iterator[Sequence[Item]]:
    start, size = 0, 0
    for i, item in enumerate(items):
        size += weight(item)
        if size > _CHUNK:
            yield items[start : i + 1]
            start, size = i + 1, 0
    if start < len(items) or not items:
        yield items[start:]
