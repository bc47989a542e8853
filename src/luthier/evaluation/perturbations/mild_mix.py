"""HELM's default for robustness: lower case, contractions, misspellings and extra blanks, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from luthier.evaluation.perturbations.contractions import contract
from luthier.evaluation.perturbations.lower_case import lower_case
from luthier.evaluation.perturbations.misspellings import misspell
from luthier.evaluation.perturbations.perturbation import Rewrite
from luthier.evaluation.perturbations.spaces import more_spaces
from luthier.evaluation.perturbations.word_lists import Replacements

SHARE = 0.1
"""Of the words with a known misspelling that get one."""
MOST_SPACES = 3


def mild_mix(contractions: Mapping[str, str], misspellings: Replacements, random: Random) -> Rewrite:
    """Apply the four one after another, with the random numbers of one example."""
    steps = (
        lower_case(random),
        contract(contractions, random),
        misspell(misspellings, SHARE, random),
        more_spaces(MOST_SPACES, random),
    )

    def rewrite(text: str) -> str:
        for step in steps:
            text = step(text)
        return text

    return rewrite
