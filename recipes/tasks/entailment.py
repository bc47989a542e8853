"""The task ``entailment``: does a statement follow from what one has just read?

A scenario tells two or more premises about the same people, each of which holds some of the scenario's facts; the
digits say which::

    12) P: {A} bought a {colour} coat on {day}.            a premise with the facts 1 and 2
    3) P: {A} got a coat from {his:A} {relative}.          a premise with the fact 3
    1) H: {A}'s coat is <{colour}/{colour2}>.              a statement about fact 1, <as it is/as it is not>

A statement about a fact of the premise is right (``yes``) or wrong (``no``); one about a fact that stands only in
another premise may be either (``maybe``). So every statement is equally likely under all three labels.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from recipes.tasks.grammar import alternatives
from recipes.tasks.scenarios import Line, Scenario, read_scenarios
from recipes.tasks.splits import Recipe, Row
from recipes.tasks.world import Setting

FILES = ("entailment_home.txt", "entailment_town.txt", "entailment_work.txt", "entailment_free.txt")
LABELS = ("yes", "no", "maybe")
SIZES = (2400, 150, 300)
OTHER = re.compile(r"\{([a-z_]+)2\}")
TWO_WAYS = re.compile(r"<([^<>/]*)/([^<>/]*)>")
QUIZZES = (
    ("True, false or unknown?", ("True", "False", "Unknown")),
    ("Right, wrong, or does the text not say?", ("Right", "Wrong", "The text does not say")),
    ("Say yes, no or maybe.", ("Yes", "No", "Maybe")),
)
QUIZ_STATEMENTS = 3
# Words of one list that may be said of the same thing, besides those of which one is part of the other ("tea").
ALIKE = (
    {"grandmother", "grandma"},
    {"grandfather", "grandpa"},
    {"dog", "puppy", "terrier", "poodle", "spaniel", "sheepdog"},
    {"cat", "kitten", "tomcat"},
    {"sheep", "lamb"},
    {"pony", "foal"},
    {"hen", "cockerel"},
    {"hot chocolate", "cocoa"},
    {"oranges", "mandarins", "tangerines", "clementines"},
    {"living room", "sitting room"},
    {"guest room", "spare room"},
    {"midday", "noon"},
)


def pair(setting: Setting, variant: str) -> Row:
    """A premise and a statement of which the variant is the label."""
    rng = setting.rng
    _settle_apart(setting)
    line = rng.choice([line for line in setting.scenario.lines if line.tag == "H"])
    premises = _premises(setting.scenario, line.variants, variant != "maybe")
    premise = setting.render(rng.choice(alternatives(rng.choice(premises).text)))
    return {"premise": premise, "hypothesis": _statement(setting, line, variant), "label": variant}


def _premises(scenario: Scenario, fact: str, holds: bool) -> list[Line]:
    """The premises that hold a fact, or the others."""
    return [line for line in scenario.lines if line.tag == "P" and (fact in line.variants) == holds]


def _statement(setting: Setting, line: Line, label: str) -> str:
    true = label == "yes" or (label == "maybe" and setting.rng.random() < 0.5)
    text = setting.rng.choice(alternatives(line.text))
    return setting.render(TWO_WAYS.sub(lambda match: match[1 if true else 2], text))


def _settle_apart(setting: Setting) -> None:
    """Settle every ``{slot2}`` so that nothing can be both that and ``{slot}``."""
    text = " ".join(line.text for line in setting.scenario.lines)
    for slot in sorted(set(OTHER.findall(text))):
        while _alike(setting.value(slot), setting.value(f"{slot}2")):
            del setting.chosen[f"{slot}2"]


def _alike(first: str, second: str) -> bool:
    return first in second or second in first or any({first, second} <= words for words in ALIKE)


def recipe() -> Recipe:
    """The task: every scenario under every label."""
    return Recipe(
        "entailment",
        tuple(read_scenarios(*FILES)),
        pair,
        lambda _: LABELS,
        ("premise", "hypothesis"),
        SIZES,
    )


def quiz(scenarios: Sequence[Scenario], pool: str, rng: random.Random, kept_back: frozenset[str] = frozenset()) -> str:
    """A page of a quiz: a premise and statements about it, each with its answer.

    Args:
        scenarios: What the page may be about.
        pool: Pool of the names.
        rng: Source of chance.
        kept_back: Premises that must not occur.
    """
    while True:
        setting = Setting(rng.choice(scenarios), pool, rng)
        _settle_apart(setting)
        premise_line = rng.choice([line for line in setting.scenario.lines if line.tag == "P"])
        premise = setting.render(rng.choice(alternatives(premise_line.text)))
        if premise not in kept_back:
            break
    heading, answers = rng.choice(QUIZZES)
    asked: dict[str, str] = {}
    for label in rng.choices(LABELS, k=QUIZ_STATEMENTS):
        statements = [
            line
            for line in setting.scenario.lines
            if line.tag == "H" and (line.variants in premise_line.variants) == (label != "maybe")
        ]
        if statements:
            asked[_statement(setting, rng.choice(statements), label)] = answers[LABELS.index(label)]
    return "\n".join([heading, "", premise, "", *(f"{text} {answer}." for text, answer in asked.items())])
