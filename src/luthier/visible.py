"""Text from data, models and files as it is shown: what cannot be seen, or reorders what can, is written out."""

from __future__ import annotations

import re
from typing import Any

_UNSEEN = re.compile(
    # C0 controls but tab, line feed and carriage return; DEL and C1 controls.
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"
    # Bidirectional marks, embeddings, overrides and isolates (Unicode Standard Annex 9, table of section 2).
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def visible(text: str) -> str:
    r"""Return the text with control and bidirectional characters as their escapes, e.g. ``\u202e``.

    A right-to-left override would show the words after it backwards, the page's own too. Letters of
    right-to-left scripts stay as they are.
    """
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def on_terminal(text: str) -> str:
    """Return visible text for a terminal, which a carriage return too would let overwrite what stands in the line."""
    return visible(text).replace("\r", "\\r")


def visible_throughout(value: Any) -> Any:
    """Return a nested value of dictionaries and lists with every text in it visible."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {visible(str(key)): visible_throughout(item) for key, item in value.items()}
    return [visible_throughout(item) for item in value] if isinstance(value, list) else value
