"""What ``luthier eval`` prints: one task a row, its chance level beside its score."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from luthier.records import Score
from luthier.report.intervals import Intervals, intervals_of
from luthier.report.tables import Cell, Column, Table
from luthier.report.terminal import DrawnTable, draw
from luthier.results.records import Change


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One task, measured.

    Attributes:
        task: Its name.
        chance: What guessing gets, or None.
        scores: The primary one first.
        shots: Fewest and most exemplars that were shown.
        dropped: Examples that did not fit.
        parts: The same scores for each part of the test split, where the task names parts.
        coarser: The primary score less that of float32 weights, where the engine's are coarser.
        same: Share of answers that are then the same.
    """

    task: str
    chance: float | None
    scores: tuple[Score, ...]
    shots: tuple[int, int]
    dropped: int
    parts: Mapping[str, tuple[Score, ...]]
    coarser: Change | None = None
    same: float | None = None


def row_of(found: Any) -> EvaluationRow:
    """Return the row of a task that ``evaluate`` has measured, which lies above this package."""
    task, used = found.task, found.shots_used
    return EvaluationRow(
        task.name, task.chance, found.scores, used, found.dropped, found.parts, found.coarser, found.same
    )


def evaluation_table(rows: Sequence[EvaluationRow]) -> DrawnTable:
    """Draw the primary score of each task with its interval; the heading says the level that the scores state."""
    intervals = intervals_of(_shown(rows))
    # What is zero in every row takes no room from the names.
    optional = {"shots": any(any(row.shots) for row in rows), "dropped": any(row.dropped for row in rows)}
    extra = [title for title, wanted in optional.items() if wanted]
    names = (Column("task", number=False), Column("metric", number=False))
    numbers = (Column(title) for title in ("score", intervals.heading(), "chance", "n", *extra))
    lines = tuple(line for row in rows for line in _lines(row, intervals, extra))
    alike = ", ".join(f"{row.task} {100 * row.same:.0f} %" for row in rows if row.same is not None)
    note = f"Answers that are the same as with float32 weights: {alike}." if alike else ""
    return draw(Table("evaluation", "", (*names, *numbers), lines, note))


def _lines(row: EvaluationRow, intervals: Intervals, extra: Sequence[str]) -> Iterator[tuple[Cell, ...]]:
    """Yield the line of a task, and those of the float32 difference and of its parts below it."""
    few, most = row.shots
    counts = {"shots": str(few) if few == most else f"{few}–{most}", "dropped": str(row.dropped)}
    chance = "–" if row.chance is None else _number(row.chance)
    blank = [""] * len(extra)
    first = (row.task, *_measured(row.scores[0], intervals), chance, str(row.scores[0].n))
    yield tuple(Cell(text) for text in (*first, *(counts[title] for title in extra)))
    if row.coarser is not None:
        cost = row.coarser
        interval = intervals.beside(cost, f"{cost.low:+.3f} – {cost.high:+.3f}")
        line = ("  less float32", row.scores[0].metric, f"{cost.value:+.3f}", interval, "", str(cost.n), *blank)
        yield tuple(Cell(text) for text in line)
    for part, scores in row.parts.items():
        line = (f"  {part}", *_measured(scores[0], intervals), "", str(scores[0].n), *blank)
        yield tuple(Cell(text, tone="muted") for text in line)


def _shown(rows: Sequence[EvaluationRow]) -> Iterator[Score | Change | None]:
    for row in rows:
        yield row.scores[0]
        yield row.coarser
        yield from (scores[0] for scores in row.parts.values())


def _measured(score: Score, intervals: Intervals) -> tuple[str, str, str]:
    interval = intervals.beside(score, f"{_number(score.low)} – {_number(score.high)}")
    return score.metric, _number(score.value), interval


def evaluation_json(rows: Sequence[EvaluationRow]) -> dict[str, object]:
    """Return every score of every task as JSON has it; what was not measured is null."""
    return {
        row.task: {
            "chance": row.chance,
            "shots": list(row.shots),
            "dropped": row.dropped,
            "scores": _plain(row.scores),
            "parts": {part: _plain(scores) for part, scores in row.parts.items()},
        }
        | _plain_cost(row)
        for row in rows
    }


def _plain(scores: Sequence[Score]) -> list[dict[str, object]]:
    return [{key: _finite(value) for key, value in asdict(score).items()} for score in scores]


def _plain_cost(row: EvaluationRow) -> dict[str, object]:
    if row.coarser is None:
        return {}
    change = {key: _finite(value) for key, value in asdict(row.coarser).items()}
    return {"less_float32": change, "same_answers": row.same}


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
