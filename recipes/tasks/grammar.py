"""The little language that the scenarios are written in.

``[quickly|fast]`` chooses one of several phrasings, and may be nested; ``{item}`` fills a slot, ``{A}`` a name and
``{his:A}`` a pronoun that agrees with it. ``" | "`` between brackets separates whole sentences.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable

CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{([^{}]+)\}")
SPOKEN = r"(?:asked|said|called|cried|shouted|whispered|answered|wondered|laughed|thought|told|replied|begged|sighed)"
# `"Is it?" asked Tom` and `"No!" she cried` go on; what follows any other full stop begins anew.
SENTENCE_START = re.compile(rf"(^\"?|[.!?] \"?|\.\" \"?|[!?]\" \"|[!?]\" (?!(?:s?he |they |I )?{SPOKEN}\b))([a-z])")
BEFORE_VOWEL = re.compile(r"\b([Aa]) (?=(?!one\b|once\b|uni|use|eu)[aeiou])")


def choose(text: str, rng: random.Random) -> str:
    """Replace every ``[a|b]`` by one of its phrasings, the innermost first."""
    while CHOICE.search(text):
        text = CHOICE.sub(lambda match: rng.choice(match.group(1).split("|")), text, count=1)
    return text


def fill(text: str, value: Callable[[str], str]) -> str:
    """Replace every ``{slot}`` by its value, and the slots within that value."""
    while SLOT.search(text):
        text = SLOT.sub(lambda match: value(match.group(1)), text, count=1)
    return text


def articles(text: str) -> str:
    """Mend what filling broke within sentences: spaces, and *a* before a vowel."""
    return BEFORE_VOWEL.sub(r"\1n ", " ".join(text.split()))


def capitals(text: str) -> str:
    """Begin every sentence with a capital."""
    return SENTENCE_START.sub(lambda match: match.group(1) + match.group(2).upper(), text)


def alternatives(text: str) -> list[str]:
    """Split at every ``" | "`` that stands outside brackets."""
    depth, start, parts = 0, 0, []
    for index, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth == 0 and text.startswith(" | ", index):
            parts.append(text[start:index])
            start = index + 3
    return [*parts, text[start:]]
