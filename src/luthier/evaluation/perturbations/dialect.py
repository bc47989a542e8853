"""Dialect: words of Standard American English become words of African American English.

A list of words is not a dialect: grammar and prosody are left alone, and no speaker uses every form. What is measured
is whether a model is as right when such words occur (Liang et al. 2022, section 4.6; Ziems et al. 2022).
"""

from __future__ import annotations

from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite
from luthier.evaluation.perturbations.word_lists import Replacements
from luthier.evaluation.perturbations.wording import substitute, whole_words


def change_dialect(dialect: Replacements, random: Random) -> Rewrite:
    """Replace every word or phrase that has a counterpart.

    A word has one counterpart in the whole example, so that an answer that stands in the text stands there still; HELM
    draws one for each occurrence.
    """
    phrases = whole_words(dialect)
    counterparts = {word.lower(): own for word, own in dialect.items()}
    chosen: dict[str, str] = {}

    def choose(phrase: str) -> str | None:
        word = phrase.lower()
        if word not in chosen and word in counterparts:
            chosen[word] = random.choice(counterparts[word])
        return chosen.get(word)

    return lambda text: substitute(text, phrases, choose)
