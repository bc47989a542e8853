"""The kinds of documents in the plain-text corpus, each composed of authored scenarios."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from recipes.tasks import bilingual, counting, entailment, entities, library
from recipes.tasks.scenarios import Scenario
from recipes.tasks.splits import Row
from recipes.tasks.world import Setting, read_lists

NEXT = ("The next day", "Some weeks later", "In {month}", "On {day}", "A year later", "One evening", "After that")
FORMAT_SHARE = 0.3  # how many documents that could end in "Question:" or "Summary:" do


@dataclass(frozen=True, slots=True)
class Material:
    """What one part of the corpus may be composed of.

    Attributes:
        tasks: Scenarios of each built-in task.
        beats: Scenarios that belong to no task.
        task_pool: Names in scenarios of tasks.
        own_pool: Names in everything else.
        kept_back: Inputs of rows that must not occur.
    """

    tasks: Mapping[str, Sequence[Scenario]]
    beats: Sequence[Scenario]
    task_pool: str
    own_pool: str
    kept_back: frozenset[str]


def conversation(material: Material, rng: random.Random) -> str:
    """Somebody talks with somebody; nothing sums it up."""
    return str(task_row(material, "dialogue_summary", rng)["dialogue"])


def passage(material: Material, rng: random.Random) -> str:
    """A short report, now and then with a question."""
    row = task_row(material, "reading_qa", rng)
    if rng.random() < FORMAT_SHARE:
        return f"{row['passage']}\n\nQuestion: {row['question']}\nAnswer: {row['answer']}"
    return str(row["passage"])


def short_story(material: Material, rng: random.Random) -> str:
    """A story with the ending that fits."""
    row = task_row(material, "story_ending", rng)
    return f"{row['story']} {row['ending']}"


def reviews(material: Material, rng: random.Random) -> str:
    """One or two reviews."""
    return "\n\n".join(str(task_row(material, "review_sentiment", rng)["review"]) for _ in range(rng.choice((1, 2))))


def newspaper(material: Material, rng: random.Random) -> str:
    """Some items of a newspaper, under their heads."""
    rows = [task_row(material, "topic", rng) for _ in range(rng.choice((2, 3)))]
    headed = rng.random() < 0.5
    return "\n\n".join(f"{str(row['topic']).title()}: {row['text']}" if headed else str(row["text"]) for row in rows)


def sentences(material: Material, rng: random.Random) -> str:
    """Good sentences, one a line, as in a book for learners."""
    return "\n".join(
        str(task_row(material, "acceptability", rng, "good")["sentence"]) for _ in range(rng.randint(5, 8))
    )


def corrections(material: Material, rng: random.Random) -> str:
    """Sentences as learners write them, with what is wrong and what is right."""
    return "\n".join(_correction(material, rng) for _ in range(rng.randint(4, 7)))


def _correction(material: Material, rng: random.Random) -> str:
    rows = _rows(material, "acceptability", rng, lambda _: ("good", "bad"))
    good, bad = (str(row["sentence"]) for row in rows)
    forms = JUDGED["good"] if rng.random() < 0.5 else JUDGED["bad"]
    return rng.choice(forms).format(good=good, bad=bad)


JUDGED = {
    "good": (
        "{good} That is right.",
        "{good} Good English.",
        "{good} Correct. One does not say: {bad}",
        "Right: {good}",
        '"{good}" is an acceptable sentence.',
        "{good} Is that right? Yes.",
    ),
    "bad": (
        "{bad} That is wrong. Better: {good}",
        "{bad} Not English; say: {good}",
        "{bad} A mistake. It must be: {good}",
        "Wrong: {bad}\nRight: {good}",
        '"{bad}" is an unacceptable sentence. It should be "{good}"',
        "{bad} Is that right? No: {good}",
    ),
}


def tale(material: Material, rng: random.Random) -> str:
    """One to three things that happened to the same person; now and then a summary or questions."""
    chosen = rng.sample(list(material.beats), rng.choice((1, 1, 2, 2, 3)))
    first = Setting(chosen[0], material.own_pool, rng)
    settings = [first]
    paragraphs = [_told(first)]
    for scenario in chosen[1:]:
        hero = {} if {"A"} & {*scenario.girls, *scenario.boys} else {"A": first.people["A"]}
        setting = Setting(scenario, material.own_pool, rng, people=hero)
        text = _told(setting)
        opens = rng.random() < 0.5 and text.startswith(setting.people["A"][0])
        paragraphs.append(f"{first.render(rng.choice(NEXT))} {text}" if opens else text)
        settings.append(setting)
    return "\n\n".join(paragraphs) + _exercise(settings, rng)


def _told(setting: Setting) -> str:
    text = " ".join(setting.render(line) for line in setting.scenario.having("T"))
    setting.value("A")
    return text


def _exercise(settings: Sequence[Setting], rng: random.Random) -> str:
    if rng.random() < FORMAT_SHARE and len(settings) == 1:
        return f"\n\nSummary: {settings[0].render(settings[0].scenario.having('S')[0])}"
    if rng.random() < FORMAT_SHARE:
        setting = rng.choice(settings)
        asked, answer = setting.scenario.having("Q")[0].split(" || ")
        return f"\n\nQuestion: {setting.render(asked)}\nAnswer: {setting.phrase(answer)}"
    return ""


def letter(material: Material, rng: random.Random) -> str:
    """A letter with some news."""
    pages = _Pages(material, rng)
    news = pages.some("news", rng.choice((1, 2, 2, 3)))
    middle = " ".join([*pages.some("opening", 1), *news, *pages.some("request", rng.choice((0, 1, 1)))])
    return f"{pages.some('greeting', 1)[0]}\n\n{middle}\n\n{pages.some('closing', 1)[0]}\n{pages.render('{B}')}"


def diary(material: Material, rng: random.Random) -> str:
    """A page of a diary."""
    return " ".join(_Pages(material, rng).some("diary", rng.randint(4, 7), in_order=True))


def notes(material: Material, rng: random.Random) -> str:
    """What hangs on doors and boards, each by other people."""
    return "\n\n".join(_Pages(material, rng).some("note", 1)[0] for _ in range(rng.choice((1, 2))))


def talk(material: Material, rng: random.Random) -> str:
    """Somebody explains something at school or at home."""
    facts = read_lists("facts.txt")["facts"]
    pages = _Pages(material, rng)
    told = [pages.render(part) for part in facts[rng.choice(sorted(facts))]]
    opening = rng.choice(TALKS["opening"])
    closing = rng.choice(TALKS["closing"])
    return f"{pages.render(opening)} {' '.join(told)} {pages.render(closing)}"


TALKS = {
    "opening": (
        "On {day} {A} gave a talk at school in {town}.",
        "{A} works as a {job} and likes to explain things to {B}.",
        '"Tell me something," said {B} to {A} at {time}.',
        "{A} wrote this in the school newspaper of {town}.",
        "{B} asked a question, and {A}, the {job}, answered.",
        "In the museum of {town} {A} read a sign to {B}.",
    ),
    "closing": (
        "{B} listened and ate {cake}.",
        "After the talk everyone had {drink}.",
        '"I did not know that," said {B}.',
        "The teacher said that it was very good.",
        "Then {A} and {B} went to the {place}.",
        "{B} wrote it all down in a {colour} book.",
        "{B} thought about it on the way to {street}.",
    ),
}


class _Pages:
    """Letters, diaries and notes: lists of sentences about the same people."""

    def __init__(self, material: Material, rng: random.Random) -> None:
        self._pool, self._rng = material.own_pool, rng
        self._people: dict[str, tuple[str, str]] = {}

    def render(self, text: str) -> str:
        return Setting(_letters(), self._pool, self._rng, people=self._people).render(text)

    def some(self, kind: str, count: int, in_order: bool = False) -> list[str]:
        texts = read_lists("letters.txt")["letters"][kind]
        chosen = self._rng.sample(range(len(texts)), count)
        return [self.render(texts[index]) for index in (sorted(chosen) if in_order else chosen)]


@cache
def _letters() -> Scenario:
    """The slots of letters, as a scenario without lines."""
    names = ("pet", "game3", "count", "price", "late", "topic")
    lists = read_lists("letters.txt")["letters"]
    return Scenario("letters", tuple(((name,), tuple((value,) for value in lists[name])) for name in names), (), (), ())


def task_row(material: Material, task: str, rng: random.Random, variant: str = "") -> Row:
    """A row of a task that is neither a validation nor a test row."""
    variants = library.recipe_of(task).variants
    return _rows(material, task, rng, lambda scenario: (variant or rng.choice(list(variants(scenario))),))[0]


def _rows(
    material: Material, task: str, rng: random.Random, variants_of: Callable[[Scenario], Sequence[str]]
) -> list[Row]:
    """Rows of one scenario with the same names, one of each variant; none is a validation or test row."""
    recipe = library.recipe_of(task)
    while True:
        scenario = rng.choice(material.tasks[task])
        variants = variants_of(scenario)
        setting = Setting(scenario, material.task_pool, rng)
        rows = [recipe.render(setting, variant) for variant in variants]
        if not any(str(row[recipe.key[0]]) in material.kept_back for row in rows):
            return rows


def phrase_book(material: Material, rng: random.Random) -> str:
    """A page of a phrase book, English and Spanish."""
    return bilingual.phrasebook(
        material.tasks["translation_en_es"], material.task_pool, rng, kept_back=material.kept_back
    )


def spanish(material: Material, rng: random.Random) -> str:
    """A paragraph of Spanish."""
    return bilingual.spanish_page(
        material.tasks["translation_en_es"], material.task_pool, rng, kept_back=material.kept_back
    )


def word_exercise(material: Material, rng: random.Random) -> str:
    """A page of exercises: who and what is in a text."""
    return _without(
        material, lambda: entities.composition(material.tasks["entity_extraction"], material.task_pool, rng)
    )


def arithmetic(material: Material, rng: random.Random) -> str:
    """A page of sums and of things to count."""
    return _without(material, lambda: counting.composition(material.tasks["counting"], material.task_pool, rng))


def quiz(material: Material, rng: random.Random) -> str:
    """A page of a quiz: what follows from a text, what cannot be, and what it leaves open."""
    scenarios = material.tasks["entailment"]
    return entailment.quiz(scenarios, material.task_pool, rng, kept_back=material.kept_back)


def _without(material: Material, compose: Callable[[], str]) -> str:
    """Compose until nothing that is kept back stands in the document."""
    while True:
        text = compose()
        if not any(kept in text for kept in material.kept_back):
            return text


FROM_SCENARIOS = (conversation, tale, passage, short_story, reviews, newspaper, sentences)
