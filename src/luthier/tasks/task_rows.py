"""A task's rows, read from their sources and rendered, with the split of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from luthier.errors import LuthierError
from luthier.files.row_faults import RowFaults
from luthier.records import Example
from luthier.tasks.rendering import choices_given, render, row_id, split_key
from luthier.tasks.rows import sources
from luthier.tasks.rows.left_out import LeftOut
from luthier.tasks.rows.notes import RowNotes
from luthier.tasks.rows.sources import Source, given_splits, read_rows
from luthier.tasks.rows.splits import NAMES, assign
from luthier.tasks.schema import Task


@dataclass(frozen=True, slots=True)
class TaskExample:
    """An example and its position.

    Attributes:
        place: Position among all examples of the task.
        split: ``train``, ``validation`` or ``test``.
        example: The rendered row.
        source: The file or dataset that the row is from.
        row: Its number there, from 1.
    """

    place: int
    split: str
    example: Example
    source: str
    row: int


class TaskRows:
    """The rows of a task, which can be read several times.

    Args:
        task: The task; hub datasets are pinned.

    Attributes:
        notes: What the user must know of the rows.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.parts = source_parts(task)
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
            for number, row in enumerate(read_rows(source), 1):
                where = f"{source}, row {number}"
                self.count += 1
                try:
                    key = row_id(self.task, row, where)
                    group, decides = split_key(self.task, row, key, where)
                    split = assign(decides, self.task.fractions, self._carve) if part in ("all", "train") else part
                    fixed = evaluation or split != "train"
                    for example in render(
                        self.task,
                        row,
                        key=key,
                        group=group,
                        split=split,
                        evaluation=fixed,
                        where=where,
                        notes=self.notes,
                    ):
                        self.repeated_choices += choices_given(self.task, row) > len(example.choices)
                        if only is None or split == only:
                            yield TaskExample(place, split, example, str(source), number)
                        place += 1
                except LeftOut as fault:
                    self.left_out += 1
                    if len(self.left_out_rows) < 5:
                        self.left_out_rows.append(f"{fault.where}: {fault.what}")
                except LuthierError as fault:
                    faults.add(fault)
            faults.finish()


def source_parts(task: Task) -> dict[str, Source]:
    """Return the sources by split, or ``{"all": source}``."""
    pinned = {name: sources.pin(source) for name, source in task.sources.items()}
    if "all" in pinned:
        return given_splits(pinned["all"]) or pinned
    return {name: given_splits(source).get(name, source) for name, source in pinned.items()}
