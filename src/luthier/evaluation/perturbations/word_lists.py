"""The word lists behind perturbations: ours, in ``lists/``, or a file that has HELM's format, by path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from luthier.errors import DataError
from luthier.files.digests import file_digest
from luthier.files.opening import SAVE_AS_UTF8, open_bytes

OWN = Path(__file__).parent / "lists"
VERSION = 1
"""Of our own lists; the digest in a signature tells them apart in any case."""
Replacements: TypeAlias = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PersonName:
    """A line of a list of names: ``aisha,first_name,origin,african_american,gender,female``.

    Attributes:
        name: In lower case.
        kind: ``first_name`` or ``last_name``.
        properties: Category and value of whatever is said of it; one name may have several lines.
    """

    name: str
    kind: str
    properties: frozenset[tuple[str, str]]


def list_signature(path: Path) -> str:
    """Return what a score depends on of a list: ours by name and version, and the digest of its bytes."""
    name = f"luthier-{VERSION}" if path.parent == OWN else path.name
    return f"{name}-{file_digest(path)[:8]}"


def read_replacements(path: Path) -> Replacements:
    """Read a JSON object from words to lists of their replacements (HELM's misspellings, dialects and synonyms).

    HELM's synonyms have keys with a part of speech (``"run:v"``); without a tagger all senses of a word are one.

    Raises:
        DataError: The file is missing or is something else.
    """
    found: dict[str, list[str]] = {}
    for key, values in _object(path, "lists of words", _is_texts).items():
        own = found.setdefault(key.rpartition(":")[0] or key, [])
        own += [value for value in values if value not in own]
    return {key: tuple(value for value in values if value != key) for key, values in found.items()}


def read_contractions(path: Path) -> Mapping[str, str]:
    """Read a JSON object from contractions to what they stand for; raises DataError."""
    return _object(path, "texts", _is_text)


def read_gender_words(path: Path) -> tuple[tuple[str, str, str], ...]:
    """Read a JSON list of ``[neutral, female, male]`` words, as HELM's ``mapping_file_path`` has them.

    Raises:
        DataError: The file is missing or is something else.
    """
    rows = _json(path)
    if not isinstance(rows, list) or not all(_is_texts(row) and len(row) == 3 for row in rows):
        raise _wrong(path, "a list of lists of three words: neutral, female, male")
    return tuple((row[0].lower(), row[1].lower(), row[2].lower()) for row in rows)


def read_phrases(path: Path) -> tuple[str, ...]:
    """Read a JSON list of phrases; raises DataError."""
    phrases = _json(path)
    if not _is_texts(phrases) or not phrases:
        raise _wrong(path, "a list of phrases")
    return tuple(phrases)


def read_names(path: Path) -> tuple[PersonName, ...]:
    """Read lines of ``name,type[,category,value]*``, HELM's format; raises DataError with the line."""
    found = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        name, *fields = (field.strip().lower() for field in line.split(","))
        if len(fields) % 2 == 0 or fields[0] not in ("first_name", "last_name"):
            what = f"'{line[:60]}' is not name,type[,category,value]* with the type first_name or last_name"
            raise DataError(
                what, where=f"{path}, line {number}", fix="Write, for example: anna,first_name,gender,female"
            )
        found.append(PersonName(name, fields[0], frozenset(zip(fields[1::2], fields[2::2], strict=True))))
    if not found:
        raise _wrong(path, "a list of names")
    return tuple(found)


def _object(path: Path, of: str, fits: Callable[[object], bool]) -> dict[str, Any]:
    found = _json(path)
    if not isinstance(found, dict) or not found or not all(map(fits, found.values())):
        raise _wrong(path, f"a JSON object from words to {of}")
    return found


def _json(path: Path) -> object:
    try:
        found: object = json.loads(_text(path))
    except json.JSONDecodeError as fault:
        raise DataError(f"this is no JSON ({fault.msg})", where=f"{path}, line {fault.lineno}") from None
    return found


def _text(path: Path) -> str:
    with open_bytes(path) as file:
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError as fault:
            raise DataError(f"not UTF-8 ({fault.reason})", where=str(path), fix=SAVE_AS_UTF8) from None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _is_texts(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and all(map(_is_text, value))


def _wrong(path: Path, wanted: str) -> DataError:
    return DataError(f"this is not {wanted}", where=str(path), fix="docs/helm.md shows the format of each word list.")
