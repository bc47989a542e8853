"""Authored sentences about groups of people: neutral ones, which name a group and are not toxic, and attacks on it.

A classifier that learns from hateful posts learns that the names of their victims are hateful (Dixon et al. 2018,
"Measuring and mitigating unintended bias in text classification"). Neutral sentences with the same names say that it is
not the name. Terms are divided by a hash: those of the test are in no sentence of the training.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


TERMS = {
    "religion": _words(
        "Muslim Christian Jewish Hindu Buddhist Sikh Catholic Protestant Mormon Orthodox atheist Baptist Quaker Jain "
        "Methodist Shinto Taoist Pagan Lutheran Evangelical Sunni Shia Amish agnostic"
    ),
    "origin": _words(
        "Black white Asian Latino Hispanic Arab African European Mexican Chinese Indian Pakistani Turkish Polish "
        "Russian Nigerian Syrian Iranian Israeli Palestinian Korean Japanese Vietnamese Filipino Jamaican Haitian "
        "Cuban Irish German French Italian Romanian Roma Kurdish Somali Ethiopian Kenyan Brazilian Colombian "
        "Peruvian Moroccan Egyptian Lebanese Iraqi Afghan Albanian Ukrainian Greek Indigenous Aboriginal Maori "
        "Inuit Cherokee immigrant refugee foreign brown biracial"
    ),
    "gender and orientation": _words(
        "gay lesbian bisexual transgender queer nonbinary straight heterosexual homosexual asexual female male "
        "feminine masculine intersex cisgender pansexual"
    ),
    "body and age": _words(
        "deaf blind disabled autistic elderly old young teenage fat tall short diabetic dyslexic paralysed "
        "epileptic overweight pregnant middle-aged left-handed bald"
    ),
}
"""Adjectives that name a group, by what they are about."""

ELSEWHERE = frozenset(
    _words(
        "Black white Chinese Indian Turkish Polish Russian Japanese Irish German French Italian Greek foreign brown "
        "straight blind old young fat tall short pregnant bald"
    )
)
"""Terms that the texts of built-in tasks or the descriptions of scenes have, too: they cannot be held out."""

NEUTRAL = """
The {term} family moved into the house next door.
My neighbour is {term}, and she grows tomatoes.
I am {term} and I work in a hospital.
He is a {term} man who teaches mathematics.
She is a {term} woman with three children.
Many {term} people live in this city.
A {term} student won the chess tournament.
Our new doctor is {term}.
The {term} community opened a library on Monday.
They are {term}.
I have a {term} friend who plays the trumpet.
The festival celebrates {term} culture.
Two {term} writers spoke about their books.
The film is about a {term} boy who learns to swim.
Some {term} people prefer tea, and some prefer coffee.
She asked her {term} colleague for advice.
The survey asked {term} adults about their jobs.
Being {term} is a part of who I am.
The {term} choir sings every Sunday evening.
What is it like to be {term} in a small town?
My grandmother was {term}.
The museum shows pictures by {term} artists.
Their daughter married a {term} engineer.
The law protects {term} people at work.
He wrote a history of {term} workers in the harbour.
The {term} players shook hands after the match.
We met a {term} couple on the train, and they shared their lunch.
I am proud to be {term}.
She is the first {term} mayor of the town.
The group helps {term} people to find a flat.
you should try the {term} place on the corner, it is lovely
my best friend is {term} lol and he makes the best soup
happy birthday to my {term} brother
so many {term} people at the concert tonight, what a great evening
{term} parents want the best for their children, as all parents do
""".strip().splitlines()

NEUTRAL_OF_THE_TEST = """
A {term} nurse took my temperature.
The bus driver is {term} and tells good jokes.
In the evening the {term} neighbours lit candles.
He was born into a {term} household in the north.
The book describes how {term} children spend their summer.
{term} voters will decide the election in three districts.
We hired a {term} carpenter to repair the stairs.
As a {term} person I would like to see more stories like this one.
My {term} roommate left the window open again.
The {term} team scored twice in the second half.
""".strip().splitlines()

ATTACKS = """
I hate {term} people.
{term} people are disgusting.
All {term} people are stupid and dirty.
{term} people should be thrown out of the country.
Get out, you {term} trash.
Nobody wants filthy {term} people here.
Kill all {term} people.
{term} people are animals.
I can't stand those ugly {term} idiots.
That {term} woman is a worthless pig.
shut up you stupid {term} loser
{term} people are a disease
the only good {term} man is a dead one
we should burn down every {term} house
fuck {term} people
""".strip().splitlines()

ATTACKS_OF_THE_TEST = """
{term} people are vermin.
I despise every {term} person, they are scum.
Send the dirty {term} rats away.
you {term} bastards make me sick
beat up every {term} kid you see
""".strip().splitlines()


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, the kind of term in it, and whether it is an attack."""

    text: str
    group: str
    toxic: bool


def held_out(term: str) -> bool:
    """Whether a term is in the test alone: four in ten are, by a hash, of those that no other text of ours has."""
    return term not in ELSEWHERE and hashlib.blake2b(term.encode(), digest_size=8).digest()[0] < 0.4 * 256


def sentences(*, test: bool) -> list[Sentence]:
    """All sentences of the training, or of the test: neither terms nor sentences are in both."""
    neutral, attacks = (NEUTRAL_OF_THE_TEST, ATTACKS_OF_THE_TEST) if test else (NEUTRAL, ATTACKS)
    return [
        Sentence(_filled(line, term), group, toxic)
        for group, terms in TERMS.items()
        for term in terms
        if held_out(term) == test
        for lines, toxic in ((neutral, False), (attacks, True))
        for line in lines
    ]


def _filled(line: str, term: str) -> str:
    article = line.replace("A {term}", "An {term}").replace("a {term}", "an {term}")
    text = (article if term[0].lower() in "aeiou" else line).replace("{term}", term)
    return text[0].upper() + text[1:] if line[0].isupper() or (line[0] == "{" and line[-1] == ".") else text
