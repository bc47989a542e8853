"""Synonyms: ``The shop was big`` becomes ``The store was large``."""

from __future__ import annotations

from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite
from luthier.evaluation.perturbations.word_lists import Replacements
from luthier.evaluation.perturbations.wording import WORD, drawn_from, substitute


def use_synonyms(synonyms: Replacements, share: float, random: Random) -> Rewrite:
    """Replace that share of the words that have synonyms.

    HELM asks a tagger for the part of speech and takes WordNet's senses of it; here all senses of a word are one, and
    the list holds words whose senses are near.

    Args:
        synonyms: The synonyms of each word.
        share: Probability for each occurrence; HELM has 0.5.
        random: The example's own.
    """
    choose = drawn_from(synonyms, share, random)
    return lambda text: substitute(text, WORD, choose)
