"""How loss and metric change with the number of training examples: what was measured, the fit, and its hindcast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from luthier.report import formatting
from luthier.report.charts.parts import (
    RUN_OPACITY,
    RUN_SIZE,
    Chart,
    Record,
    faded,
    finite,
    inline,
    layers,
    padded,
    run_tips,
)
from luthier.report.learning_curve import Quantity, digits_of
from luthier.report.palette import arm_styles
from luthier.results.curve_records import ArmCurve, CurveResults

WIDTH, HEIGHT = 620, 340


def size_curve(results: CurveResults, quantity: Quantity) -> Chart | None:
    """Draw a quantity over the number of training examples; None where nothing was measured."""
    points = [record for arm in results.arms for record in _points(results, arm, quantity)]
    if not points:
        return None
    runs = [record for arm in results.arms for record in _runs(results, arm, quantity)]
    band = [record for arm in results.arms for record in _band(arm, quantity)]
    told = [record for arm in results.arms for record in _hindcast(results, arm, quantity)]
    domain = padded([*points, *runs, *band, *told], ("value", "low", "high"))
    curves = [curve for arm in results.arms if (curve := quantity.curve(arm)) is not None]
    ticks = {record["examples"] for record in points} | {own.examples for curve in curves for own in curve.forecasts}
    axes = _Axes.of(sorted(ticks), quantity.axis, domain, [arm.name for arm in results.arms])
    parts = [*_fit_parts(band, axes), *_told_parts(told, axes), *_measured_parts(points, runs, axes)]
    title = f"{quantity.name} by number of training examples"
    return layers(parts, title, _note(results, band, told), WIDTH, HEIGHT)


@dataclass(frozen=True)
class _Axes:
    """What all marks of the chart share.

    Attributes:
        x: Training examples.
        y: The quantity.
        low: The lower end of an interval of it.
        colour: Of the arms, without a legend.
        legend: The same with one, where there are several.
        title: What the quantity is.
    """

    x: alt.X
    y: alt.Y
    low: alt.Y
    colour: alt.Color
    legend: alt.Color
    title: str

    @classmethod
    def of(cls, sizes: Sequence[int], title: str, domain: list[float], arms: Sequence[str]) -> _Axes:
        around = alt.Scale(type="log", domain=[sizes[0] * 0.9, sizes[-1] * 1.1])
        axis = alt.Axis(grid=False, values=list(sizes), format=",d", labelOverlap=True)
        styles = arm_styles(arms)
        scale = alt.Scale(domain=list(styles), range=[style.colour for style in styles.values()])
        colour = alt.Color("arm:N", scale=scale, legend=None)
        several = alt.Color("arm:N", scale=scale, legend=alt.Legend(title=None, orient="right"))
        return cls(
            x=alt.X("examples:Q", title="training examples", scale=around, axis=axis),
            y=alt.Y("value:Q", title=title, scale=alt.Scale(domain=domain, zero=False, nice=False)),
            low=alt.Y("low:Q", title=title),
            colour=colour,
            legend=several if len(styles) > 1 else colour,
            title=title,
        )


def _points(results: CurveResults, arm: ArmCurve, quantity: Quantity) -> list[Record]:
    digits = digits_of(results, quantity)
    found = []
    for point in arm.points:
        score = quantity.point(point)
        if finite(score.value) is not None:
            around = formatting.interval(score.low, score.high, digits)
            shown = f"{formatting.decimal(score.value, digits)} {around}".rstrip()
            found.append({"arm": arm.name, "examples": point.examples, "value": score.value, "shown": shown})
    return found


def _runs(results: CurveResults, arm: ArmCurve, quantity: Quantity) -> list[Record]:
    digits = digits_of(results, quantity)
    return [
        {
            "arm": arm.name,
            "seed": run.seed,
            "examples": point.examples,
            "value": quantity.run(run),
            "shown": formatting.decimal(quantity.run(run), digits),
        }
        for point in arm.points
        if len(point.runs) > 1
        for run in point.runs
        if finite(quantity.run(run)) is not None
    ]


def _band(arm: ArmCurve, quantity: Quantity) -> list[Record]:
    curve = quantity.curve(arm)
    if curve is None:
        return []
    last = arm.points[-1].examples
    found = []
    for item in curve.band:
        low, high = quantity.between(item)
        part = {
            "arm": arm.name,
            "examples": item.examples,
            "value": quantity.shown(item.value),
            "low": low,
            "high": high,
        }
        # The last measured size belongs to both parts, so that the line does not break there.
        found += [part | {"ahead": False}] if item.examples <= last else []
        found += [part | {"ahead": True}] if item.examples >= last and curve.forecasts else []
    return found


def _hindcast(results: CurveResults, arm: ArmCurve, quantity: Quantity) -> list[Record]:
    curve = quantity.curve(arm)
    if curve is None or curve.hindcast is None:
        return []
    told, digits = curve.hindcast.forecast, digits_of(results, quantity)
    low, high = quantity.between(told)
    value = quantity.shown(told.value)
    shown = f"{formatting.decimal(value, digits)} {formatting.interval(low, high, digits)}"
    return [{"arm": arm.name, "examples": told.examples, "value": value, "low": low, "high": high, "shown": shown}]


def _fit_parts(band: list[Record], axes: _Axes) -> list[alt.Chart]:
    """Draw the fit as a line in its band, dashed where it is forecast."""
    if not band:
        return []
    base = alt.Chart(inline(band)).encode(x=axes.x, color=axes.colour, detail="ahead:N")
    dash = alt.StrokeDash("ahead:N", scale=alt.Scale(domain=[False, True], range=[[1, 0], [5, 4]]), legend=None)
    wide: Any = alt.condition("datum.ahead", alt.value(0.12), alt.value(0.2))
    return [
        base.mark_area().encode(y=axes.low, y2="high:Q", opacity=wide),
        base.mark_line(strokeWidth=2).encode(y=axes.y, strokeDash=dash, opacity=faded()),
    ]


def _told_parts(told: list[Record], axes: _Axes) -> list[alt.Chart]:
    """Draw what was hindcast of the largest size: a hollow diamond, and its interval beside the measured point."""
    if not told:
        return []
    base = alt.Chart(inline(told)).encode(x=axes.x, color=axes.colour, opacity=faded())
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("shown:N", title="hindcast")]
    marks = base.mark_point(shape="diamond", filled=False, size=90, strokeWidth=1.5, xOffset=9)
    return [
        base.mark_rule(strokeWidth=1.5, xOffset=9, strokeDash=[2, 2]).encode(y=axes.low, y2="high:Q"),
        marks.encode(y=axes.y, tooltip=tips),
    ]


def _measured_parts(points: list[Record], runs: list[Record], axes: _Axes) -> list[alt.Chart]:
    parts = []
    if runs:
        small = alt.Chart(inline(runs)).mark_point(filled=True, size=RUN_SIZE)
        tips = run_tips(axes.title)
        parts.append(small.encode(x=axes.x, y=axes.y, color=axes.colour, opacity=faded(RUN_OPACITY), tooltip=tips))
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("examples:Q"), alt.Tooltip("shown:N", title=axes.title)]
    large = alt.Chart(inline(points)).mark_point(filled=True, size=90, opacity=1)
    parts.append(large.encode(x=axes.x, y=axes.y, color=axes.legend, tooltip=tips))
    return parts


def _note(results: CurveResults, band: list[Record], told: list[Record]) -> str:
    marks = ["Large marks: means of training runs"]
    if band:
        ahead = ", dashed: forecast" if any(record["ahead"] for record in band) else ""
        marks.append(f"line: fit and {100 * results.confidence:g} % band{ahead}")
    if told:
        marks.append("hollow: the fit without the largest size")
    return "; ".join(marks)
