"""A digest of the source code that computes a result."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

_LIBRARIES = ("torch", "transformers", "tokenizers", "peft")


@functools.cache
def code_digest(rooms: Sequence[str]) -> str:
    """Return a digest of the source of some rooms and of the libraries that compute for them.

    Results of other code are not found again.
    """
    root = Path(__file__).parents[1]
    hashed = hashlib.blake2b(digest_size=8)
    for library in _LIBRARIES:
        hashed.update(f"{library}=={version(library)}".encode())
    for room in rooms:
        for path in sorted((root / room).rglob("*.py")):
            hashed.update(str(path.relative_to(root)).encode())
            hashed.update(path.read_bytes())
    return hashed.hexdigest()
