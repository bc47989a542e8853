"""Typing errors: a letter becomes one whose key lies beside it."""

from __future__ import annotations

from random import Random

from luthier.evaluation.perturbations.perturbation import Rewrite

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    """Return the keys beside and diagonally across from each letter of a QWERTY keyboard.

    Each row stands half a key further to the right than the one above it: of the row below, the keys at the same place
    and one to the left are near.
    """
    near: dict[str, set[str]] = {letter: set() for row in _ROWS for letter in row}

    def pair(row: int, i: int, below: int, j: int) -> None:
        if 0 <= below < len(_ROWS) and 0 <= j < len(_ROWS[below]):
            a, b = _ROWS[row][i], _ROWS[below][j]
            near[a].add(b)
            near[b].add(a)

    for row, letters in enumerate(_ROWS):
        for i in range(len(letters)):
            pair(row, i, row, i + 1)
            pair(row, i, row + 1, i)
            pair(row, i, row + 1, i - 1)
    return {letter: "".join(sorted(keys)) for letter, keys in near.items()}


NEIGHBOURS = _neighbours()


def mistype(share: float, random: Random) -> Rewrite:
    """Replace that share of the letters a–z, each in its case, by a neighbour on the keyboard (HELM: 0.1)."""

    def typed(letter: str) -> str:
        keys = NEIGHBOURS.get(letter.lower())
        if keys is None or random.random() >= share:
            return letter
        other = random.choice(keys)
        return other.upper() if letter.isupper() else other

    return lambda text: "".join(map(typed, text))
