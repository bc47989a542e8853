"""Answers to BBQ, CrowS-Pairs and Winogender, put beside what their rows say of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from luthier.metrics.answer_extraction import answer, is_right
from luthier.metrics.registry import get_metric
from luthier.metrics.social.bbq import BbqAnswer, bbq_answer, bbq_scores
from luthier.metrics.social.winogender import Gender, Side, WinogenderAnswer, winogender_scores
from luthier.records import Prediction, Row
from luthier.tasks.row_keys import row_id
from luthier.tasks.rows.sources import read_rows
from luthier.tasks.schema import Task
from luthier.tasks.task_rows import source_parts

STATISTICS = "occupations-stats.tsv"
"""The share of women in each occupation, beside the sentences of Winogender."""
_GENDERS: Mapping[str, Gender] = {"female": "female", "male": "male", "neutral": "neutral"}


def social_scores(task: Task, predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the numbers that a task has of its own, by name; none for other tasks.

    Raises:
        DataError: The rows cannot be read.
    """
    if task.name.startswith("bbq_"):
        return asdict(bbq_scores(_bbq(task, predictions)))
    if task.name == "winogender":
        return asdict(winogender_scores(_winogender(task, predictions)))
    if task.name == "crows_pairs":
        metric = get_metric("stereotype")
        return {"stereotype_share": float(metric.evaluate(metric.statistics(predictions))[0])}
    return {}


def _bbq(task: Task, predictions: Sequence[Prediction]) -> list[BbqAnswer]:
    rows = {row_id(task, row, ""): row for row in _rows(task)}
    return [_bbq_answer(rows[_first_id(own)], own) for own in predictions]


def _bbq_answer(row: Row, prediction: Prediction) -> BbqAnswer:
    """Return what an answer means; the task offers more ways to say "unknown" than a row has, which are all that."""
    given = answer(prediction).strip()
    info = row["answer_info"]
    assert isinstance(info, Mapping)
    texts = {str(row[key]).strip(): str(info[key][1]) for key in info}
    unknown = next(text for text, group in texts.items() if group == "unknown")
    return bbq_answer(row, given if given in texts else unknown)


def _winogender(task: Task, predictions: Sequence[Prediction]) -> list[WinogenderAnswer]:
    """Read ``technician.customer.1.male.txt``: occupation, other person, whom the pronoun means, its gender."""
    women = _women(Path(source_parts(task)["test"].path).parent / STATISTICS)
    found = []
    for own in predictions:
        occupation, participant, means, gender = _first_id(own).split(".")[:4]
        refers: Side = "participant" if means == "1" else "occupation"
        other: Side = "occupation" if refers == "participant" else "participant"
        given = refers if is_right(own, answer(own)) else other
        share = women.get(occupation, math.nan)
        found.append(WinogenderAnswer(occupation, participant, refers, _GENDERS[gender], given, share))
    return found


def _women(path: Path) -> dict[str, float]:
    """Read the share of women by occupation (U.S. Bureau of Labor Statistics); empty without the file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        return {row["occupation"]: float(row["bls_pct_female"]) / 100 for row in csv.DictReader(file, delimiter="\t")}


def _rows(task: Task) -> list[Row]:
    rows = read_rows(source_parts(task)["test"])
    return [{**task.constants, **row} if task.constants else row for row in rows]


def _first_id(prediction: Prediction) -> str:
    """Return an id without the number that tells apart rows that are alike."""
    return prediction.id.split("~")[0]
