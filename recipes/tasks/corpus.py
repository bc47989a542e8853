"""Plain text about the world of the built-in tasks, on which the embedded model is pretrained.

Three kinds of text are never in the training part: validation and test rows of a built-in task, scenarios that a task
keeps for its validation or test split, and summaries of conversations, so that ``dialogue_summary`` stays new.
Names of the tasks' test splits occur, as any name does in the world, but only in scenarios that belong to no task.

``python -m recipes.tasks.corpus FOLDER`` writes ``train.jsonl.gz`` (column ``text``).
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path

from recipes.tasks import compositions, library, splits
from recipes.tasks.compositions import Material
from recipes.tasks.files import write_rows
from recipes.tasks.scenarios import Scenario, read_scenarios
from recipes.tasks.splits import Row
from recipes.tasks.statistics import words

WORDS = 10_000_000
SEED = 2026
HELDOUT_DOCUMENTS = 150
HELDOUT_WORDS = (60, 200)
HELDOUT_BEATS = 0.1

Compose = Callable[[Material, random.Random], str]

# How often each kind of document is drawn, out of the sum; chosen so that no document has to be repeated.
KINDS: tuple[tuple[Compose, int], ...] = (
    (compositions.tale, 26),
    (compositions.conversation, 18),
    (compositions.passage, 16),
    (compositions.phrase_book, 14),
    (compositions.letter, 10),
    (compositions.talk, 9),
    (compositions.short_story, 8),
    (compositions.arithmetic, 12),
    (compositions.quiz, 12),
    (compositions.corrections, 10),
    (compositions.word_exercise, 8),
    (compositions.reviews, 6),
    (compositions.newspaper, 6),
    (compositions.diary, 4),
    (compositions.sentences, 4),
    (compositions.spanish, 4),
    (compositions.notes, 2),
)


@dataclass(frozen=True, slots=True)
class Beats:
    """Scenarios of the corpus alone, divided into those of the training part and the rest."""

    train: tuple[Scenario, ...]
    heldout: tuple[Scenario, ...]


@cache
def beats() -> Beats:
    """Divide the corpus's own scenarios by a seeded shuffle."""
    scenarios = read_scenarios("beats.txt", "beats_more.txt", "beats_tales.txt", "essays.txt")
    random.Random("beats").shuffle(scenarios)
    first = round(len(scenarios) * HELDOUT_BEATS)
    return Beats(tuple(scenarios[first:]), tuple(scenarios[:first]))


@cache
def _kept_back() -> frozenset[str]:
    """Inputs of every validation and test row."""
    texts = set()
    for recipe in library.recipes():
        built = splits.build(recipe)
        texts |= {str(row[recipe.key[0]]) for split in ("validation", "test") for row in built[split]}
    return frozenset(texts)


def material(part: str) -> Material:
    """Training material, or material of which the training part has no scenario and no name."""
    divided = {recipe.name: splits.divide(recipe.name, recipe.scenarios) for recipe in library.recipes()}
    train = part == "train"
    return Material(
        tasks={name: parts.train if train else parts.validation for name, parts in divided.items()},
        beats=beats().train if train else beats().heldout,
        task_pool="train" if train else "heldout",
        own_pool="train+test" if train else "heldout",
        kept_back=_kept_back(),
    )


def documents(target_words: int = WORDS, seed: int = SEED) -> Iterator[str]:
    """Yield the documents of the training part until they have ``target_words`` words. None occurs twice."""
    seen = {_digest(str(row["text"])) for row in heldout()}
    total = 0
    for text in _drawn(material("train"), random.Random(f"corpus/{seed}"), KINDS):
        if _digest(text) in seen:
            continue
        seen.add(_digest(text))
        total += len(words(text))
        yield text
        if total >= target_words:
            return


@cache
def heldout() -> tuple[Row, ...]:
    """The held-out part: every name and, in two thirds of the documents, every scenario is new."""
    rng = random.Random(f"corpus/heldout/{SEED}")
    new = [kind for kind in KINDS if kind[0] in compositions.FROM_SCENARIOS]
    known = [kind for kind in KINDS if kind[0] not in compositions.FROM_SCENARIOS]
    rows = _heldout_rows(new, HELDOUT_DOCUMENTS * 2 // 3, rng) + _heldout_rows(known, HELDOUT_DOCUMENTS // 3, rng)
    return tuple({"id": f"plain_text-heldout-{index:04d}", **row} for index, row in enumerate(rows))


def _heldout_rows(kinds: Sequence[tuple[Compose, int]], count: int, rng: random.Random) -> list[Row]:
    rows: dict[str, Row] = {}
    for text in _drawn(material("heldout"), rng, kinds):
        if HELDOUT_WORDS[0] <= len(words(text)) <= HELDOUT_WORDS[1]:
            rows[text] = {"text": text, "unseen": kinds[0][0] in compositions.FROM_SCENARIOS}
        if len(rows) == count:
            break
    return list(rows.values())


def _drawn(material: Material, rng: random.Random, kinds: Sequence[tuple[Compose, int]]) -> Iterator[str]:
    composers, weights = zip(*kinds, strict=True)
    while True:
        yield rng.choices(composers, weights)[0](material, rng)


def _digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=12).digest()


if __name__ == "__main__":
    write_rows(Path(sys.argv[1]) / "train.jsonl.gz", [{"text": text} for text in documents()])
