"""What ``luthier eval`` prints: one task a row, its chance level beside its score."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TypeAlias

from rich import box
from rich.table import Table

from luthier.records import Score

EvaluationRow: TypeAlias = tuple[str, float | None, tuple[Score, ...], tuple[int, int], int]
"""Task, chance level, scores (the primary first), exemplars used, examples dropped."""


def evaluation_table(rows: Sequence[EvaluationRow]) -> Table:
    """Draw the primary score of each task with its interval."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("task")
    table.add_column("metric")
    for title in ("score", "95 % interval", "chance", "n", "shots", "dropped"):
        table.add_column(title, justify="right", no_wrap=True)
    for task, chance, scores, shots, dropped in rows:
        first = scores[0]
        table.add_row(
            task,
            first.metric,
            _number(first.value),
            f"{_number(first.low)} – {_number(first.high)}",
            "–" if chance is None else _number(chance),
            str(first.n),
            str(shots[0]) if shots[0] == shots[1] else f"{shots[0]}–{shots[1]}",
            str(dropped),
        )
    return table


def evaluation_json(rows: Sequence[EvaluationRow]) -> str:
    """Return every score of every task as JSON; what was not measured is null."""
    found = {
        task: {
            "chance": chance,
            "shots": list(shots),
            "dropped": dropped,
            "scores": [{key: _finite(value) for key, value in asdict(score).items()} for score in scores],
        }
        for task, chance, scores, shots, dropped in rows
    }
    return json.dumps(found, indent=2, ensure_ascii=False)


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
