"""What became of a task's rows: how many stand in each split, what repeats, what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from luthier.config.advice import how_to_set, or_allow_lost
from luthier.errors import DataError, listed
from luthier.tasks.rows.splits import NAMES
from luthier.tasks.schema import Task


@dataclass(frozen=True, slots=True)
class SplitReport:
    """What became of the rows.

    Attributes:
        rows: Rows read.
        given: Splits that the source has itself.
        found: Examples of each split, before anything is removed or drawn.
        used: Examples of each split that are used.
        duplicates: Removed from training: the same prompt and target stands elsewhere.
        overlaps: Removed from training: the prompt stands in validation or test.
        held_out_overlaps: Validation prompts that stand in test; not removed.
        repeated: Validation and test examples that repeat one of their split; not removed.
        repeated_choices: Rows of which a wrong choice stands twice; it counts as one.
        left_out: Rows from which nothing can be learned (an empty target, a conversation without answer).
        left_out_rows: The first of them, with the reason.
        left_out_why: What they have in common.
        told: What else the user must know of the rows, with its count, by what is said of it.
        unread: Columns that hold something and are not read, with the rows in which they do.
        sources: What was read, hub datasets with their commit.
        sentences: All of this in sentences for the user.
    """

    rows: int
    given: tuple[str, ...]
    found: Mapping[str, int]
    used: Mapping[str, int]
    duplicates: int
    overlaps: int
    held_out_overlaps: int
    repeated: int
    repeated_choices: int
    left_out: int
    left_out_rows: tuple[str, ...]
    left_out_why: str
    told: Mapping[str, int]
    unread: Mapping[str, int]
    sources: tuple[str, ...]
    sentences: tuple[str, ...]


def sentences_of(task: Task, report: SplitReport) -> Iterator[str]:
    """Yield what a user must know of the rows, a sentence at a time."""
    if task.row_format is not None:
        yield f"Recognised {task.row_format.sentence}."
    counts = ", ".join(f"{report.found[name]:,} {name}" for name in NAMES)
    carved = [name for name in NAMES if name not in report.given and report.found[name]]
    how = f" ({', '.join(carved)} by hash of the id)" if carved else " (as given)"
    yield f"{report.rows:,} rows: {counts}{how}."
    if report.duplicates:
        yield f"{report.duplicates:,} duplicates removed from training."
    if report.overlaps:
        yield _overlaps(task, report)
    if report.held_out_overlaps:
        yield f"{report.held_out_overlaps:,} validation prompts stand in test too (kept)."
    if report.repeated:
        yield f"{report.repeated:,} validation and test examples repeat another of their split (kept)."
    if report.repeated_choices:
        yield f"{report.repeated_choices:,} rows have a wrong choice twice: it counts as one choice (kept)."
    if report.left_out:
        yield f"{report.left_out:,} rows {report.left_out_why}: left out (the first: {report.left_out_rows[0]})."
    for what, count in report.told.items():
        yield f"{count:,} {what}."
    if report.unread:
        names = [f"{name} ({count:,} rows)" for name, count in report.unread.items()]
        yield f"Columns that are not read: {listed(names, shown=20)}."


def _overlaps(task: Task, report: SplitReport) -> str:
    count = f"{report.overlaps:,} training examples"
    if task.overlaps == "keep":
        return f"{count} have a prompt that stands in validation or test too (kept, as `overlaps: keep` says)."
    said = f"{count} removed because their prompt stands in validation or test"
    if 2 * report.overlaps < report.found["train"]:
        return f"{said}."
    keep = f"{how_to_set('data.overlaps', 'keep')} (`overlaps: keep` in a task)"
    return f"{said}. Where one prompt is meant to have many answers, keep them with {keep}."


def check_lost(report: SplitReport, max_lost: float, where: str) -> None:
    """Refuse rows of which too many were left out.

    Raises:
        DataError: When their share is above ``max_lost``.
    """
    if report.rows and report.left_out / report.rows > max_lost:
        share = report.left_out / report.rows
        what = f"{report.left_out:,} of {report.rows:,} rows {report.left_out_why} ({share:.0%})"
        allow = or_allow_lost(report.left_out, report.rows)
        fix = f"The first: {report.left_out_rows[0]}. Correct the rows{allow}."
        raise DataError(what, where=where, fix=fix)
