"""Contractions: ``do not`` becomes ``don't``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite
from luthier.evaluation.perturbations.wording import substitute, whole_words


def contract(contractions: Mapping[str, str], random: Random) -> Rewrite:
    """Contract every phrase that has a contraction, where a blank follows it.

    As HELM does: ``so he is.`` at the end of a sentence is never contracted.

    Args:
        contractions: What each contraction stands for.
        random: Not needed: nothing is drawn.
    """
    short = {whole.lower(): contraction for contraction, whole in contractions.items()}
    followed = re.compile(f"{whole_words(short).pattern}(?= )", re.IGNORECASE)

    def contracted(phrase: str) -> str | None:
        found = short.get(phrase.lower())
        return found.lower() if found is not None and phrase.islower() else found

    return lambda text: substitute(text, followed, contracted)
