"""Lower case."""

from __future__ import annotations

from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite


def lower_case(_: Random) -> Rewrite:
    """Make every letter small."""
    return str.lower
