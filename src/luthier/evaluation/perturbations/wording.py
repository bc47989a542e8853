"""Words in a text: finding whole ones, and giving a new word the case of the old one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
"""A word: letters, with apostrophes inside."""


def match_case(old: str, new: str) -> str:
    """Return a word in the case of the one that it replaces: lower, UPPER, or with a First capital.

    The pronoun ``I`` is a capital of its own and decides nothing.
    """
    if old[:1] == "I" and not old[1:2].isalpha():
        return new
    letters = [letter for letter in old if letter.isalpha()]
    if len(letters) > 1 and all(letter.isupper() for letter in letters):
        return new.upper()
    if old[:1].isupper():
        return new[:1].upper() + new[1:]
    return new


def whole_words(words: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern of words or phrases that stand alone: no letter, digit or hyphen touches them; longest first.

    HELM's pattern takes one character on each side into the match, so that a word at either end of a text, or right
    after another match, is passed over; this one does not.
    """
    longest = sorted(set(words), key=lambda word: (-len(word), word))
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest))})(?![\w-])", re.IGNORECASE)


def substitute(text: str, pattern: re.Pattern[str], choose: Callable[[str], str | None]) -> str:
    """Replace each match by what is chosen for it, in its case; what is chosen nothing for stays.

    A pattern that ignores case finds ``ſ`` for ``s``, which is no ``s`` in lower case: nothing is chosen for it.
    """

    def replaced(match: re.Match[str]) -> str:
        chosen = choose(match[0])
        return match[0] if chosen is None else match_case(match[0], chosen)

    return pattern.sub(replaced, text)


def drawn_from(choices: Mapping[str, Sequence[str]], share: float, random: Random) -> Callable[[str], str | None]:
    """Return what draws one of a word's replacements, for that share of the words which have some."""

    def choose(word: str) -> str | None:
        found = choices.get(word) or choices.get(word.lower())
        return random.choice(found) if found and random.random() < share else None

    return choose
