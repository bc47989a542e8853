"""The charts of a report: from results to Vega-Lite, the same for the page and for PNG.

A function returns ``None`` when a run has nothing for it to show. Numbers that were not measured (``None``, NaN) are
left out of a chart, never drawn as 0. Arms that train nothing do stand at 0 trained parameters and 0 training seconds:
that is what they cost. A logarithmic axis has no 0, so it is set apart by a rule and labelled.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import altair as alt

from luthier.report import derived, formatting
from luthier.report.calibration import BINS, Calibration
from luthier.report.curves import Curve
from luthier.report.palette import LOSS_TO_GAIN, looks
from luthier.results.records import ArmResult, RunCosts, RunResults

Chart: TypeAlias = alt.LayerChart
Charts: TypeAlias = alt.ConcatChart
"""Small multiples."""
Record: TypeAlias = dict[str, Any]

WIDTH = 560
HEIGHT = 300
FOCUS = "focus"
"""Name of the parameter that holds the arm in focus; "" for all of them. The page sets it."""
MULTIPLE = 256
"""Pixels that one small multiple takes in a row, axis and gap included."""
_ROW = 30
_LABEL = 48
"""Pixels to the right of a chart for values that are written beside the last interval."""


@dataclass(frozen=True, slots=True)
class _Position:
    """Where arms stand on the horizontal axis of a scatter chart."""

    of: Callable[[ArmResult], float | None]
    title: str
    label: Callable[[float], str]
    logarithmic: bool
    note: str = ""


def _arms_scale(results: RunResults, part: str) -> alt.Scale:
    look = looks([arm.name for arm in results.arms])
    values = [getattr(one, part) for one in look.values()]
    return alt.Scale(domain=list(look), range=values)


def _legend(results: RunResults, *, lines: bool = False) -> alt.Legend:
    symbol = "stroke" if lines else alt.Undefined
    columns = 1 if len(results.arms) <= 16 else 2
    return alt.Legend(title=None, orient="right", symbolType=symbol, symbolLimit=0, columns=columns)


def _colour(results: RunResults, *, legend: bool = False) -> alt.Color:
    return alt.Color("arm:N", scale=_arms_scale(results, "colour"), legend=_legend(results) if legend else None)


def _faded() -> Any:
    return alt.condition(f"{FOCUS} == '' || datum.arm == {FOCUS}", alt.value(1), alt.value(0.12))


def _layers(parts: Sequence[alt.Chart], title: str, subtitle: str, width: int, height: int, *, room: int = 8) -> Chart:
    text = alt.TitleParams(text=title, subtitle=subtitle) if subtitle else alt.TitleParams(text=title)
    focus = alt.param(name=FOCUS, value="")
    padding = {"left": 4, "top": 4, "right": room, "bottom": 4}
    chart = alt.layer(*parts).properties(title=text, width=width, height=height, padding=padding).add_params(focus)
    assert isinstance(chart, alt.LayerChart), "no part is a facet"
    return chart


def _frame(records: list[Record]) -> alt.InlineData:
    return alt.InlineData(values=records)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _padded(records: Sequence[Mapping[str, Any]], keys: Sequence[str], pad: float = 0.06) -> list[float]:
    """Return a domain that holds all the values, with a margin."""
    values = [value for record in records for key in keys if (value := record.get(key)) is not None]
    low, high = min(values), max(values)
    margin = (high - low) * pad or abs(high) * 0.1 or 0.1
    return [low - margin, high + margin]


def _quality_record(results: RunResults, arm: ArmResult, digits: int) -> Record | None:
    score = derived.primary(results, arm)
    if score is None or not math.isfinite(score.value):
        return None
    below = formatting.interval(score.low, score.high, digits)
    return {
        "arm": arm.name,
        "score": score.value,
        "low": _finite(score.low),
        "high": _finite(score.high),
        "label": formatting.decimal(score.value, digits),
        "shown": f"{formatting.decimal(score.value, digits)} {below}".rstrip(),
        "trained": derived.trained(arm),
    }


def _quality_records(results: RunResults) -> list[Record]:
    scores = [derived.primary(results, arm) for arm in results.arms]
    digits = formatting.digits_for(score.value for score in scores if score)
    return [record for arm in results.arms if (record := _quality_record(results, arm, digits))]


def _direction(results: RunResults) -> str:
    return "higher is better" if derived.higher_is_better(results) else "lower is better"


def _rows_chart(
    results: RunResults, records: list[Record], value: str, axis: str, reference: float | None
) -> list[alt.Chart]:
    """Draw one row for each arm: an interval, a point, and the value in words to the right."""
    names = [arm.name for arm in results.arms if any(record["arm"] == arm.name for record in records)]
    domain = _padded([*records, {value: reference}], (value, "low", "high"))
    base = alt.Chart(_frame(records))
    y = alt.Y("arm:N", sort=names, title=None, axis=alt.Axis(grid=False))
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    x = alt.X(f"{value}:Q", title=axis, scale=scale, axis=alt.Axis(tickCount=5))
    colour, faded = _colour(results), _faded()
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("shown:N", title=axis)]
    parts = []
    if reference is not None:
        parts.append(
            alt.Chart(_frame([{value: reference}])).mark_rule(strokeDash=[3, 3], opacity=0.8).encode(x=f"{value}:Q")
        )
    low = alt.X("low:Q", title=axis)
    parts.append(base.mark_rule(strokeWidth=2.5).encode(x=low, x2="high:Q", y=y, color=colour, opacity=faded))
    points = base.mark_point(filled=True, size=90, opacity=1)
    parts.append(points.encode(x=x, y=y, color=colour, opacity=faded, tooltip=tips, shape=_shape(results)))
    end = alt.X("end:Q", title=axis)
    parts.append(base.mark_text(align="left", dx=9).encode(x=end, y=y, text="label:N", opacity=faded))
    return parts


def _shape(results: RunResults) -> alt.Shape:
    return alt.Shape("arm:N", scale=_arms_scale(results, "shape"), legend=None)


def quality(results: RunResults, *, width: int = WIDTH) -> Chart | None:
    """Draw every arm's primary score with its interval, against the first arm (dashed)."""
    records = _quality_records(results)
    if not records:
        return None
    for record in records:
        record["end"] = record["high"] if record["high"] is not None else record["score"]
    name = derived.primary_name(results)
    first = records[0]["score"] if records[0]["arm"] == results.arms[0].name else None
    parts = _rows_chart(results, records, "score", name, first)
    task = results.task.get("name", "")
    notes = f"{task}, test split; {100 * results.confidence:g} % intervals; {_direction(results)}"
    return _layers(parts, f"{name} of every arm", notes, width, _ROW * max(2, len(records)), room=_LABEL)


def token_loss(results: RunResults, *, width: int = WIDTH) -> Chart | None:
    """Draw the change of the loss on plain text for every trained arm, with its interval."""
    records: list[Record] = []
    for arm in results.arms:
        change = arm.token_loss.change if arm.token_loss else None
        if change is None or not math.isfinite(change.value):
            continue
        digits = 3
        around = formatting.interval(change.low, change.high, digits, sign=True)
        shown = f"{formatting.signed(change.value, digits)} {around}"
        low, high = _finite(change.low), _finite(change.high)
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
    parts = _rows_chart(results, records, "change", "change of loss, nats per token", 0.0)
    notes = f"After training against before; {100 * results.confidence:g} % intervals; right of 0 is forgetting"
    return _layers(parts, "Loss on plain text", notes, width, _ROW * max(2, len(records)), room=_LABEL)


def _scatter(results: RunResults, position: _Position, title: str, *, width: int, legend: bool) -> Chart | None:
    placed = {arm.name: _finite(position.of(arm)) for arm in results.arms}
    records = [record for record in _quality_records(results) if placed[record["arm"]] is not None]
    for record in records:
        record["x"] = placed[record["arm"]]
        record["where"] = position.label(record["x"])
    if not records or (position.logarithmic and all(record["x"] <= 0 for record in records)):
        return None
    missing = [arm.name for arm in results.arms if arm.name not in {record["arm"] for record in records}]
    notes = [_direction(results).capitalize(), f"{100 * results.confidence:g} % intervals", "hollow: nothing trained"]
    if position.note:
        notes.append(position.note)
    if missing:
        notes.append(f"not measured: {', '.join(missing)}")
    x, ground = _logarithmic(records, position) if position.logarithmic else _linear(records, position)
    parts = ground + _scatter_marks(results, records, x, position.title, legend)
    return _layers(parts, title, "; ".join(notes), width, HEIGHT)


def _scatter_marks(results: RunResults, records: list[Record], x: alt.X, title: str, legend: bool) -> list[alt.Chart]:
    name = derived.primary_name(results)
    scale = alt.Scale(domain=_padded(records, ("score", "low", "high")), nice=False, zero=False)
    y = alt.Y("score:Q", title=name, scale=scale, axis=alt.Axis(tickCount=6))
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("shown:N", title=name), alt.Tooltip("where:N", title=title)]
    base = alt.Chart(_frame(records))
    faded = _faded()
    colour = _colour(results, legend=legend)
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q", title=name), y2="high:Q", color=colour, opacity=faded
    )
    points = base.mark_point(size=120, strokeWidth=2, filled=False).encode(
        x=x,
        y=y,
        color=colour,
        fill=alt.Fill("arm:N", scale=_arms_scale(results, "colour"), legend=None),
        shape=alt.Shape("arm:N", scale=_arms_scale(results, "shape"), legend=_legend(results) if legend else None),
        fillOpacity=alt.condition("datum.trained", alt.value(1), alt.value(0)),
        opacity=faded,
        tooltip=tips,
    )
    return [bars, points]


def _logarithmic(records: list[Record], position: _Position) -> tuple[alt.X, list[alt.Chart]]:
    """Place the records on a logarithmic axis; those at 0 share a strip to its left, behind a rule."""
    above = [record["x"] for record in records if record["x"] > 0]
    low, high = math.log10(min(above)) - 0.15, math.log10(max(above)) + 0.15
    ticks = _log_ticks(low, high)
    label = "format(datum.value, '~s')"
    ground: list[alt.Chart] = []
    nothing = [record for record in records if record["x"] <= 0]
    if nothing:
        # The strip takes a fifth of the axis. Its arms all stand at 0; they are set side by side to be told apart.
        strip = (high - low) / 4
        for index, record in enumerate(nothing, start=1):
            record["x"] = 10 ** (low - strip + strip * index / (len(nothing) + 1))
        zero, edge, low = 10 ** (low - strip / 2), 10**low, low - strip
        ticks = [zero, *ticks]
        label = f"datum.value < {edge!r} ? '0' : {label}"
        ground = [alt.Chart(_frame([{"x": edge}])).mark_rule(strokeDash=[2, 4], opacity=0.8).encode(x="x:Q")]
    scale = alt.Scale(type="log", domain=[10**low, 10**high], nice=False)
    axis = alt.Axis(values=ticks, labelExpr=label, grid=False, labelOverlap=True)
    return alt.X("x:Q", title=f"{position.title}, logarithmic", scale=scale, axis=axis), ground


def _log_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two powers of ten: decades, or 1, 2 and 5 where there are few."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for steps in ((1,), (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)):
        ticks = [step * 10.0**power for power in powers for step in steps]
        inside = [tick for tick in ticks if low <= math.log10(tick) <= high]
        if len(inside) >= 3:
            return inside
    return inside


def _linear(records: list[Record], position: _Position) -> tuple[alt.X, list[alt.Chart]]:
    scale = alt.Scale(domain=_padded([*records, {"x": 0.0}], ("x",), 0.08), nice=False, zero=False)
    x = alt.X("x:Q", title=position.title, scale=scale, axis=alt.Axis(grid=False, tickCount=6))
    return x, [alt.Chart(_frame([{"x": 0.0}])).mark_rule(strokeDash=[3, 3], opacity=0.8).encode(x="x:Q")]


def quality_against_parameters(results: RunResults, *, width: int = WIDTH, legend: bool = True) -> Chart | None:
    """Draw the primary score over trained parameters (logarithmic); arms that train nothing stand apart, at 0."""
    position = _Position(lambda arm: float(arm.trainable_parameters), "trained parameters", formatting.count, True)
    title = f"{derived.primary_name(results)} against trained parameters"
    return _scatter(results, position, title, width=width, legend=legend)


def quality_against_time(
    results: RunResults, costs: RunCosts, *, width: int = WIDTH, legend: bool = True
) -> Chart | None:
    """Draw the primary score over training seconds (logarithmic); arms that train nothing stand apart, at 0."""

    def spent(arm: ArmResult) -> float | None:
        if not derived.trained(arm):
            return 0.0
        cost = costs.arms.get(arm.name)
        return cost.training_seconds if cost and cost.training_seconds else None

    position = _Position(spent, "training time, s", formatting.seconds, True)
    title = f"{derived.primary_name(results)} against training time"
    return _scatter(results, position, title, width=width, legend=legend)


def quality_against_forgetting(results: RunResults, *, width: int = WIDTH, legend: bool = True) -> Chart | None:
    """Draw the primary score over the mean change on retained tasks, in points; ``None`` when none was measured."""
    if not any(derived.forgetting(arm) for arm in results.arms):
        return None

    def moved(arm: ArmResult) -> float | None:
        if not derived.trained(arm):
            return 0.0
        lost = derived.forgetting(arm)
        return lost.mean if lost else None

    title = "mean change on other tasks, points"
    position = _Position(moved, title, lambda value: formatting.signed(value, 1), False, "left of 0 is forgetting")
    return _scatter(
        results, position, f"{derived.primary_name(results)} against forgetting", width=width, legend=legend
    )


_CELL = 180
"""Pixels of one small multiple, both ways, from 0 to 1."""
_STRIP = 0.24
"""Height of the strip of counts below a reliability diagram, in units of its axis; the highest bar leaves a quarter."""


def reliability(results: RunResults, calibrations: Mapping[str, Calibration], *, columns: int = 4) -> Charts | None:
    """Draw accuracy against confidence for every arm that was measured, with the number of answers in each bin."""
    measured = [arm.name for arm in results.arms if arm.name in calibrations]
    if not measured:
        return None
    most = max(one.n / calibrations[name].n for name in measured for one in calibrations[name].bins)
    cells = [_reliability_cell(results, name, calibrations[name], most) for name in measured]
    notes = (
        f"Accuracy in {BINS} bins of confidence; on the dashed diagonal an arm is as often right as it is sure, below "
        "it too sure; at the foot the answers in each bin. ECE is the answers' mean distance from the diagonal"
    )
    missing = [arm.name for arm in results.arms if arm.name not in calibrations]
    notes += f"; not measured: {', '.join(missing)}" if missing else ""
    subtitle = textwrap.wrap(notes, 41 * min(columns, len(cells)))
    title = alt.TitleParams(text="Confidence against accuracy", subtitle=subtitle, anchor="start")
    padding = {"left": 4, "top": 4, "right": 8, "bottom": 4}
    chart = alt.concat(*cells, columns=columns, spacing=20, title=title, padding=padding)
    whole = chart.add_params(alt.param(name=FOCUS, value=""))
    assert isinstance(whole, alt.ConcatChart), "no part is a facet"
    return whole


def _reliability_cell(results: RunResults, arm: str, found: Calibration, most: float) -> alt.LayerChart:
    colour, foot = looks([one.name for one in results.arms])[arm].colour, -_STRIP
    records = [
        {
            "arm": arm,
            "low": one.low,
            "high": one.high,
            "middle": (one.low + one.high) / 2,
            "confidence": one.confidence,
            "accuracy": one.accuracy,
            "n": one.n,
            "count": f"{one.n}" if one.n < 1000 else f"{one.n / 1000:.{int(one.n < 9950)}f}k",
            "top": foot + 0.75 * _STRIP * one.n / found.n / most,
        }
        for one in found.bins
        if one.n
    ]
    base, faded = alt.Chart(_frame(records)), _faded()
    below = alt.Axis(grid=False, values=[0, 0.5, 1], format=".1f", offset=2)
    x = alt.X("low:Q", title="confidence", scale=alt.Scale(domain=[0, 1], nice=False), axis=below)
    left = alt.Axis(values=[0, 0.5, 1], format=".1f", titleY=_CELL / 2)
    scale = alt.Scale(domain=[foot, 1], nice=False)
    y = alt.Y("accuracy:Q", title="accuracy", scale=scale, axis=left)
    tips = [
        alt.Tooltip("arm:N"),
        alt.Tooltip("confidence:Q", format=".3f"),
        alt.Tooltip("accuracy:Q", format=".3f"),
        alt.Tooltip("n:Q", title="answers", format=","),
    ]
    line = alt.Chart(_frame([{"from": 0, "to": 1}])).mark_rule(strokeDash=[3, 3])
    bars = base.mark_bar(color=colour, fillOpacity=0.28, binSpacing=1, orient="vertical")
    counts = base.mark_bar(color=colour, fillOpacity=0.7, binSpacing=1, orient="vertical")
    points = base.mark_point(color=colour, filled=True, size=42, opacity=1)
    parts = [
        bars.encode(x=x, x2="high:Q", y=y, y2=alt.datum(0), opacity=faded, tooltip=tips),
        line.encode(x="from:Q", y="from:Q", x2="to:Q", y2="to:Q"),
        points.encode(x="confidence:Q", y="accuracy:Q", opacity=faded, tooltip=tips),
        counts.encode(x="low:Q", x2="high:Q", y="top:Q", y2=alt.datum(foot), opacity=faded, tooltip=tips),
        base.mark_text(dy=-5, fontSize=8.5).encode(x="middle:Q", y="top:Q", text="count:N", opacity=faded),
    ]
    title = alt.TitleParams(
        text=textwrap.wrap(arm, 25),
        subtitle=f"ECE {formatting.decimal(found.ece, 3)}, {found.n:,} answers",
        fontSize=13,
        offset=8,
    )
    return alt.LayerChart(layer=parts, width=_CELL, height=round(_CELL * (1 + _STRIP)), title=title)


def forgetting_heat_map(results: RunResults, *, width: int = WIDTH) -> Chart | None:
    """Draw every retained task's change in points for every trained arm; bold where the test tells it from zero."""
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
                    "told": "yes" if item.change.significant else "no",
                }
            )
    if not records:
        return None
    most = max(1.0, *(abs(record["change"]) for record in records))
    arms = [arm.name for arm in results.arms if any(record["arm"] == arm.name for record in records)]
    tasks = [task for task in derived.retained_tasks(results) if any(record["task"] == task for record in records)]
    parts = _heat_parts(records, arms, tasks, most)
    notes = "Change after training, points (gain +, loss −); bold where the paired test tells it from zero"
    return _layers(parts, "What was forgotten", notes, width, 34 * max(2, len(arms)))


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
        alt.Tooltip("told:N", title="significant"),
    ]
    base = alt.Chart(_frame(records)).encode(x=x, y=y)
    fill = alt.Color("change:Q", scale=scale, legend=None)
    cells = base.mark_rect(cornerRadius=3)
    ink = alt.condition(f"abs(datum.change) > {0.65 * most!r}", alt.value("#ffffff"), alt.value("#23211E"))
    bold = base.transform_filter("datum.weight == 'bold'").mark_text(fontSize=13, fontWeight="bold")
    plain = base.transform_filter("datum.weight != 'bold'").mark_text(fontSize=13)
    faded = _faded()
    return [
        cells.encode(color=fill, opacity=faded, tooltip=tips),
        bold.encode(text="label:N", color=ink, opacity=faded),
        plain.encode(text="label:N", color=ink, opacity=faded),
    ]


def _lines(
    results: RunResults, series: Mapping[str, Sequence[tuple[float, float]]], axis: str, *, points: bool, legend: bool
) -> list[alt.Chart]:
    records = [{"arm": arm, "step": step, "value": value} for arm, line in series.items() for step, value in line]
    last = max(step for line in series.values() for step, _ in line)
    scale = alt.Scale(domain=[0, last], nice=False)
    x = alt.X("step:Q", title="optimizer step", scale=scale, axis=alt.Axis(grid=False, tickCount=6, tickMinStep=1))
    y = alt.Y("value:Q", title=axis, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    names = list(series)
    look = looks([arm.name for arm in results.arms])
    key = _legend(results, lines=True) if legend else None
    colours = alt.Scale(domain=names, range=[look[name].colour for name in names])
    colour = alt.Color("arm:N", scale=colours, legend=key)
    dashes = alt.Scale(domain=names, range=[look[name].dash for name in names])
    dash = alt.StrokeDash("arm:N", scale=dashes, legend=key)
    base = alt.Chart(_frame(records)).encode(x=x, y=y, color=colour, opacity=_faded())
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("step:Q"), alt.Tooltip("value:Q", title=axis, format=".4g")]
    # Unseen points still answer to the pointer.
    seen = points or max(len(line) for line in series.values()) < 3
    marks = base.mark_point(filled=True, size=50, fillOpacity=1 if seen else 0).encode(tooltip=tips)
    return [base.mark_line(strokeWidth=2).encode(strokeDash=dash), marks]


def _curve_chart(
    results: RunResults,
    curves: Mapping[str, Curve],
    pick: Callable[[Curve], Sequence[tuple[float, float]]],
    title: str,
    axis: str,
    *,
    points: bool,
    width: int,
    legend: bool,
) -> Chart | None:
    known = [arm.name for arm in results.arms if arm.name in curves]
    series = {name: line for name in known if (line := pick(curves[name]))}
    if not series:
        return None
    return _layers(_lines(results, series, axis, points=points, legend=legend), title, "", width, 240)


def training_loss(
    results: RunResults, curves: Mapping[str, Curve], *, width: int = WIDTH, legend: bool = True
) -> Chart | None:
    """Draw the training loss over optimizer steps."""
    axis, title = "nats per supervised token", "Training loss"
    return _curve_chart(results, curves, lambda c: c.loss, title, axis, points=False, width=width, legend=legend)


def validation_loss(
    results: RunResults, curves: Mapping[str, Curve], *, width: int = WIDTH, legend: bool = True
) -> Chart | None:
    """Draw the validation loss over optimizer steps."""
    axis, title = "nats per supervised token", "Validation loss"
    return _curve_chart(
        results, curves, lambda c: c.validation_loss, title, axis, points=True, width=width, legend=legend
    )


def validation_score(
    results: RunResults, curves: Mapping[str, Curve], *, width: int = WIDTH, legend: bool = True
) -> Chart | None:
    """Draw the validation metric, by which the best step is chosen, over optimizer steps."""
    metric = next((curve.metric for curve in curves.values() if curve.metric), derived.primary_name(results))
    return _curve_chart(
        results,
        curves,
        lambda c: c.validation_score,
        f"Validation {metric}",
        metric,
        points=True,
        width=width,
        legend=legend,
    )
