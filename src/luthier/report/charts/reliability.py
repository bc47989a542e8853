"""How often each arm is right, against how sure it is: small multiples of reliability diagrams."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

import altair as alt

from luthier.report import formatting
from luthier.report.calibration import BINS, Calibration
from luthier.report.charts.parts import FOCUS, Charts, faded, inline
from luthier.report.palette import arm_styles
from luthier.results.records import RunResults

_CELL = 180
"""Pixels of one small multiple, both ways, from 0 to 1."""
_STRIP = 0.24
"""Height of the strip of counts below a reliability diagram, in units of its axis; the highest bar leaves a quarter."""


def diagrams(results: RunResults, calibrations: Mapping[str, Calibration], *, columns: int = 4) -> Charts | None:
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
    colour, foot = arm_styles([one.name for one in results.arms])[arm].colour, -_STRIP
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
    base, opacity = alt.Chart(inline(records)), faded()
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
    line = alt.Chart(inline([{"from": 0, "to": 1}])).mark_rule(strokeDash=[3, 3])
    bars = base.mark_bar(color=colour, fillOpacity=0.28, binSpacing=1, orient="vertical")
    counts = base.mark_bar(color=colour, fillOpacity=0.7, binSpacing=1, orient="vertical")
    points = base.mark_point(color=colour, filled=True, size=42, opacity=1)
    parts = [
        bars.encode(x=x, x2="high:Q", y=y, y2=alt.datum(0), opacity=opacity, tooltip=tips),
        line.encode(x="from:Q", y="from:Q", x2="to:Q", y2="to:Q"),
        points.encode(x="confidence:Q", y="accuracy:Q", opacity=opacity, tooltip=tips),
        counts.encode(x="low:Q", x2="high:Q", y="top:Q", y2=alt.datum(foot), opacity=opacity, tooltip=tips),
        base.mark_text(dy=-5, fontSize=8.5).encode(x="middle:Q", y="top:Q", text="count:N", opacity=opacity),
    ]
    title = alt.TitleParams(
        text=textwrap.wrap(arm, 25),
        subtitle=f"ECE {formatting.decimal(found.ece, 3)}, {found.n:,} answers",
        fontSize=13,
        offset=8,
    )
    return alt.LayerChart(layer=parts, width=_CELL, height=round(_CELL * (1 + _STRIP)), title=title)
