"""The instruction mixture: every built-in task but those held out, in proportion to its examples.

A task's examples are its training split, each in the wordings of several training templates, and rows newly composed
from the scenarios of that split, so that the model learns the task and not its rows; among them stands plain text, so
that it does not unlearn to write.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from luthier.config.data import DataConfig
from luthier.data.encoding import Encoder
from luthier.models.language_model import LanguageModel
from luthier.objectives.cross_entropy import CrossEntropy
from luthier.objectives.objective import LossSum, MicroBatch
from luthier.records import Encoded, Example
from luthier.tasks.loader import load_splits, load_task
from luthier.tasks.names import library_names
from luthier.tasks.rows.sources import Source
from luthier.tasks.schema import Task
from recipes.mini.architecture import CONTEXT
from recipes.tasks.compositions import task_row
from recipes.tasks.corpus import material
from recipes.tasks.files import write_rows
from recipes.tasks.library import recipe_of
from recipes.tasks.splits import Row

HELD_OUT = frozenset({"dialogue_summary", "story_ending", "plain_text"})
WORDINGS = 2
"""Training templates in which each example of the training split stands there."""
FRESH = 8_000
"""Newly composed rows of each task, each rendered by one template."""


@dataclass(frozen=True, slots=True)
class Drill:
    """A training on newly composed rows.

    Attributes:
        rows: How many of the tasks that are drilled.
        others: How many of each other task.
    """

    rows: Mapping[str, int]
    others: int


DRILLS = (
    Drill({"acceptability": 30_000, "entailment": 20_000, "counting": 16_000}, 2_500),
    Drill({"acceptability": 36_000}, 1_000),
    Drill({"acceptability": 30_000, "entailment": 40_000, "counting": 16_000}, 6_000),
    Drill({"acceptability": 30_000, "entailment": 40_000, "counting": 24_000}, 8_000),
)
"""A small model gets nothing from the first ten thousand examples of these tasks, and then begins to: to acceptability
only once it sees little else, at which it forgets the others. When all have begun, all grow together: a single long
drill in the three was worse in each, on the validation splits."""
REPLAYED = 1500

USUAL_TARGET = 6.0
"""Tokens of a usual target: brings the loss of :func:`each_example_alike` to the scale of a loss by tokens."""


def tasks() -> tuple[str, ...]:
    """Names of the tasks of the mixture."""
    return tuple(name for name in library_names() if name not in HELD_OUT)


def training_mixture(model: LanguageModel, texts: Sequence[str], folder: Path, *, seed: int) -> list[Encoded]:
    """Encode the training split of all tasks, rows composed anew, which are written to the folder, and plain text."""
    examples: list[Example] = []
    for name in tasks():
        examples += _in_wordings(load_task(name), WORDINGS, seed) + _composed_anew(name, FRESH, folder, seed)
    return [*_encode(model, examples), *as_examples(model, texts[-REPLAYED:])]


def drill_mixture(model: LanguageModel, texts: Sequence[str], folder: Path, *, number: int, seed: int) -> list[Encoded]:
    """Encode the rows of a drill, from 0, each in one wording, and some plain text."""
    own = DRILLS[number]
    examples: list[Example] = []
    for name in tasks():
        examples += _composed_anew(name, own.rows.get(name, own.others), folder, seed)
    return [*_encode(model, examples), *as_examples(model, texts[-REPLAYED:])]


def _composed_anew(name: str, count: int, folder: Path, seed: int) -> list[Example]:
    """Return examples of newly composed rows, which are written to the folder, each rendered by one template."""
    path = folder / f"{name}.jsonl.gz"
    write_rows(path, list(fresh_rows(name, count, seed=seed)))
    task = load_task(name)
    return _in_wordings(replace(task, sources={**task.sources, "train": Source(str(path))}), 1, seed)


def fresh_rows(name: str, count: int, *, seed: int) -> Iterator[Row]:
    """Compose rows from a task's training scenarios; none has the input of another, or of a row kept for testing."""
    rng = random.Random(f"mini/{name}/{seed}")
    key = recipe_of(name).key
    seen: set[tuple[object, ...]] = set()
    allowed = material("train")
    while len(seen) < count:
        row = task_row(allowed, name, rng)
        inputs = tuple(row[column] for column in key)
        if inputs not in seen:
            seen.add(inputs)
            yield {"id": f"{name}-fresh-{len(seen):05d}", **row, "unseen": False}


def _in_wordings(task: Task, wordings: int, seed: int) -> list[Example]:
    """The training split, each example in so many training templates, all of them equally often."""
    found: list[Example] = []
    count = len(task.training_templates)
    for number, template in enumerate(task.training_templates):
        rows = load_splits(replace(task, templates=(template,)), DataConfig(), seed).train
        kept = [row for place, row in enumerate(rows) if (place + number) % count < wordings]
        found += [replace(row, id=f"{row.id}/{template.name}") for row in kept]
    return found


def validation_mixture(model: LanguageModel, *, seed: int) -> list[Encoded]:
    """Encode the validation split of all tasks with the evaluation templates."""
    examples = [row for name in tasks() for row in load_splits(load_task(name), DataConfig(), seed).validation]
    return _encode(model, examples)


def as_examples(model: LanguageModel, texts: Sequence[str]) -> list[Encoded]:
    """Encode documents as pretraining examples: every token after the begin token is supervised."""
    tokenizer = model.tokenizer
    begin = np.array([tokenizer.bos_token_id], dtype=np.int32)
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return [
        Encoded(f"text-{number}", begin, np.array([*own, tokenizer.eos_token_id], dtype=np.int32)[: CONTEXT - 1])
        for number, own in enumerate(ids)
    ]


@dataclass(frozen=True)
class EachExampleAlike(CrossEntropy):
    """Cross-entropy with equal weights of examples: a one-word label counts as much as a page of text."""

    name: ClassVar[str] = "each_example_alike"

    def loss(self, model: LanguageModel, batch: MicroBatch[Encoded]) -> LossSum:
        """Return the weighted sum of the negative log-probabilities (nats) of the target tokens."""
        lengths = torch.tensor([len(item.target_ids) for item in batch.records])
        weights = torch.repeat_interleave(1 / lengths, lengths).to(model.device)
        return LossSum(-(model.target_logprobs(batch.records) * weights).sum() * USUAL_TARGET)


def _encode(model: LanguageModel, examples: list[Example]) -> list[Encoded]:
    encoder = Encoder(model.tokenizer, encoder_decoder=False, max_length=model.max_length, chat="never")
    return list(encoder.encode_all(examples).encoded)
