"""What each arm forgot of each task: a heat map, each cell with the smallest change that it would have shown."""

from __future__ import annotations

import altair as alt

from luthier.report import derived, formatting
from luthier.report.charts.parts import WIDTH, Chart, Record, faded, inline, layers
from luthier.report.palette import LOSS_TO_GAIN
from luthier.results.records import ArmResult, RetentionResult, RunResults

_GREY = "#DDDAD4"
"""Of a task that the base cannot do."""
_ROW = 44
_LIGHT, _DARK = "#ffffff", "#23211E"


def forgetting_heat_map(results: RunResults, *, width: int = WIDTH) -> Chart | None:
    """Draw every retained task's change in points for every trained arm, and below it what the test would have found.

    Bold where it is significant; grey where the base cannot do the task.
    """
    records = [record for arm in results.arms for item in arm.retained if (record := _record(arm, item)) is not None]
    if not records:
        return None
    most = max([1.0, *(abs(record["change"]) for record in records if record["able"])])
    arms = [arm.name for arm in results.arms if any(record["arm"] == arm.name for record in records)]
    tasks = [task for task in derived.retained_tasks(results.arms) if any(record["task"] == task for record in records)]
    parts = _heat_parts(records, arms, tasks, most)
    mean = ", mean of training runs" if derived.several_runs(results) else ""
    grey = "; grey: the base cannot do it" if not all(record["able"] for record in records) else ""
    notes = (
        f"Change after training{mean}, points (gain +, loss −); bold where it is significant, Holm-corrected; below it "
        f"the smallest change that would be found with 80 % power{grey}"
    )
    return layers(parts, "What was forgotten", notes, width, _ROW * max(2, len(arms)))


def _record(arm: ArmResult, item: RetentionResult) -> Record | None:
    change, found = derived.points(item), derived.detectable_points(item)
    if change is None:
        return None
    return {
        "arm": arm.name,
        "task": item.task,
        "change": change,
        "able": item.able,
        "label": formatting.signed(change, 1),
        "detects": "" if found is None else f"±{formatting.decimal(found, 1)}",
        "weight": "bold" if item.change.significant and item.able else "normal",
        "metric": item.metric,
        "significant": "yes" if item.change.significant else "no",
    }


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
        alt.Tooltip("detects:N", title="would be found, points"),
        alt.Tooltip("significant:N"),
    ]
    base = alt.Chart(inline(records)).encode(x=x, y=y)
    fill = alt.Color("change:Q", scale=scale, legend=None)
    cells = base.transform_filter("datum.able").mark_rect(cornerRadius=3)
    unable = base.transform_filter("!datum.able").mark_rect(cornerRadius=3)
    strong = f"datum.able && abs(datum.change) > {0.65 * most!r}"
    ink = alt.condition(strong, alt.value(_LIGHT), alt.value(_DARK))
    bold = base.transform_filter("datum.weight == 'bold'").mark_text(fontSize=13, fontWeight="bold", dy=-6)
    plain = base.transform_filter("datum.weight != 'bold'").mark_text(fontSize=13, dy=-6)
    below = base.mark_text(fontSize=10, dy=9)
    opacity = faded()
    return [
        cells.encode(color=fill, opacity=opacity, tooltip=tips),
        unable.encode(color=alt.value(_GREY), opacity=opacity, tooltip=tips),
        bold.encode(text="label:N", color=ink, opacity=opacity),
        plain.encode(text="label:N", color=ink, opacity=opacity),
        below.encode(text="detects:N", color=ink, opacity=opacity),
    ]
