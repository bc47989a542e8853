"""The training rows of a task, kept as they are, and put into words each time that one is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2b

import numpy as np

from luthier.config.data import TrainingDataConfig
from luthier.errors import LuthierError, TaskError, did_you_mean
from luthier.garbage import collection_paused
from luthier.records import Example, Row, Turn
from luthier.tasks.mixture_spec import MixtureSource
from luthier.tasks.rendering import render_with
from luthier.tasks.rows.splits import hash64
from luthier.tasks.schema import PromptTemplate, Task
from luthier.tasks.split_index import SplitIndex
from luthier.tasks.split_report import SplitReport, check_lost
from luthier.tasks.task_rows import TaskExample, TaskRows
from luthier.tasks.texts import text_hash


@dataclass(frozen=True, slots=True)
class _Kept:
    """A row of the training split, and the example that it is in an evaluation; of a conversation one answer."""

    row: Row
    example: Example


class TrainingRows:
    """The training split of a task, of which any example can be had in any wording.

    Args:
        task: The task.
        source: How its examples are worded.
        data: How many rows may be lost.
        seed: Decides exemplars.

    Attributes:
        report: What became of the rows.
        held_out: Hashes of the texts of its validation and test examples.

    Raises:
        LuthierError: When rows cannot be read, or too many are left out.
    """

    def __init__(self, task: Task, source: MixtureSource, data: TrainingDataConfig, seed: int) -> None:
        self.task = task
        self._source = source
        self._seed = seed
        self._templates = _templates(task, source)
        kept: list[_Kept] = []
        places: list[int] = []
        held_out: set[int] = set()

        def keep(item: TaskExample) -> None:
            if item.split == "train":
                kept.append(_Kept(item.content, item.example))
                places.append(item.place)
            else:
                held_out.add(text_hash(item.example))

        with collection_paused():
            index = SplitIndex(TaskRows(task), seed, keep=keep)
        wanted = index.chosen("train", None)
        self.report: SplitReport = index.report(wanted)
        check_lost(self.report, data.max_lost, task.where)
        self._rows = [own for own, place in zip(kept, places, strict=True) if wanted[place]]
        self.held_out = frozenset(held_out)
        self.overlapping = 0

    @cached_property
    def digest(self) -> str:
        """Of the rows that are kept, and of how they are worded."""
        worded = self._source.model_dump_json(exclude={"weight", "task", "text"})
        hashed = blake2b(f"{self.task.digest} {self._seed} {worded}".encode(), digest_size=16)
        for own in self._rows:
            hashed.update(repr((own.example.id, own.example.prompt, own.example.targets)).encode("utf-8", "replace"))
        return hashed.hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def leave_out(self, texts: frozenset[int]) -> None:
        """Leave out the examples whose texts are measured on elsewhere, given as hashes, and count them."""
        apart = [own for own in self._rows if text_hash(own.example) not in texts]
        self.overlapping = len(self._rows) - len(apart)
        self._rows = apart
        self.__dict__.pop("digest", None)

    def example(self, place: int, visit: int) -> Example | None:
        """Return an example as it is worded at a visit (from 0); None where that wording makes none of its row."""
        own = self._rows[place]
        worded = self._worded(own, place, visit)
        if worded is None:
            return None
        turn = hash64(own.example.id, "luthier mixture") + visit
        shots = self._source.shots[turn % len(self._source.shots)]
        return self._after_exemplars(self._with_choices(worded, turn), place, visit, shots)

    def _worded(self, own: _Kept, place: int, visit: int) -> Example | None:
        if not self._templates:
            return own.example
        number = (hash64(own.example.id, "luthier words") + visit) % len(self._templates)
        task, kept = self.task, own.example
        try:
            return render_with(
                task,
                self._templates[number],
                own.row,
                key=kept.id,
                group=kept.group,
                split="train",
                where=f"{task.where}, training example {place + 1}",
            )
        except LuthierError:
            return None  # counted with those that do not fit

    def _with_choices(self, example: Example, turn: int) -> Example:
        shown = self._source.choices == "shown" or (self._source.choices == "both" and turn % 2 == 0)
        if not shown or not example.choices:
            return example
        listed = "\n".join(f"- {choice}" for choice in example.choices)
        return replace(example, prompt=f"{example.prompt}\n\nChoices:\n{listed}")

    def _after_exemplars(self, example: Example, place: int, visit: int, shots: int) -> Example:
        """Put other training examples before a prompt."""
        if not shots or len(self._rows) < 2:
            return example
        rng = np.random.default_rng([self._seed, place, visit, 3])
        drawn = rng.choice(len(self._rows) - 1, size=min(shots, len(self._rows) - 1), replace=False)
        chosen = [self._rows[int(other) + (other >= place)].example for other in drawn]
        turns = tuple(Turn(other.prompt, other.reply) for other in chosen)
        return replace(example, turns=(*turns, *example.turns))


def _templates(task: Task, source: MixtureSource) -> tuple[PromptTemplate, ...]:
    """Return the templates by which a task's examples are worded in turns; none where its rows need none.

    Raises:
        TaskError: A template is named that the task does not have.
    """
    if not task.templates:
        return ()
    if source.templates == "all":
        return tuple(task.training_templates)
    known = {template.name: template for template in task.templates}
    for name in source.templates:
        if name not in known:
            what = f"the task '{task.name}' has no template '{name}'"
            raise TaskError(what, where=task.where, fix=did_you_mean(name, known))
    return tuple(known[name] for name in source.templates)
