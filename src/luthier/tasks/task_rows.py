"""A task's rows, read from their sources and rendered, with the split of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from luthier.errors import LuthierError
from luthier.files.row_faults import RowFaults
from luthier.records import Example, Row
from luthier.tasks.rendering import choices_given, every_template, render, templates_of
from luthier.tasks.row_keys import row_id, split_key
from luthier.tasks.rows import sources
from luthier.tasks.rows.left_out import LeftOut
from luthier.tasks.rows.notes import RowNotes
from luthier.tasks.rows.sources import Source, given_splits, read_rows
from luthier.tasks.rows.splits import NAMES, assign
from luthier.tasks.rows.templates import expect_rendering
from luthier.tasks.schema import Task

_TOGETHER = 256
"""Rows that are rendered together where that is done under limits."""
_LARGE = 2**20
"""Characters of rows from which on fewer are."""


@dataclass(frozen=True, slots=True)
class TaskExample:
    """An example and its position.

    Attributes:
        place: Position among all examples of the task.
        split: ``train``, ``validation`` or ``test``.
        example: The rendered row.
        source: The file or dataset that the row is from.
        row: Its number there, from 1.
        content: What the source has.
    """

    place: int
    split: str
    example: Example
    source: str
    row: int
    content: Row


@dataclass(frozen=True, slots=True)
class _PlacedRow:
    """A row with its id, its group and its split, and whether it is put into words as in an evaluation."""

    number: int
    row: Row
    where: str
    key: str
    group: str
    split: str
    evaluation: bool


class TaskRows:
    """The rows of a task, which can be read several times.

    Args:
        task: The task; hub datasets are pinned.
        only: Read the source of this split alone, where it has one of its own; every source when not given.

    Attributes:
        notes: What the user must know of the rows.
    """

    def __init__(self, task: Task, only: str | None = None) -> None:
        self.task = task
        self.parts = source_parts(task, only)
        self.given = tuple(name for name in NAMES if name in self.parts)
        self._carve = frozenset(name for name in NAMES if name in self.parts and name != "train")
        self.count = 0
        self.left_out = 0
        self.left_out_rows: list[str] = []
        self.repeated_choices = 0
        self.notes = RowNotes()

    def items(self, *, evaluation: bool, only: str | None = None) -> Iterator[TaskExample]:
        """Yield every example in order; the count of rows begins anew.

        Args:
            evaluation: Whether training examples too are rendered with the evaluation template.
            only: Yield this split's examples alone (the others are still read where they share a source).
        """
        self.count, self.left_out, self.repeated_choices, place = 0, 0, 0, 0
        self.left_out_rows.clear()
        self.notes.clear()
        for part, source in self.parts.items():
            faults = RowFaults(str(source))
            for one in self._announced(self._placed(part, source, evaluation, faults)):
                try:
                    for example in render(
                        self.task,
                        one.row,
                        key=one.key,
                        group=one.group,
                        split=one.split,
                        evaluation=one.evaluation,
                        where=one.where,
                        notes=self.notes,
                    ):
                        self.repeated_choices += choices_given(self.task, one.row) > len(example.choices)
                        if only is None or one.split == only:
                            yield TaskExample(place, one.split, example, str(source), one.number, one.row)
                        place += 1
                except LeftOut as fault:
                    self.left_out += 1
                    if len(self.left_out_rows) < 5:
                        self.left_out_rows.append(f"{fault.where}: {fault.what}")
                except LuthierError as fault:
                    faults.add(fault)
            faults.finish()

    def _placed(self, part: str, source: Source, evaluation: bool, faults: RowFaults) -> Iterator[_PlacedRow]:
        """Yield the rows of a source with their keys and splits; the faults of those that have none are kept."""
        task = self.task
        for number, own in enumerate(read_rows(source), 1):
            row = {**task.constants, **own} if task.constants else own
            where = f"{source}, row {number}"
            self.count += 1
            try:
                key = row_id(task, row, where)
                group, decides = split_key(task, row, key, where)
            except LuthierError as fault:
                faults.add(fault)
                continue
            split = assign(decides, task.fractions, self._carve) if part in ("all", "train") else part
            yield _PlacedRow(number, row, where, key, group, split, evaluation or split != "train")

    def _announced(self, rows: Iterator[_PlacedRow]) -> Iterator[_PlacedRow]:
        """Yield rows, and announce what is rendered of them under limits, so that it is rendered together."""
        if not any(template.is_limited for template in every_template(self.task)):
            yield from rows
            return
        for batch in _batches(rows):
            expect_rendering(
                (template, one.row)
                for one in batch
                for template in templates_of(self.task, one.key, split=one.split, evaluation=one.evaluation)
            )
            yield from batch


def _batches(rows: Iterator[_PlacedRow]) -> Iterator[list[_PlacedRow]]:
    """Yield rows in lists, short where they are large; those before a row that cannot be read come first."""
    batch: list[_PlacedRow] = []
    size = 0
    try:
        for one in rows:
            batch.append(one)
            size += sum(len(value) for value in one.row.values() if isinstance(value, str | list | tuple | dict))
            if len(batch) == _TOGETHER or size >= _LARGE:
                yield batch
                batch, size = [], 0
    except LuthierError:
        yield batch
        raise
    yield batch


def source_parts(task: Task, only: str | None = None) -> dict[str, Source]:
    """Return the sources by split, or ``{"all": source}``; of one split alone where it has its own."""
    given = {only: task.sources[only]} if only is not None and only in task.sources else task.sources
    pinned = {name: sources.pin(source) for name, source in given.items()}
    if "all" in pinned:
        return given_splits(pinned["all"]) or pinned
    return {name: given_splits(source).get(name, source) for name, source in pinned.items()}
