"""Special tokens in the text of rows: their names are ordinary text there, but for those that the user means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from luthier.data.tokenizer_adapter import special_names
from luthier.errors import ModelError

# The name of special token number k stands as a run of this character plus k, of the name's own length.
_MASK = 0xF0000
_MASKED_OR_NOT = re.compile("([\U000f0000-\U000ffffd])\\1*|[^\U000f0000-\U000ffffd]+")


class SpecialTokens:
    """The special tokens of a tokenizer.

    Args:
        tokenizer: A Hugging Face tokenizer.
        kept: Names that are tokens wherever they stand, in prompts, targets and answers.

    Attributes:
        ids: Ids of all special tokens.
        kept: Ids of those that an answer keeps in its text.

    Raises:
        ModelError: When a name in ``kept`` is not a token of its own.
    """

    def __init__(self, tokenizer: Any, kept: Sequence[str] = ()) -> None:
        known = special_names(tokenizer)
        self._names = tuple(name for name in known if name not in kept)
        self._pattern = re.compile("|".join(map(re.escape, self._names))) if self._names else None
        self.ids: frozenset[int] = frozenset(int(item) for item in tokenizer.convert_tokens_to_ids(list(known)))
        self.kept: frozenset[int] = frozenset(_one_id(tokenizer, name) for name in kept)

    def stand_in(self, text: str) -> bool:
        """Say whether the name of a special token that is not meant stands in a text."""
        return self._pattern is not None and bool(self._pattern.search(text))

    def mask(self, text: str) -> str:
        """Put a run of one private-use character, of the same length, in the place of each name that is not meant."""
        if self._pattern is None or not self._pattern.search(text):
            return text
        return self._pattern.sub(lambda found: chr(_MASK + self._names.index(found[0])) * len(found[0]), text)

    def parts(self, masked: str) -> Iterator[tuple[str, int, bool]]:
        """Yield the pieces of a masked text: what it says, the place where it begins, and whether it was masked."""
        for found in _MASKED_OR_NOT.finditer(masked):
            number = ord(found[0][0]) - _MASK
            if 0 <= number < len(self._names):
                name = self._names[number]
                yield name * (len(found[0]) // len(name)), found.start(), True
            else:
                yield found[0], found.start(), False

    def unmask(self, masked: str) -> str:
        """Return the text that was masked."""
        return "".join(text for text, _, _ in self.parts(masked))

    def after_last(self, text: str) -> str:
        """Return a text from its last special token on, or without the blanks that begin it where it has none."""
        found = list(self._pattern.finditer(text)) if self._pattern is not None else []
        return text[found[-1].start() :] if found else text.lstrip() or text


def _one_id(tokenizer: Any, name: str) -> int:
    own = tokenizer.convert_tokens_to_ids(name)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    if own is None or (own not in added and own not in tokenizer.all_special_ids) or name not in tokenizer.get_vocab():
        where = str(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)
        fix = "Name a token that the model has, or take it out of the task's `special_tokens`."
        raise ModelError(f"the special token '{name}' is not a token of the tokenizer", where=where, fix=fix)
    return int(own)


def stop_tokens(tokenizer: Any, stop: Sequence[str]) -> tuple[frozenset[int], tuple[str, ...]]:
    """Tell the stop strings that are special tokens, whose names stand in no decoded text, from the others.

    Returns:
        The ids of those tokens, and the other strings.
    """
    names = set(special_names(tokenizer))
    named = {text: name for text in stop for name in (text.strip(), text) if name in names}
    ids = frozenset(int(tokenizer.convert_tokens_to_ids(name)) for name in named.values())
    return ids, tuple(text for text in stop if text not in named)
