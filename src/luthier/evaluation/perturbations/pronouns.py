"""Pronouns of one gender become those of another: ``he`` becomes ``she``."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite
from luthier.evaluation.perturbations.wording import substitute, whole_words

GENDERS = ("neutral", "female", "male")
"""The order of the words in a row of the list."""


def change_gender(words: Sequence[tuple[str, str, str]], source: str, target: str, random: Random) -> Rewrite:
    """Replace the words of one gender by those of another (HELM: pronouns, male to female).

    A word that has two counterparts (``her``: him, his) gets the first, as in HELM.

    Args:
        words: Neutral, female and male word of each row.
        source: Gender that is replaced.
        target: Gender that stands instead.
        random: Not needed: nothing is drawn.
    """
    at, to = GENDERS.index(source), GENDERS.index(target)
    new: dict[str, str] = {}
    for row in words:
        new.setdefault(row[at], row[to])
    pattern = whole_words(new)
    return lambda text: substitute(text, pattern, lambda word: new.get(word.lower()))
