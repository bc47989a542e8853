"""Common misspellings: ``because`` becomes ``becuase``."""

from __future__ import annotations

from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite
from luthier.evaluation.perturbations.word_lists import Replacements
from luthier.evaluation.perturbations.wording import WORD, drawn_from, substitute


def misspell(misspellings: Replacements, share: float, random: Random) -> Rewrite:
    """Misspell that share of the words for which a common misspelling is known.

    Args:
        misspellings: The misspellings of each word.
        share: Probability for each occurrence of such a word; HELM's ``mild_mix`` has 0.1.
        random: The example's own.
    """
    choose = drawn_from(misspellings, share, random)
    return lambda text: substitute(text, WORD, choose)
