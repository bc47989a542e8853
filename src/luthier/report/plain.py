"""Nested records as rows of names and values, and as what JSON and YAML know."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from luthier.report import formatting
from luthier.report.words import said, words
from luthier.visible import visible


def plain(value: Any) -> Any:
    """Return the same value out of what JSON and YAML know, texts visible; numbers not finite become ``None``."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, int | float | bool) or value is None else visible(str(value))


def flattened(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield every number and text of a nested mapping with the names that lead to it."""
    for key, item in value.items():
        name = f"{above} › {words(key)}" if above else words(key)
        if isinstance(item, Mapping):
            yield from flattened(item, name)
        elif isinstance(item, list | tuple):
            yield name, said(item) or formatting.ABSENT
        else:
            yield name, said(item)
