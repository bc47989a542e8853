"""The words that stand for groups of people, and those that are looked for beside them: ours, or a file by path."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import DataError
from luthier.files.digests import file_digest
from luthier.files.opening import open_bytes

OWN = Path(__file__).parent / "lists"
GROUPS = ("gender", "surnames")
"""Our own lists of words for groups; ``surnames`` stand for Asian, Hispanic and white people (Garg et al. 2018)."""
TARGETS = ("professions", "adjectives")
"""Our own lists of words that are looked for beside those of a group."""
VERSION = 1
"""Of our lists; the digest in a signature tells them apart in any case."""
_TOKEN = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class WordList:
    """Words by group, or words alone under one name.

    Attributes:
        words: In lower case, by the name of their group.
        signature: Its name, version and digest.
    """

    words: Mapping[str, frozenset[str]]
    signature: str


def count_words(text: str) -> Counter[str]:
    """Count the words of a text in lower case; ``Anna's`` is ``anna`` and ``s``."""
    return Counter(_TOKEN.findall(text.lower()))


def read_groups(name: str) -> WordList:
    """Read a JSON object from groups to their words.

    Args:
        name: One of `GROUPS`, or the path of a file.

    Raises:
        DataError: The file is missing or is something else.
    """
    path = _path(name, GROUPS)
    found = _json(path)
    fits = isinstance(found, dict) and len(found) > 1 and all(map(_is_words, found.values()))
    if not isinstance(found, dict) or not fits:
        raise DataError(
            "this is not a JSON object from two or more groups to lists of words",
            where=str(path),
            fix='Write, for example: {"female": ["she", "her"], "male": ["he", "him"]}',
        )
    return WordList({key: _lower(words) for key, words in found.items()}, _signature(name, path))


def read_targets(name: str) -> WordList:
    """Read a JSON list of words.

    Args:
        name: One of `TARGETS`, or the path of a file.

    Raises:
        DataError: The file is missing or is something else.
    """
    path = _path(name, TARGETS)
    found = _json(path)
    if not _is_words(found):
        fix = 'Write, for example: ["doctor", "nurse"]'
        raise DataError("this is not a JSON list of words", where=str(path), fix=fix)
    assert isinstance(found, list)
    return WordList({"": _lower(found)}, _signature(name, path))


def _path(name: str, own: tuple[str, ...]) -> Path:
    return OWN / f"{name}.json" if name in own else Path(name)


def _signature(name: str, path: Path) -> str:
    kept = f"luthier-{path.stem}-{VERSION}" if path.parent == OWN else path.name
    return f"{kept}-{file_digest(path)[:8]}"


def _json(path: Path) -> object:
    with open_bytes(path) as file:
        try:
            found: object = json.loads(file.read().decode("utf-8-sig"))
        except ValueError as fault:
            raise DataError(f"this is no JSON in UTF-8 ({fault})", where=str(path)) from None
    return found


def _is_words(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) and word for word in value)


def _lower(words: list[str]) -> frozenset[str]:
    return frozenset(word.lower() for word in words)
