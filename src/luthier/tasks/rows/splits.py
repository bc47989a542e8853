"""Train, validation and test by a hash of the id.

The split of an example depends on its id alone, so that it stays the same when rows are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from luthier.records import Example

TRAIN, VALIDATION, TEST = 0, 1, 2
NAMES = ("train", "validation", "test")
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Fractions:
    """Shares of the rows where the source does not divide them itself; they sum to 1."""

    train: float = 0.8
    validation: float = 0.1
    test: float = 0.1


def hash64(text: str, purpose: str) -> int:
    """Return a uniform 64-bit hash; different purposes give unrelated hashes."""
    hashed = _hash_of(purpose).copy()  # in two thirds of the time that a new one takes
    hashed.update(text.encode("utf-8", "surrogatepass"))
    return int.from_bytes(hashed.digest(), "big")


@lru_cache(maxsize=64)
def _hash_of(purpose: str) -> blake2b:
    return blake2b(digest_size=8, person=purpose.encode()[:16])


def position(key: str) -> float:
    """Return where an id lies in [0, 1)."""
    return (hash64(key, "luthier split") >> 11) / 2**53


def assign(key: str, fractions: Fractions, given: frozenset[str]) -> str:
    """Return the split of an example that the source does not place itself.

    Args:
        key: The example's id, or its group's, so that a group stays together.
        fractions: Shares of the three splits.
        given: Splits that the source has itself; nothing is added to them.
    """
    place = position(key)
    if place >= 1 - fractions.test and "test" not in given:
        return "test"
    if 1 - fractions.test - fractions.validation <= place < 1 - fractions.test and "validation" not in given:
        return "validation"
    return "train"


def draw_key(example_id: str, seed: int) -> int:
    """Return the rank by which examples are drawn: the smallest are drawn first."""
    return hash64(f"{seed}:{example_id}", "luthier draw")


def subset(examples: Sequence[Example], n: int | None, seed: int) -> tuple[Example, ...]:
    """Draw ``n`` examples by hash, in their own order; a larger ``n`` contains the smaller."""
    if n is None or n >= len(examples):
        return tuple(examples)
    ranked = sorted(range(len(examples)), key=lambda index: (draw_key(examples[index].id, seed), index))
    return tuple(examples[index] for index in sorted(ranked[:n]))


def draw_mask(keys: Hashes, n: int | None) -> npt.NDArray[np.bool_]:
    """Mark the ``n`` smallest keys (all when None); ties go to the earlier one."""
    marked = np.ones(len(keys), dtype=np.bool_)
    if n is not None and n < len(keys):
        marked[np.argsort(keys, kind="stable")[n:]] = False
    return marked


def digest_examples(examples: Iterable[Example]) -> str:
    """Return a digest of everything in the examples, in order: 32 hexadecimal digits."""
    digest = blake2b(digest_size=16)
    for example in examples:
        digest.update(repr(example).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
