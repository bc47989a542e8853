"""Extra blanks between words."""

from __future__ import annotations

import re
from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite

_BLANKS = re.compile(" +")


def more_spaces(most: int, random: Random) -> Rewrite:
    """Put 1 to ``most`` blanks wherever there are some."""
    return lambda text: _BLANKS.sub(lambda _: " " * random.randint(1, most), text)
