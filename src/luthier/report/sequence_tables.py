"""The tables and the sentences of a sequence: the matrix of each arm, and what it says."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.report import formatting
from luthier.report.tables import Cell, Column, Table, Tone
from luthier.results.sequence import FEWEST_SEEDS, Interval
from luthier.results.sequence_records import ArmSequence, SequenceResults

NUMBERS = {
    "acc": "ACC ↑",
    "incremental": "Incremental ACC ↑",
    "bwt": "BWT ↑",
    "forgetting": "Forgetting ↓",
    "fwt": "FWT ↑",
}
"""Headings of the numbers, in the order in which they are shown."""
_SIGNED = {"bwt", "forgetting", "fwt"}
DIGITS = 3


def sequence_tables(results: SequenceResults) -> list[Table]:
    """Return every table of a sequence in order."""
    return [numbers_table(results), *(matrix_table(results, arm) for arm in results.arms if arm.matrix)]


def numbers_table(results: SequenceResults) -> Table:
    """One row for each arm: what its matrix says."""
    rows = tuple(
        (
            Cell(arm.name, "failed" if arm.failed else ""),
            *(_number_cell(arm, name) for name in NUMBERS),
            Cell(" + ".join(f"{steps:,}" for steps in arm.steps) or formatting.ABSENT, _replay_words(arm)),
        )
        for arm in results.arms
    )
    columns = (Column("Arm", number=False), *(Column(title) for title in NUMBERS.values()), Column("Steps"))
    return Table("numbers", "What the sequence left", columns, rows, _numbers_note(results))


def _number_cell(arm: ArmSequence, name: str) -> Cell:
    found = arm.numbers.get(name)
    if found is None:
        return Cell(formatting.ABSENT)
    write = formatting.signed if name in _SIGNED else formatting.decimal
    around = formatting.interval(found.low, found.high, DIGITS, sign=name in _SIGNED)
    return Cell(write(found.value, DIGITS), around, _tone(found) if name == "bwt" else "")


def _tone(found: Interval) -> Tone:
    return "bad" if found.high < 0 else "good" if found.low > 0 else ""


def _replay_words(arm: ArmSequence) -> str:
    return f"{sum(arm.replayed):,} examples replayed" if any(arm.replayed) else ""


def _numbers_note(results: SequenceResults) -> str:
    level, seeds = f"{100 * results.confidence:g} %", max(len(arm.seeds) for arm in results.arms)
    variance = "examples and training runs" if seeds >= FEWEST_SEEDS else "examples alone, not of training runs"
    runs = f"{seeds} training run{'' if seeds == 1 else 's'}"
    return (
        f"Over {runs} of all stages, with {level} bootstrap intervals of {variance}; they are not corrected for their "
        "number, and ▲ and ▼ stand where that of BWT excludes 0. All scores are shares of their metric's scale. ACC: "
        "mean over tasks after the last stage. Incremental ACC: mean over stages of the mean over the tasks learned so "
        "far. BWT: after the last stage less after its own, mean over the tasks before the last. Forgetting: its best "
        "after an earlier stage less after the last; a best of noisy scores lies above 0 by chance, too. FWT: just "
        "before its own stage less the base, mean over the tasks after the first."
        f"{_steps_words(results)}"
    )


def _steps_words(results: SequenceResults) -> str:
    """Say whether the arms took equally many steps: without that, what they forgot cannot be compared."""
    arms = [arm for arm in results.arms if arm.steps]
    if len({arm.steps for arm in arms}) < 2:
        return ""
    return " The arms did not take equally many steps, so what they forgot is not compared on equal terms."


def matrix_table(results: SequenceResults, arm: ArmSequence) -> Table:
    """One row for the base and each stage, one column for each task."""
    rows = tuple(
        (Cell(name), *(_matrix_cell(item, stage, place) for place, item in enumerate(row, 1)))
        for stage, (name, row) in enumerate(zip(row_names(results), arm.matrix, strict=True))
    )
    columns = (Column("After", number=False), *(Column(f"{task.name} ({task.metric})") for task in results.tasks))
    note = (
        f"R of {arm.name}: score on each task after each stage, as a share of its metric's scale, with "
        f"{100 * results.confidence:g} % intervals; a task's own stage is marked •."
    )
    return Table(f"matrix-{arm.name}", f"Scores of {arm.name}, stage by stage", columns, rows, note)


def _matrix_cell(item: Interval, stage: int, place: int) -> Cell:
    own = " •" if stage == place else ""
    return Cell(f"{formatting.decimal(item.value, DIGITS)}{own}", formatting.interval(item.low, item.high, DIGITS))


def row_names(results: SequenceResults) -> list[str]:
    """Return what the rows of a matrix are called."""
    return ["base", *(f"{number}. {task.name}" for number, task in enumerate(results.tasks, 1))]


def sequence_verdicts(results: SequenceResults) -> list[str]:
    """Say in a sentence for each arm what it ends with, and what it forgot."""
    return [_verdict(results, arm) for arm in results.arms]


def _verdict(results: SequenceResults, arm: ArmSequence) -> str:
    if arm.failed:
        return f"{arm.name}: failed at {arm.failed}."
    acc, bwt = arm.numbers["acc"], arm.numbers["bwt"]
    base = _mean(arm.matrix[0])
    change = (
        f"{formatting.signed(bwt.value, DIGITS)} {formatting.interval(bwt.low, bwt.high, DIGITS, sign=True)}".rstrip()
    )
    ends = {
        "bad": "later stages made it forget",
        "good": "later stages helped earlier tasks",
    }.get(_tone(bwt), "what later stages did to earlier tasks is not told from zero")
    return (
        f"{arm.name}: {formatting.decimal(acc.value, DIGITS)} on average after the last stage, where the base has "
        f"{formatting.decimal(base, DIGITS)}; backward transfer {change}, so {ends}."
    )


def _mean(row: Sequence[Interval]) -> float:
    return sum(item.value for item in row) / len(row)
