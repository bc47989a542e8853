"""Extract the answer from generated text with a regular expression, before any metric is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

import regex

from luthier.errors import DataError
from luthier.records import Prediction

_SECONDS = 2.0
"""Time limit for one text: a pattern from an untrusted task file can need exponential time."""


@dataclass(frozen=True, slots=True)
class Extraction:
    """How the answer is extracted from generated text.

    Attributes:
        find: Regular expression; the first of its groups that holds text is the answer.
        which: Whether the first or the last match counts.
    """

    find: str
    which: Literal["first", "last"] = "first"

    @property
    def signature(self) -> str:
        """Its entry in a score's signature: which match counts, and a digest of the expression."""
        return f"{self.which}-{blake2b(self.find.encode(), digest_size=4).hexdigest()}"

    def answer(self, text: str) -> str | None:
        """Return the answer in a text, stripped of white space; None where there is no match or the answer is empty.

        Raises:
            DataError: When the expression takes longer than two seconds.
        """
        try:
            groups = self._groups(text)
        except TimeoutError:
            raise DataError(
                f"the regular expression {self.find!r} took more than {_SECONDS:g} seconds on one text",
                fix="Make `extract.find` simpler: repetitions inside repetitions can need exponential time.",
            ) from None
        return next((stripped for group in groups if group and (stripped := group.strip())), None)

    def _groups(self, text: str) -> tuple[str | None, ...]:
        """Return the groups of the match that counts; nothing where there is no match."""
        groups: tuple[str | None, ...] = ()
        for match in regex.finditer(self.find, text, timeout=_SECONDS):
            groups = match.groups()
            if self.which == "first":
                break
        return groups


def extract_answers(predictions: Sequence[Prediction], extraction: Extraction | None) -> tuple[Prediction, ...]:
    """Return predictions whose ``text`` is the extracted answer; ``generated`` keeps the whole text.

    Where no answer is found, ``text`` is empty and ``unparsed`` is set, so that no metric counts it as right. Choices,
    which are not generated, and predictions whose answers were extracted before stay as they are.

    Raises:
        DataError: When the expression takes too long.
    """
    if extraction is None:
        return tuple(predictions)
    return tuple(_extracted(prediction, extraction) for prediction in predictions)


def extract_again(predictions: Sequence[Prediction], extraction: Extraction) -> tuple[Prediction, ...]:
    """Return the same predictions with answers that are taken out of the whole generated texts in another way.

    Raises:
        DataError: When the expression takes too long.
    """
    whole = (one if one.generated is None else replace(one, text=one.generated, generated=None) for one in predictions)
    return tuple(_extracted(replace(one, unparsed=False), extraction) for one in whole)


def _extracted(prediction: Prediction, extraction: Extraction) -> Prediction:
    if prediction.choices or prediction.generated is not None:
        return prediction
    found = extraction.answer(prediction.text)
    return replace(prediction, text=found or "", generated=prediction.text, unparsed=found is None)


def check_pattern(find: str) -> None:
    """Check a regular expression.

    Raises:
        ValueError: When it is not one, or has no group.
    """
    try:
        pattern = regex.compile(find)
    except regex.error as fault:
        raise ValueError(f"not a regular expression ({fault})") from None
    if not pattern.groups:
        raise ValueError("the regular expression has no group: put the answer in parentheses")
