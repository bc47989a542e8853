"""The matrix of a sequence as a heat map: how well each task is done after each stage."""

from __future__ import annotations

import altair as alt

from luthier.report import formatting
from luthier.report.charts.parts import Chart, Record, inline, layers
from luthier.report.sequence_tables import DIGITS, row_names
from luthier.results.sequence_records import ArmSequence, SequenceResults

_LEAST_WIDTH, _OF_A_TASK, _OF_A_ROW = 320, 110, 40


def sequence_map(results: SequenceResults, arm: ArmSequence) -> Chart | None:
    """Draw R of an arm; None where it failed."""
    if not arm.matrix:
        return None
    records: list[Record] = [
        {
            "stage": name,
            "task": task.name,
            "score": item.value,
            "label": formatting.decimal(item.value, DIGITS),
            "interval": formatting.interval(item.low, item.high, DIGITS),
            "own": stage == place,
            "known": stage >= place,
        }
        for stage, (name, row) in enumerate(zip(row_names(results), arm.matrix, strict=True))
        for place, (task, item) in enumerate(zip(results.tasks, row, strict=True), 1)
    ]
    width = max(_LEAST_WIDTH, _OF_A_TASK * len(results.tasks))
    note = "Shares of each metric's scale; frame: the task's own stage; pale: not learned yet"
    return layers(_parts(results, records), f"{arm.name}, stage by stage", note, width, _OF_A_ROW * len(arm.matrix))


def _parts(results: SequenceResults, records: list[Record]) -> list[alt.Chart]:
    gap = alt.Scale(paddingInner=0.05, paddingOuter=0.02)
    axis = alt.Axis(orient="top", labelAngle=0, labelLimit=_OF_A_TASK, ticks=False)
    x = alt.X("task:N", sort=[task.name for task in results.tasks], title=None, axis=axis, scale=gap)
    y = alt.Y("stage:N", sort=row_names(results), title=None, axis=alt.Axis(grid=False), scale=gap)
    base = alt.Chart(inline(records)).encode(x=x, y=y)
    scale = alt.Scale(domain=[0, 1], range=["#F4F1EC", "#2B6CA8"], interpolate="rgb")
    fill = alt.Color("score:Q", scale=scale, legend=None)
    tips = [alt.Tooltip(name) for name in ("stage:N", "task:N", "label:N", "interval:N")]
    ink = alt.condition("datum.score > 0.6 && datum.known", alt.value("#ffffff"), alt.value("#23211E"))
    frame = base.transform_filter("datum.own").mark_rect(
        filled=False, stroke="#D55E00", strokeWidth=2.5, cornerRadius=3
    )
    return [
        base.mark_rect(cornerRadius=3).encode(
            color=fill, opacity=alt.condition("datum.known", alt.value(1), alt.value(0.45)), tooltip=tips
        ),
        frame,
        base.mark_text(fontSize=13).encode(text="label:N", color=ink),
    ]
