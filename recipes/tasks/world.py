"""The people and things of the world that every task and the corpus share."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cache

from recipes.tasks import grammar
from recipes.tasks.scenarios import TEXTS, Scenario

PRONOUNS = {"girl": ("she", "her", "her", "herself"), "boy": ("he", "him", "his", "himself")}
PRONOUN_SLOTS = ("he", "him", "his", "himself")


@cache
def read_lists(file: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Read a file of ``== block`` and ``key = a | b`` lines."""
    blocks: dict[str, dict[str, tuple[str, ...]]] = {}
    for block in (TEXTS / file).read_text(encoding="utf-8").split("== ")[1:]:
        name, *lines = block.strip().splitlines()
        pairs = (line.split(" = ", 1) for line in lines)
        blocks[name] = {key: tuple(values.split(" | ")) for key, values in pairs}
    return blocks


def names_of(pool: str, kind: str) -> tuple[str, ...]:
    """The ``girl`` or ``boy`` names of a pool: ``train``, ``test``, ``heldout``, or ``train+test``."""
    return tuple(name for part in pool.split("+") for name in read_lists("names.txt")[part][kind + "s"])


@dataclass
class Setting:
    """The names and things of one rendering of a scenario; each is drawn when it is first used."""

    scenario: Scenario
    pool: str
    rng: random.Random
    chosen: dict[str, str] = field(default_factory=dict)
    people: dict[str, tuple[str, str]] = field(default_factory=dict)

    def phrase(self, text: str) -> str:
        """One finished phrase, which need not begin with a capital."""
        return grammar.articles(grammar.fill(grammar.choose(text, self.rng), self.value))

    def render(self, text: str) -> str:
        """One or more finished sentences."""
        return grammar.capitals(self.phrase(text))

    def value(self, slot: str) -> str:
        """The value of ``item``, ``item2`` (another item), ``A`` or ``his:A``.

        Raises:
            ValueError: Nobody defines the slot.
        """
        pronoun, colon, person = slot.partition(":")
        if colon:
            return PRONOUNS[self._person(person)[1]][PRONOUN_SLOTS.index(pronoun)]
        if len(slot) == 1 and slot.isupper():
            return self._person(slot)[0]
        if slot not in self.chosen:
            self._settle(slot)
        return self.chosen[slot]

    def _person(self, letter: str) -> tuple[str, str]:
        if letter not in self.people:
            kind = self.rng.choice(("girl", "boy"))
            kind = "girl" if letter in self.scenario.girls else "boy" if letter in self.scenario.boys else kind
            taken = {name for name, _ in self.people.values()}
            names = [name for name in names_of(self.pool, kind) if name not in taken]
            self.people[letter] = (self.rng.choice(names), kind)
        return self.people[letter]

    def _settle(self, slot: str) -> None:
        for keys, rows in self.scenario.slots:
            if slot in keys:
                self.chosen.update(zip(keys, self.rng.choice(rows), strict=True))
                return
        base = slot.rstrip("0123456789")
        values = self._list(base, slot)
        taken = {value for key, value in self.chosen.items() if key.rstrip("0123456789") == base}
        self.chosen[slot] = self.rng.choice([value for value in values if value not in taken])

    def _list(self, base: str, slot: str) -> tuple[str, ...]:
        for keys, rows in self.scenario.slots:
            if keys == (base,):
                return tuple(row[0] for row in rows)
        lists = read_lists("lexicon.txt")["world"]
        if base not in lists:
            raise ValueError(f"scenario {self.scenario.name!r}: nobody defines the slot {{{slot}}}")
        return lists[base]
