"""The task ``entity_extraction``: name the things of one kind that a short text mentions.

The texts mark what they mention: ``<animal:fox>``. A slot whose name says its kind needs no mark: ``{A}`` is a person,
``{town}`` a place, and an own slot ``animal = fox | owl`` holds animals. Marks may be nested; of two marks of the same
kind the outer one counts: ``<time:{day} evening>``. In a scenario, ``T`` is the text, ``N: animal, job`` asks for kinds
that the text does not mention, and ``X: place`` does not ask for a kind although there are marks of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from functools import cache

from recipes.tasks import grammar
from recipes.tasks.scenarios import Scenario, read_scenarios
from recipes.tasks.splits import Recipe, Row
from recipes.tasks.world import Setting

FILES = (
    "entities_home.txt",
    "entities_town.txt",
    "entities_nature.txt",
    "entities_work.txt",
    "entities_free.txt",
)
KINDS = {
    "person": "names of people",
    "place": "places",
    "time": "days and times",
    "food": "food and drink",
    "animal": "animals",
    "clothes": "clothes",
    "colour": "colours",
    "job": "jobs",
    "family": "family members",
    "bought": "things bought",
    "vehicle": "vehicles",
    "tool": "tools",
    "furniture": "furniture",
    "room": "rooms",
    "plant": "plants",
    "instrument": "musical instruments",
    "game": "games and sports",
    "body": "parts of the body",
}
SLOT_KINDS = {
    **{kind: kind for kind in KINDS},
    **dict.fromkeys(("town", "street", "shop"), "place"),
    **dict.fromkeys(("day", "month", "season"), "time"),
    **dict.fromkeys(("cake", "drink", "fruit", "berry", "vegetable"), "food"),
    **dict.fromkeys(("bird", "wild"), "animal"),
    **dict.fromkeys(("flower", "tree"), "plant"),
    "garment": "clothes",
    "relative": "family",
}
MARK = re.compile(r"<([a-z]+):|(>)|([^<>]+)")
NONE = "none"


def kind_of_slot(slot: str) -> str:
    """The kind that the name of a slot says, or ""."""
    if len(slot) == 1 and slot.isupper():
        return "person"
    return SLOT_KINDS.get(slot.rstrip("0123456789"), "")


def read_marks(text: str) -> tuple[str, list[tuple[str, str]]]:
    """The text without its marks, and what was marked, as (kind, words), in order of appearance.

    Raises:
        ValueError: A mark is not closed, not opened, or of no known kind.
    """
    plain, opened, found = "", [], []
    for match in MARK.finditer(text):
        kind, close, words = match.groups()
        if kind:
            opened.append((kind, len(plain)))
        elif not close:
            plain += words
        elif opened:
            kind, start = opened.pop()
            if kind not in {outer for outer, _ in opened}:
                found.append((start, kind, plain[start:]))
        else:
            raise ValueError(f"a mark is closed that was never opened: {text!r}")
    unknown = {kind for _, kind, _ in found} - set(KINDS)
    if opened or unknown:
        raise ValueError(f"a mark is left open or of no known kind: {text!r}")
    return plain, [(kind, words) for _, kind, words in sorted(found, key=lambda entry: entry[0])]


def extraction(setting: Setting, variant: str) -> Row:
    """A text, the kind asked for (the variant) and the things of that kind."""
    text, found = render(setting)
    return {"text": text, "kind": KINDS[variant], "entities": ", ".join(of_kind(found, variant)) or NONE}


def render(setting: Setting) -> tuple[str, list[tuple[str, str]]]:
    """The finished text and everything marked in it."""

    def value(slot: str) -> str:
        kind, words = kind_of_slot(slot), grammar.choose(setting.value(slot), setting.rng)
        return f"<{kind}:{words}>" if kind else words

    lines = " ".join(grammar.choose(line, setting.rng) for line in setting.scenario.having("T"))
    plain, found = read_marks(grammar.fill(lines, value))
    return grammar.capitals(grammar.articles(plain)), [(kind, grammar.articles(words)) for kind, words in found]


def of_kind(found: Sequence[tuple[str, str]], kind: str) -> list[str]:
    """The things of one kind, each once, in order."""
    return list(dict.fromkeys(words for other, words in found if other == kind))


@cache
def asked(scenario: Scenario) -> tuple[str, ...]:
    """The kinds that a scenario asks for.

    Raises:
        ValueError: A line ``N`` or ``X`` names no known kind.
    """
    authored = [*scenario.having("T"), *(value for _, rows in scenario.slots for row in rows for value in row)]
    marked = {match[1] for text in authored for match in MARK.finditer(text) if match[1]}
    marked |= {kind_of_slot(slot) for text in authored for slot in grammar.SLOT.findall(text)}
    absent, left_out = _named(scenario, "N"), _named(scenario, "X")
    if unknown := (absent | left_out) - set(KINDS):
        raise ValueError(f"scenario {scenario.name!r}: no such kind: {', '.join(sorted(unknown))}")
    return tuple(kind for kind in KINDS if kind in (marked | absent) - left_out)


@cache
def variants(scenario: Scenario) -> tuple[str, ...]:
    """The kinds that a scenario asks for; one of which there are several things stands twice, and is asked as often."""
    found = render(Setting(scenario, "train", random.Random(0)))[1]
    return tuple(kind for kind in asked(scenario) for _ in range(1 + (len(of_kind(found, kind)) > 1)))


def _named(scenario: Scenario, tag: str) -> set[str]:
    return {kind for text in scenario.having(tag) for kind in text.split(", ")}


@cache
def recipe() -> Recipe:
    """How the task is made."""
    scenarios = tuple(read_scenarios(*FILES))
    return Recipe("entity_extraction", scenarios, extraction, variants, ("text", "kind"), (2000, 150, 300))


QUESTIONS = {
    "person": ("Who is in this text?", "Which people have a name?", "Write down the names."),
    "place": ("Which places does it name?", "Where does it happen?", "What places are in the text?"),
    "time": ("Which days or times are named?", "When does it happen?", "What does it say about days and times?"),
    "food": ("What is there to eat and drink?", "Which food or drink is named?", "What food is in the text?"),
    "animal": ("Which animals are there?", "What animals does it name?", "Which animals did you meet?"),
    "clothes": ("Which clothes are named?", "What can people wear here?", "Find the clothes."),
    "colour": ("Which colours do you see?", "What colours are named?", "Find the colours."),
    "job": ("Which jobs are there?", "What work do the people do?", "Write down the jobs."),
    "family": ("Who of the family is named?", "Which family members are there?", "Which words mean family?"),
    "bought": ("What was bought?", "Which things did they buy?", "What did the money pay for?"),
    "vehicle": ("Which vehicles are there?", "In or on what can one travel here?", "Find the vehicles."),
    "tool": ("Which tools are named?", "What tools were used?", "Write down the tools."),
    "furniture": ("What furniture is there?", "Which furniture does it name?", "Find the furniture."),
    "room": ("Which rooms are named?", "What rooms are in the text?", "Name the rooms."),
    "plant": ("Which plants are there?", "What grows here?", "Which plants does it name?"),
    "instrument": ("Which instruments are there?", "What can one play music on?", "Find the musical instruments."),
    "game": ("Which games or sports are named?", "What do they play?", "What games are in the text?"),
    "body": ("Which parts of the body are named?", "Which words mean parts of the body?", "Find parts of the body."),
}


def composition(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    """A document for the plain text: a page of exercises, some short texts with notes, or a list of words by kind."""
    return rng.choice((_exercise, _exercise, _texts, _notes, _word_groups))(scenarios, pool, rng)


def _exercise(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    blocks, head = [], rng.choice(("Text {}", "Exercise {}", "Read this.", ""))
    for number, scenario in enumerate(rng.sample(list(scenarios), rng.choice((1, 2))), start=1):
        text, found = render(Setting(scenario, pool, rng))
        kinds = rng.sample(asked(scenario), min(len(asked(scenario)), rng.randint(1, 3)))
        answers = [f"{rng.choice(QUESTIONS[kind])} {_answer(of_kind(found, kind), rng)}" for kind in kinds]
        blocks.append(f"{head.format(number)}\n{text}\n\n" + "\n".join(answers))
    return "\n\n".join(blocks).strip()


def _answer(entities: Sequence[str], rng: random.Random) -> str:
    if not entities:
        return rng.choice(("None.", "There are none."))
    listed = ", ".join(entities) if rng.random() < 0.5 else spoken_list(entities)
    return listed[0].upper() + listed[1:] + "."


def spoken_list(items: Sequence[str]) -> str:
    """``x, y and z``."""
    return f"{', '.join(items[:-1])} and {items[-1]}" if len(items) > 1 else "".join(items)


def _texts(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    chosen = rng.sample(list(scenarios), rng.choice((2, 3)))
    return "\n\n".join(render(Setting(scenario, pool, rng))[0] for scenario in chosen)


def _notes(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    scenario = rng.choice(list(scenarios))
    text, found = render(Setting(scenario, pool, rng))
    head = rng.choice(("Notes", "Word list", "What the text names", "For the notebook"))
    lines = [
        f"{_title(KINDS[kind])}: {', '.join(things)}" for kind in asked(scenario) if (things := of_kind(found, kind))
    ]
    return f"{text}\n\n{head}\n" + "\n".join(lines)


def _word_groups(scenarios: Sequence[Scenario], pool: str, rng: random.Random) -> str:
    groups: dict[str, list[str]] = {}
    for scenario in rng.sample(list(scenarios), min(len(scenarios), 10)):
        for kind, words in render(Setting(scenario, pool, rng))[1]:
            if kind in asked(scenario) and words not in groups.setdefault(kind, []):
                groups[kind].append(words)
    full = [kind for kind, words in groups.items() if len(words) > 2 and kind != "bought"]
    chosen = rng.sample(full, min(len(full), rng.randint(3, 6)))
    return "\n".join(_group(KINDS[kind], groups[kind], rng) for kind in chosen)


def _group(kind: str, words: Sequence[str], rng: random.Random) -> str:
    listed = spoken_list(words[: rng.randint(3, 7)])
    forms = (f"{_title(kind)}: {listed}.", f"Some {kind}: {listed}.", f"Words for {kind}: {listed}.")
    return rng.choice(forms)


def _title(words: str) -> str:
    return words[0].upper() + words[1:]
