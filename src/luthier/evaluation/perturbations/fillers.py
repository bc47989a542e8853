"""Filler words: ``The cat sat`` becomes ``The, um, cat sat`` without the commas, as HELM has it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite


def insert_fillers(fillers: Sequence[str], share: float, random: Random) -> Rewrite:
    """Put a filler before that share of the words (HELM: 0.3)."""

    def filled(word: str) -> str:
        return f"{random.choice(fillers)} {word}" if word.strip() and random.random() < share else word

    return lambda text: " ".join(map(filled, text.split(" ")))
