"""Authored sentences that say what can be seen: people by age and sex, colours, clothes, bodies, animals.

These words are frequent in abuse and are not abuse. Without such sentences a classifier learns that a girl in a black
shirt is an insult.
"""

from __future__ import annotations

import hashlib
from itertools import product


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


PEOPLE = _phrases(
    "a man|a woman|a girl|a boy|two girls|two boys|three women|some men|an old woman|a young man|a little girl|"
    "a group of people|a black man|a white woman|a lady|a mother and her baby|a bald man|a couple|some children|a crowd"
)
DOING = _phrases(
    "is sitting on a bench|is standing in the street|are playing with a ball|is holding a dog|is riding a bicycle|"
    "is looking at a monkey in the zoo|is jumping into the water|are dancing|is lying on the grass|is eating a banana|"
    "is cleaning a window|is hitting a tennis ball|is shooting a basketball|is kicking a ball into the goal|"
    "is pulling a sledge|is climbing a rock|is blowing bubbles|is waiting for a bus|is painting a fence|"
    "is sucking a lolly|is cutting bread|is beating a drum|is throwing a stick for a dog|is carrying a bag of rubbish"
)
WITH = _phrases(
    "in a black shirt|in a white dress|with red hair|in a yellow coat|with a brown dog|without a shirt|in a bikini|"
    "with tattoos on the arms|with a big hat|in front of a shop|near a bird's nest|on a farm with pigs and cows|"
    "in dirty boots|with a gun made of plastic|beside a fat cat|at night"
)
SHARE = 0.12
"""Of all combinations, those that are used: a few hundred, by a hash."""


def scenes() -> list[str]:
    """Sentences such as ``Two boys in a black shirt are playing with a ball.``, some of them without a full stop."""
    found = []
    for who, doing, what in product(PEOPLE, DOING, WITH):
        draw = hashlib.blake2b(f"{who}|{doing}|{what}".encode(), digest_size=8).digest()
        if draw[0] < SHARE * 256:
            verb = doing.replace("are ", "is ", 1) if _one(who) else doing.replace("is ", "are ", 1)
            sentence = f"{who} {what} {verb}"
            found.append(f"{sentence[0].upper()}{sentence[1:]}." if draw[1] < 192 else sentence)
    return found


def _one(who: str) -> bool:
    return who.startswith("a") and " and " not in who
