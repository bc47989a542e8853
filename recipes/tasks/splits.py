"""Which scenarios and names each split of a task may use.

A fifth of the scenarios is kept for the test split and never seen in training, a smaller part for the validation
split; the other half of the test split shows scenarios of the training split with other names and other words.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recipes.tasks.scenarios import Scenario
from recipes.tasks.world import Setting

Row = dict[str, object]
Render = Callable[[Setting, str], Row]

UNSEEN_SHARE = 0.22
VALIDATION_SHARE = 0.08
MAX_TRIES = 200


@dataclass(frozen=True, slots=True)
class Parts:
    """The scenarios of a task, by where they occur. ``train`` ones occur in every split."""

    train: tuple[Scenario, ...]
    validation: tuple[Scenario, ...]
    unseen: tuple[Scenario, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one task is made.

    Attributes:
        name: Name of the task.
        scenarios: Every scenario.
        render: Makes one row, without its bookkeeping, from a setting and a variant.
        variants: Variants of a scenario; the rows are spread evenly over them.
        key: Columns that together hold the input; no two rows of the task share them.
        sizes: Rows of train, validation and test.
    """

    name: str
    scenarios: tuple[Scenario, ...]
    render: Render
    variants: Callable[[Scenario], Sequence[str]]
    key: tuple[str, ...]
    sizes: tuple[int, int, int] = (600, 100, 200)


def divide(task: str, scenarios: Sequence[Scenario]) -> Parts:
    """Divide the scenarios of each group by a seeded shuffle, so that every group is in every part."""
    groups: dict[str, list[Scenario]] = defaultdict(list)
    for scenario in scenarios:
        groups[scenario.group].append(scenario)
    train: list[Scenario] = []
    validation: list[Scenario] = []
    unseen: list[Scenario] = []
    for name, members in sorted(groups.items()):
        random.Random(f"{task}/divide/{name}").shuffle(members)
        first = round(len(members) * UNSEEN_SHARE)
        second = first + max(1, round(len(members) * VALIDATION_SHARE))
        unseen += members[:first]
        validation += members[first:second]
        train += members[second:]
    return Parts(tuple(train), tuple(validation), tuple(unseen))


def build(recipe: Recipe) -> dict[str, list[Row]]:
    """Make the three splits of a task. No input occurs twice in them."""
    parts = divide(recipe.name, recipe.scenarios)
    train, validation, test = recipe.sizes
    unseen = round(test * 0.55)
    taken: set[tuple[object, ...]] = set()
    splits = {
        "test": _rows(recipe, parts.unseen, unseen, "test", taken, "unseen")
        + _rows(recipe, parts.train, test - unseen, "test", taken, "seen"),
        "validation": _rows(recipe, parts.validation, validation // 2, "train", taken, "validation unseen")
        + _rows(recipe, parts.train, validation - validation // 2, "train", taken, "validation seen"),
        "train": _rows(recipe, parts.train, train, "train", taken, "train"),
    }
    known = {scenario.name for scenario in parts.train}
    return {split: _finish(recipe.name, split, splits[split], known) for split in ("train", "validation", "test")}


def _rows(
    recipe: Recipe, scenarios: Sequence[Scenario], count: int, pool: str, taken: set[tuple[object, ...]], part: str
) -> list[Row]:
    rng = random.Random(f"{recipe.name}/{part}")
    frames = [(scenario, variant) for scenario in scenarios for variant in recipe.variants(scenario)]
    rng.shuffle(frames)
    rows: list[Row] = []
    while len(rows) < count:
        found = [_fresh_row(recipe, scenario, variant, pool, rng, taken) for scenario, variant in frames]
        frames = [frame for frame, row in zip(frames, found, strict=True) if row]
        rows += [row for row in found if row]
        if not frames:
            raise ValueError(f"task {recipe.name!r} has too few phrasings for {count} rows of {part}")
    return rows[:count]


def _fresh_row(
    recipe: Recipe, scenario: Scenario, variant: str, pool: str, rng: random.Random, taken: set[tuple[object, ...]]
) -> Row | None:
    for _ in range(MAX_TRIES):
        row = recipe.render(Setting(scenario, pool, rng), variant)
        key = tuple(row[column] for column in recipe.key)
        if key not in taken:
            taken.add(key)
            return {**row, "scenario": scenario.name}
    return None


def _finish(task: str, split: str, rows: list[Row], known: set[str]) -> list[Row]:
    random.Random(f"{task}/order/{split}").shuffle(rows)
    return [
        {"id": f"{task}-{split}-{index:04d}", **row, "unseen": row["scenario"] not in known}
        for index, row in enumerate(rows)
    ]
