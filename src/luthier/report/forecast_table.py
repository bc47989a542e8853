"""What ``luthier compare --dry-run`` prints: the work of each arm, and what it will take."""

from __future__ import annotations

from luthier.progress import duration
from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.tables import Cell, Column, Table
from luthier.report.terminal import DrawnTable, draw
from luthier.results.forecast import AnswerCounts, ArmForecast, Forecast

_COLUMNS = (
    *("Trainings", "Training examples", "Steps", "Tokens to train on", "Test requests", "Test tokens"),
    *("Forgetting requests", "Forgetting tokens", "Estimated time", "of it training", "Peak memory"),
)


def forecast_table(forecast: Forecast) -> DrawnTable:
    """Draw a forecast, one row for each arm; numbers are those of one training and of what follows it."""
    columns = (Column("Arm", number=False), *(Column(title) for title in _COLUMNS))
    rows = tuple(tuple(Cell(text) for text in _row(arm)) for arm in forecast.arms)
    return draw(Table("forecast", f"What comparing on {forecast.task} will take", columns, rows, _note(forecast)))


def _row(arm: ArmForecast) -> tuple[str, ...]:
    counts, training = arm.counts, arm.counts.training
    found = counts.found == counts.units
    trained = (
        (_number(counts.trials + counts.seeds), *map(_number, (training.examples, training.steps, training.tokens)))
        if training is not None
        else (ABSENT,) * 4
    )
    time = "found in the store" if found else duration(arm.seconds)
    spent = duration(arm.training_seconds) if training is not None and not found else ABSENT
    asked = (*_asked(counts.test), *_asked(counts.retained))
    return (counts.label, *trained, *asked, time, spent, formatting.size(arm.peak_memory_bytes))


def _asked(counts: AnswerCounts | None) -> tuple[str, str]:
    return (ABSENT, ABSENT) if counts is None else (_number(counts.requests), _number(counts.tokens))


def _number(value: int) -> str:
    return f"{value:,}"


def _note(forecast: Forecast) -> str:
    """Say what the whole takes, what the numbers mean, and what is not in them."""
    workers = f" with {forecast.workers} workers" if forecast.workers > 1 else ""
    units = sum(arm.counts.units for arm in forecast.arms)
    found = sum(arm.counts.found for arm in forecast.arms)
    store = f" {found} of {units} units of work are found in the store and cost nothing." if found else ""
    searched = any(arm.counts.trials for arm in forecast.arms)
    trials = " Trials of a search are counted to their ends; some are stopped earlier." if searched else ""
    more = any(arm.counts.points or arm.counts.choosing for arm in forecast.arms)
    besides = " Points and validation splits to choose by are in the time alone." if more else ""
    measuring = duration(forecast.measuring_seconds)
    return (
        f"About {duration(forecast.seconds)} in all{workers}.{store}{trials}{besides} Examples, steps and requests are "
        "those of one training; each is made as often as the arm is trained. Times follow from steps and answers that "
        f"were timed for {measuring}; memory is that of a pass of training. Reading the model and writing the report "
        "are not counted. Nothing was run or written."
    )
