"""The built-in tasks: which scenarios, rendered how, in which number."""

from __future__ import annotations

from functools import cache, partial

from recipes.tasks import renderers
from recipes.tasks.scenarios import Scenario, read_scenarios
from recipes.tasks.splits import Recipe

DIALOGUES = ("dialogues_home.txt", "dialogues_work.txt", "dialogues_friends.txt", "dialogues_town.txt")


def _questions(scenario: Scenario) -> list[str]:
    return [str(index) for index in range(len(scenario.having("Q")))]


@cache
def recipes() -> tuple[Recipe, ...]:
    """The recipe of every built-in task."""
    shared, *reviews = read_scenarios("reviews.txt")
    return (
        Recipe(
            "dialogue_summary",
            tuple(read_scenarios(*DIALOGUES)),
            renderers.dialogue,
            lambda scenario: scenario.variants,
            ("dialogue",),
            (800, 100, 200),
        ),
        Recipe("review_sentiment", tuple(reviews), partial(renderers.review, shared), lambda _: "+-", ("review",)),
        Recipe("topic", tuple(read_scenarios("topics.txt")), renderers.topic, lambda _: "1", ("text",)),
        Recipe(
            "reading_qa",
            tuple(read_scenarios("passages.txt")),
            renderers.question,
            _questions,
            ("passage", "question"),
        ),
        Recipe(
            "acceptability",
            tuple(read_scenarios("acceptability.txt")),
            renderers.sentence,
            lambda _: ("good", "bad"),
            ("sentence",),
        ),
        Recipe(
            "story_ending",
            tuple(read_scenarios("endings.txt")),
            renderers.story,
            lambda scenario: scenario.variants,
            ("story",),
        ),
    )


def recipe_of(name: str) -> Recipe:
    """The recipe of one task."""
    return next(recipe for recipe in recipes() if recipe.name == name)
