"""What training did to other tasks and to plain text."""

from __future__ import annotations

import math

import altair as alt

from luthier.report import derived, formatting
from luthier.report.charts.parts import (
    DASHED,
    LABEL_WIDTH,
    ROW_HEIGHT,
    WIDTH,
    Chart,
    Record,
    Rule,
    faded,
    finite,
    inline,
    layers,
    rows_chart,
)
from luthier.report.intervals import intervals_of, variance_words
from luthier.report.palette import LOSS_TO_GAIN
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


def forgetting_heat_map(results: RunResults, *, width: int = WIDTH) -> Chart | None:
    """Draw every retained task's change in points for every trained arm; bold where it is significant."""
    records: list[Record] = []
    for arm in results.arms:
        for item in arm.retained:
            change = derived.points(item)
            if change is None:
                continue
            records.append(
                {
                    "arm": arm.name,
                    "task": item.task,
                    "change": change,
                    "label": formatting.signed(change, 1),
                    "weight": "bold" if item.change.significant else "normal",
                    "metric": item.metric,
                    "significant": "yes" if item.change.significant else "no",
                }
            )
    if not records:
        return None
    most = max(1.0, *(abs(record["change"]) for record in records))
    arms = [arm.name for arm in results.arms if any(record["arm"] == arm.name for record in records)]
    tasks = [task for task in derived.retained_tasks(results.arms) if any(record["task"] == task for record in records)]
    parts = _heat_parts(records, arms, tasks, most)
    mean = ", mean of training runs" if derived.several_runs(results) else ""
    notes = f"Change after training{mean}, points (gain +, loss −); bold where it is significant, Holm-corrected"
    return layers(parts, "What was forgotten", notes, width, 34 * max(2, len(arms)))


def _heat_parts(records: list[Record], arms: list[str], tasks: list[str], most: float) -> list[alt.Chart]:
    angle = -35 if len(tasks) > 5 else 0
    axis = alt.Axis(orient="top", labelAngle=angle, labelLimit=120, ticks=False)
    gap = alt.Scale(paddingInner=0.05, paddingOuter=0)
    x = alt.X("task:N", sort=tasks, title=None, axis=axis, scale=gap)
    y = alt.Y("arm:N", sort=arms, title=None, axis=alt.Axis(grid=False), scale=gap)
    scale = alt.Scale(domain=[-most, 0, most], range=list(LOSS_TO_GAIN), interpolate="rgb", clamp=True)
    tips = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("task:N"),
        alt.Tooltip("metric:N"),
        alt.Tooltip("label:N", title="change, points"),
        alt.Tooltip("significant:N"),
    ]
    base = alt.Chart(inline(records)).encode(x=x, y=y)
    fill = alt.Color("change:Q", scale=scale, legend=None)
    cells = base.mark_rect(cornerRadius=3)
    ink = alt.condition(f"abs(datum.change) > {0.65 * most!r}", alt.value("#ffffff"), alt.value("#23211E"))
    bold = base.transform_filter("datum.weight == 'bold'").mark_text(fontSize=13, fontWeight="bold")
    plain = base.transform_filter("datum.weight != 'bold'").mark_text(fontSize=13)
    opacity = faded()
    return [
        cells.encode(color=fill, opacity=opacity, tooltip=tips),
        bold.encode(text="label:N", color=ink, opacity=opacity),
        plain.encode(text="label:N", color=ink, opacity=opacity),
    ]
