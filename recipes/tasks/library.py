"""The recipe of each built-in task: its scenarios, its renderer and its number of rows."""

from __future__ import annotations

from functools import cache, partial

from recipes.tasks import bilingual, counting, entailment, entities, renderers
from recipes.tasks.scenarios import Scenario, read_scenarios
from recipes.tasks.splits import Recipe

ROWS = (2000, 150, 300)
MORE_ROWS = (2400, 150, 300)


def read(task: str, *parts: str) -> tuple[Scenario, ...]:
    """Read ``texts/task_part.txt`` of every part; the part "" stands for ``texts/task.txt``."""
    return tuple(read_scenarios(*(f"{task}_{part}.txt" if part else f"{task}.txt" for part in parts)))


def _questions(scenario: Scenario) -> list[str]:
    return [str(index) for index in range(len(scenario.having("Q")))]


@cache
def recipes() -> tuple[Recipe, ...]:
    """The recipe of every built-in task."""
    dialogues = read("dialogues", "home", "work", "friends", "town", "school", "travel", "plans", "trouble")
    shared, *reviews = read("reviews", "", "things", "places", "culture")
    passages = read("passages", "", "people", "places", "events")
    sentences = read("acceptability", "", "agreement", "order", "verbs", "words")
    endings = read("endings", "", "days", "work", "animals")
    return (
        Recipe(
            "dialogue_summary", dialogues, renderers.dialogue, lambda own: own.variants, ("dialogue",), (1000, 150, 300)
        ),
        Recipe(
            "review_sentiment", tuple(reviews), partial(renderers.review, shared), lambda _: "+-", ("review",), ROWS
        ),
        Recipe("topic", read("topics", "", "more"), renderers.topic, lambda _: "1", ("text",), ROWS),
        Recipe("reading_qa", passages, renderers.question, _questions, ("passage", "question"), ROWS),
        Recipe("acceptability", sentences, renderers.sentence, lambda _: ("good", "bad"), ("sentence",), MORE_ROWS),
        Recipe("story_ending", endings, renderers.story, lambda own: own.variants, ("story",), (800, 150, 300)),
        entailment.recipe(),
        bilingual.recipe(),
        entities.recipe(),
        counting.recipe(),
    )


def recipe_of(name: str) -> Recipe:
    """The recipe of one task."""
    return next(recipe for recipe in recipes() if recipe.name == name)
