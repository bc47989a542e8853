"""Which split each example of a task belongs to, what repeats, and what is drawn.

Rows are read twice: once to learn which split each example belongs to and what repeats (8-byte hashes, not texts), and
once more to return the examples that are wanted. So only those are ever held in memory.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from luthier.errors import DataError
from luthier.tasks.rendering import left_out_why
from luthier.tasks.rows.duplicates import DuplicateIndex, Overlaps
from luthier.tasks.rows.splits import NAMES, draw_key, draw_mask, hash64
from luthier.tasks.split_report import SplitReport, sentences_of
from luthier.tasks.task_rows import TaskExample, TaskRows


class SplitIndex:
    """The split of each example of a task, and which are used.

    Args:
        rows: The task's rows.
        seed: Of what is drawn.
        keep: Called with each example as it comes by, rendered as in an evaluation.
    """

    def __init__(self, rows: TaskRows, seed: int, *, keep: Callable[[TaskExample], None] | None = None) -> None:
        self.rows = rows
        duplicates, draws = DuplicateIndex(), array("Q")
        # Both passes see the same examples; prompts are compared in the wording of evaluation.
        for item in rows.items(evaluation=True):
            duplicates.add(item.split, item.example)
            draws.append(draw_key(item.example.id, seed))
            if keep is not None:
                keep(item)
        self.overlaps: Overlaps = duplicates.overlaps(keep_prompts=rows.task.overlaps == "keep")
        self._splits = duplicates.splits
        self._draws = np.frombuffer(draws, dtype=np.uint64)
        self._repeated = duplicates.repeated_ids()
        self._row_count, self._left_out = rows.count, rows.left_out
        self._left_out_rows = tuple(rows.left_out_rows)
        self._repeated_choices = rows.repeated_choices
        self._told, self._unread = dict(rows.notes.told), dict(rows.notes.unread)
        if self._repeated and rows.task.id_column is not None:
            _refuse_repeated_ids(rows, self._repeated)

    def chosen(self, split: str, limit: int | None) -> npt.NDArray[np.bool_]:
        """Mark the examples of a split that are used: bool ``(examples of the task,)``."""
        own = np.flatnonzero((self._splits == NAMES.index(split)) & self.overlaps.keep)
        marked = np.zeros(len(self._splits), dtype=np.bool_)
        marked[own[draw_mask(self._draws[own], limit)]] = True
        return marked

    def items(
        self, wanted: npt.NDArray[np.bool_], *, evaluation: bool, only: str | None = None
    ) -> Iterator[TaskExample]:
        """Yield the marked examples; rows that are alike get ids of their own."""
        seen: Counter[str] = Counter()
        for item in self.rows.items(evaluation=evaluation, only=only):
            if item.place >= len(wanted):
                raise DataError("the rows changed while they were read", where=self.rows.task.where)
            if not wanted[item.place]:
                continue
            if not self._repeated:
                yield item
                continue
            example = item.example
            seen[example.id] += 1
            if seen[example.id] > 1:
                example = replace(example, id=f"{example.id}~{seen[example.id]}")
            yield replace(item, example=example)

    def report(self, wanted: npt.NDArray[np.bool_]) -> SplitReport:
        """Say what became of the rows."""
        found = {name: int((self._splits == code).sum()) for code, name in enumerate(NAMES)}
        used = {name: int((wanted & (self._splits == code)).sum()) for code, name in enumerate(NAMES)}
        report = SplitReport(
            rows=self._row_count,
            given=self.rows.given,
            found=found,
            used=used,
            duplicates=self.overlaps.duplicates,
            overlaps=self.overlaps.prompts,
            held_out_overlaps=self.overlaps.held_out,
            repeated=self.overlaps.repeated,
            repeated_choices=self._repeated_choices,
            left_out=self._left_out,
            left_out_rows=self._left_out_rows,
            left_out_why=left_out_why(self.rows.task),
            told=self._told,
            unread=self._unread,
            sources=tuple(str(source) for source in self.rows.parts.values()),
            sentences=(),
        )
        return replace(report, sentences=tuple(sentences_of(self.rows.task, report)))


def _refuse_repeated_ids(rows: TaskRows, repeated: frozenset[int]) -> None:
    for item in rows.items(evaluation=True):
        if hash64(item.example.id, "luthier id") in repeated:
            what = f"the id '{item.example.id}' in column '{rows.task.id_column}' is not unique"
            raise DataError(what, where=rows.task.where, fix="Name a column with unique ids, or leave `id:` out.")
