"""What training did to other tasks and to plain text."""

from __future__ import annotations

import math

from luthier.report import derived, formatting
from luthier.report.charts.parts import (
    DASHED,
    LABEL_WIDTH,
    ROW_HEIGHT,
    WIDTH,
    Chart,
    Record,
    Rule,
    finite,
    layers,
    rows_chart,
)
from luthier.report.intervals import intervals_of, variance_words
from luthier.results.records import RunResults


def token_loss(results: RunResults, *, width: int = WIDTH) -> Chart | None:
    """Draw the change of the loss on plain text for every trained arm, with its interval."""
    records: list[Record] = []
    for arm in results.arms:
        change = arm.token_loss.change if arm.token_loss else None
        if change is None or not math.isfinite(change.value):
            continue
        digits = derived.LOSS_DIGITS
        around = formatting.interval(change.low, change.high, digits, sign=True)
        shown = f"{formatting.signed(change.value, digits)} {around}"
        low, high = finite(change.low), finite(change.high)
        records.append(
            {
                "arm": arm.name,
                "change": change.value,
                "low": low,
                "high": high,
                "end": change.value if high is None else high,
                "label": formatting.signed(change.value, digits),
                "shown": shown.rstrip(),
            }
        )
    if not records:
        return None
    runs = _token_loss_runs(results)
    parts = rows_chart(results, records, "change", "change of token loss, nats per token", [Rule(0.0, DASHED)], runs)
    intervals = intervals_of(arm.token_loss.change for arm in results.arms if arm.token_loss)
    trained = [arm for arm in results.arms if arm.token_loss]
    held = [f"{intervals.words()} {variance_words(trained, intervals)}"] if intervals.levels else []
    small = ["small marks: single training runs"] if runs else []
    notes = "; ".join(["After training against before", *held, *small, "+ is worse"])
    return layers(parts, "Token loss on plain text", notes, width, ROW_HEIGHT * max(2, len(records)), room=LABEL_WIDTH)


def _token_loss_runs(results: RunResults) -> list[Record]:
    """Return one record for each training run of arms with several: ``arm, seed, change, shown``."""
    return [
        {
            "arm": arm.name,
            "seed": run.seed,
            "change": run.token_loss.change.value,
            "shown": formatting.signed(run.token_loss.change.value, derived.LOSS_DIGITS),
        }
        for arm in results.arms
        if len(arm.per_seed) > 1
        for run in arm.per_seed
        if run.token_loss and math.isfinite(run.token_loss.change.value)
    ]
