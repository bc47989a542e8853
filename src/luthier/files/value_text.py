"""What a value of a row is as text: one rule for templates, targets, choices, ids, and for the files that are scored.

a text                       itself
null, NaN                    empty: a value that is missing is never the word "nan" or "None"
true, false                  as JSON writes them
1, 1.0                       1: a column of whole numbers stays whole where a gap has made it floating point
a list, an object            JSON, so that ``json.loads(text)`` gives the value back
bytes                        the text that they encode in UTF-8
dates and all others         as Python prints them
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from luthier.errors import DataError
from luthier.records import Row

_EXACT = 2**53
"""Whole floats up to this are exact, and print as whole numbers."""
_SQUAD_KEYS = frozenset({"text", "answer_start"})


def is_missing(value: object) -> bool:
    """Whether a value is null or NaN."""
    return value is None or (isinstance(value, float | Decimal) and value != value)


def value_text(value: object) -> str:
    """Return the text of a value, as the module's table says.

    Raises:
        DataError: Bytes that are no text, or a whole number of more digits than Python writes (4,300).
    """
    if isinstance(value, str):
        return value
    if is_missing(value):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | Mapping):
        return json_text(value)
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            raise DataError(f"{len(value):,} bytes that are no UTF-8 text", fix="Leave the column out.") from None
    if isinstance(value, float | Decimal) and -_EXACT <= value <= _EXACT and value == int(value):
        value = int(value)
    try:
        return str(value)
    except ValueError:
        raise DataError("a whole number with thousands of digits", fix="Write it as a text.") from None


def json_text(value: object) -> str:
    """Return a value as JSON in its own characters; what is missing in it is null.

    Raises:
        DataError: It is nested too deeply, or holds what `value_text` refuses.
    """
    try:
        try:
            return json.dumps(value, ensure_ascii=False, allow_nan=False, default=value_text)
        except ValueError:  # a NaN, an infinity, or a number of too many digits
            return json.dumps(without_nan(value), ensure_ascii=False, default=value_text)
    except RecursionError:
        raise DataError("lists or objects nested too deeply", fix="Write the value as a text.") from None
    except ValueError:
        raise DataError("a whole number with thousands of digits", fix="Write it as a text.") from None


def from_json(value: object) -> object:
    """Return what a text holds as JSON, as a list stands in a CSV file; what is no JSON stays as it is."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def without_nan(value: Any) -> Any:
    """Return a value with null for every NaN in it; the value itself where there is none."""
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if is_missing(value) else value


def with_nulls(row: Row) -> Row:
    """Return a row with null for every NaN, as files from data frames have it where nothing was known."""
    return {key: without_nan(value) for key, value in row.items()}


def answer_texts(value: object) -> tuple[str, ...] | None:
    """Return the accepted answers that a value stands for, or None where it is none of the forms in use.

    A list is one answer for each of its items that is not missing. SQuAD's answers, ``{"text": […], "answer_start":
    […]}`` or a list of ``{"text": …, "answer_start": …}``, are their texts, each once, in the order of the file; a
    question without an answer has the empty one, as in SQuAD 2.0's evaluation.
    """
    if isinstance(value, Mapping) and set(value) == _SQUAD_KEYS and isinstance(value["text"], list | tuple):
        return _squad_texts(value["text"])
    if not isinstance(value, list | tuple):
        return None
    if value and all(isinstance(item, Mapping) and set(item) >= _SQUAD_KEYS for item in value):
        return _squad_texts([item["text"] for item in value])
    return tuple(value_text(item) for item in value if not is_missing(item))


def _squad_texts(texts: list[object] | tuple[object, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value_text(text) for text in texts if not is_missing(text))) or ("",)
