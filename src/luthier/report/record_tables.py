"""Tables of what the verbs give back in Python: scores, answered rows, a training, a task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from luthier.records import Row, Score
from luthier.report import formatting
from luthier.report.intervals import intervals_of
from luthier.report.tables import Cell, Column, Table, value_cell

_ROWS = 10
"""Answered rows that are shown."""
_LONGEST = 160
"""Characters of a value that are shown."""


class Answered(Protocol):
    """Rows with their answers, as ``predict`` gives them back."""

    rows: Sequence[Row]
    unanswered: int
    unparsed: int


class Described(Protocol):
    """A task that says what it is."""

    name: str
    version: str

    def facts(self) -> Mapping[str, str]:
        """Return what it says, each under a short name."""

    def wordings(self) -> Mapping[str, str]:
        """Return its preamble and templates, each under its name."""


def score_table(scores: Sequence[Score], *, of: str = "") -> Table:
    """One row for each score, with its interval."""
    intervals = intervals_of(scores)
    rows = tuple(
        (Cell(score.metric), value_cell(score, formatting.digits_for([score.value]), intervals), Cell(f"{score.n:,}"))
        for score in scores
    )
    held = {score.variance for score in scores if not math.isnan(score.low)}
    note = f"{intervals.words()} in brackets, of {' or '.join(sorted(held))}." if held else ""
    columns = (Column("Metric", number=False), Column("Score"), Column("n"))
    return Table("scores", f"Scores on {of}" if of else "Scores", columns, rows, note)


def answered_table(answered: Answered) -> Table:
    """The first rows with their answers."""
    shown = answered.rows[:_ROWS]
    names = list(dict.fromkeys(name for row in shown for name in row))
    numbers = [all(_is_number(row.get(name)) for row in shown) for name in names]
    columns = tuple(Column(str(name), number=number) for name, number in zip(names, numbers, strict=True))
    rows = tuple(tuple(Cell(_written(row.get(name))) for name in names) for row in shown)
    count = len(answered.rows)
    parts = [f"the first {len(shown)} of {count:,} rows" if count > len(shown) else ""]
    parts.append(f"{answered.unanswered:,} do not fit the model and have no answer" if answered.unanswered else "")
    parts.append(f"in {answered.unparsed:,} generated texts no answer was found" if answered.unparsed else "")
    note = "; ".join(part for part in parts if part)
    return Table("answered", "Answers", columns, rows, f"{note[0].upper()}{note[1:]}." if note else "")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _written(value: object) -> str:
    if value is None:
        return formatting.ABSENT
    text = formatting.decimal(value, 3) if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def tuned_table(trained: Any, folder: Path) -> Table:
    """One row: what was trained, what it took, and how good it was on the validation split.

    Args:
        trained: A finished training: see :class:`luthier.training.trained.Trained`, which lies above this package.
        folder: Where its adapter, or its whole model, lies.
    """
    found, costs = trained.result, trained.costs
    # Kept turned so that higher is better; shown in the metric's own direction.
    score = found.best_score if found.best_score is None or found.higher_is_better else -found.best_score
    best = f"best at {found.best_step:,}" if found.best_step is not None else ""
    row = (
        Cell(formatting.count(found.trainable_parameters)),
        Cell(formatting.size(found.stored_bytes)),
        Cell(f"{found.steps:,}", best),
        Cell(formatting.decimal(score, formatting.digits_for([score]))),
        Cell(formatting.seconds(costs.training_seconds)),
        Cell(formatting.rate(costs.supervised_tokens_per_second)),
        Cell(formatting.size(costs.peak_memory_bytes)),
    )
    titles = ("Trained params", "Stored", "Steps", "Validation", "Train time", "Train tok/s", "Peak memory")
    note = f"It lies in {folder}. Train tok/s counts supervised tokens."
    return Table("tuned", "Training", tuple(Column(title) for title in titles), (row,), note)


def task_table(task: Described) -> Table:
    """What a task says of itself."""
    rows = tuple((Cell(name), Cell(value)) for name, value in task.facts().items())
    columns = (Column("", number=False), Column("", number=False))
    return Table("task", f"{task.name}, version {task.version}", columns, rows)
