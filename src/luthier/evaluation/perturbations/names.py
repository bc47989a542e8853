"""First names of one group become first names of another, and keep their gender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from luthier.errors import DataError
from luthier.evaluation.perturbations.perturbation import Rewrite
from luthier.evaluation.perturbations.word_lists import PersonName
from luthier.evaluation.perturbations.wording import WORD, match_case

DIRECTIONS = (
    (("origin", "european"), ("origin", "african_american")),
    (("race", "white_american"), ("race", "black_american")),
)
"""Groups that are renamed, and to which: in our list, and in HELM's."""
_GENDERS = (("gender", "female"), ("gender", "male"), ("gender", "neutral"))


@dataclass(frozen=True, slots=True)
class Renaming:
    """Which names are replaced, and by which.

    Attributes:
        new: By each name that is replaced, the names of its gender in the other group.
    """

    new: dict[str, tuple[str, ...]]


def renaming(names: Sequence[PersonName], where: str) -> Renaming:
    """Pair each first name of a group with those of the other group that have its gender.

    A name without a gender may become any of them; one whose gender the other group lacks stays.

    Raises:
        DataError: The list has neither of the pairs of groups.
    """
    first = [name for name in names if name.kind == "first_name"]
    properties: dict[str, frozenset[tuple[str, str]]] = {}
    for name in first:
        properties[name.name] = properties.get(name.name, frozenset()) | name.properties
    for source, target in DIRECTIONS:
        old = [name for name, own in properties.items() if source in own and target not in own]
        new = [name for name, own in properties.items() if target in own]
        if old and new:
            return Renaming({name: found for name in old if (found := _alike(name, new, properties))})
    fix = "Give each name an origin (european, african_american), or a race as HELM has it."
    raise DataError("the list has no two groups of first names that can be exchanged", where=where, fix=fix)


def _alike(name: str, others: Sequence[str], properties: dict[str, frozenset[tuple[str, str]]]) -> tuple[str, ...]:
    gender = next((gender for gender in _GENDERS if gender in properties[name]), None)
    return tuple(other for other in others if gender is None or gender in properties[other])


def rename(renaming: Renaming, random: Random) -> Rewrite:
    """Rename every person: the same name becomes the same other one in the prompt and in the answers.

    Only words with a capital are names. Two people of one text get two new names while there are enough.
    """
    given: dict[str, str] = {}

    def choose(name: str) -> str:
        if name not in given:
            options = renaming.new[name]
            free = [other for other in options if other not in given.values()]
            given[name] = random.choice(free or options)
        return given[name]

    def renamed(word: str) -> str:
        # "Anna's" is Anna's still.
        name, rest = next(((word[:i], word[i:]) for i in range(len(word)) if word[i] in "'’"), (word, ""))
        known = name[:1].isupper() and name.lower() in renaming.new
        return match_case(name, choose(name.lower())) + rest if known else word

    return lambda text: WORD.sub(lambda match: renamed(match[0]), text)
