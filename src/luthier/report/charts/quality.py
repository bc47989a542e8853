"""The primary score of every arm."""

from __future__ import annotations

import math

from luthier.report import derived, formatting
from luthier.report.charts.parts import (
    DASHED,
    DOTTED,
    LABEL_WIDTH,
    ROW_HEIGHT,
    WIDTH,
    Chart,
    Record,
    Rule,
    direction,
    finite,
    layers,
    rows_chart,
)
from luthier.report.intervals import intervals_of, variance_words
from luthier.results.guessing import guesses
from luthier.results.records import ArmResult, RunResults


def _quality_record(results: RunResults, arm: ArmResult, digits: int) -> Record | None:
    score = derived.primary(results, arm)
    if score is None or not math.isfinite(score.value):
        return None
    below = formatting.interval(score.low, score.high, digits)
    return {
        "arm": arm.name,
        "score": score.value,
        "low": finite(score.low),
        "high": finite(score.high),
        "label": formatting.decimal(score.value, digits),
        "shown": f"{formatting.decimal(score.value, digits)} {below}".rstrip(),
        "trained": derived.trained(arm),
    }


def quality_records(results: RunResults) -> list[Record]:
    """Return ``arm, score, low, high, label, shown, trained`` of each arm whose primary score is finite."""
    digits = derived.score_digits(results)
    return [record for arm in results.arms if (record := _quality_record(results, arm, digits))]


def run_records(results: RunResults) -> list[Record]:
    """Return one record for each training run of arms with several: ``arm, seed, score, shown``."""
    digits = derived.score_digits(results)
    return [
        {"arm": arm.name, "seed": run.seed, "score": value, "shown": formatting.decimal(value, digits)}
        for arm in results.arms
        if len(arm.per_seed) > 1
        for run in arm.per_seed
        if (value := derived.score_of_run(results, run)) is not None
    ]


def notes_on_intervals(results: RunResults) -> list[str]:
    """Say what the intervals of primary scores are, and how single runs are drawn; empty where there are none."""
    intervals = intervals_of(derived.primary(results, arm) for arm in results.arms)
    held = f"{intervals.words()} {variance_words(results.arms, intervals)}"
    runs = ["small marks: single training runs"] if derived.several_runs(results) else []
    return [held, *runs] if intervals.levels else runs


def primary_scores(results: RunResults, *, width: int = WIDTH) -> Chart | None:
    """Draw every arm's primary score with its interval, against the first arm (dashed) and guessing (dotted)."""
    records = quality_records(results)
    if not records:
        return None
    for record in records:
        record["end"] = record["high"] if record["high"] is not None else record["score"]
    name = derived.primary_name(results)
    rules = [Rule(records[0]["score"], DASHED)] if records[0]["arm"] == results.arms[0].name else []
    known = guesses(results.task)
    rules += [Rule(value, DOTTED) for _, value in known]
    parts = rows_chart(results, records, "score", name, rules, run_records(results))
    dotted = ["dotted: " + " and ".join(name for name, _ in known)] if known else []
    notes = "; ".join([f"{results.task.name}, test split", *notes_on_intervals(results), *dotted, direction(results)])
    return layers(parts, f"{name} of every arm", notes, width, ROW_HEIGHT * max(2, len(records)), room=LABEL_WIDTH)
