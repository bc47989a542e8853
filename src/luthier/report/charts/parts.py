"""What the charts share: types, sizes, and the marks that mean the same everywhere."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import altair as alt

from luthier.report.palette import arm_styles
from luthier.results.records import RunResults

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
RUN_SIZE = 30
RUN_OPACITY = 0.6
"""Marks of single training runs, which stand beside their mean."""
ROW_HEIGHT = 30
_CHARACTER = 5
"""Pixels of a character of a subtitle, the mean of many."""
_FEWEST = 60
LABEL_WIDTH = 48
"""Pixels to the right of a chart for values that are written beside the last interval."""


def arms_scale(results: RunResults, part: str) -> alt.Scale:
    """Return the scale that gives each arm its own ``"colour"``, ``"shape"`` or ``"dash"``, the same in every chart."""
    styles = arm_styles([arm.name for arm in results.arms])
    values = [getattr(one, part) for one in styles.values()]
    return alt.Scale(domain=list(styles), range=values)


def legend_of(results: RunResults, *, lines: bool = False) -> alt.Legend:
    """Return the legend of the arms, to the right of a chart."""
    symbol = "stroke" if lines else alt.Undefined
    columns = 1 if len(results.arms) <= 16 else 2
    return alt.Legend(title=None, orient="right", symbolType=symbol, symbolLimit=0, columns=columns)


def colour_of(results: RunResults, *, legend: bool = False) -> alt.Color:
    """Return the encoding of the arms' colours."""
    return alt.Color("arm:N", scale=arms_scale(results, "colour"), legend=legend_of(results) if legend else None)


def faded(full: float = 1) -> Any:
    """Return the opacity of a mark: ``full`` for the arm in focus, and for every arm where none is."""
    return alt.condition(f"{FOCUS} == '' || datum.arm == {FOCUS}", alt.value(full), alt.value(0.12))


def run_tips(axis: str) -> list[alt.Tooltip]:
    """Return the tooltip of the mark of one training run."""
    return [alt.Tooltip("arm:N"), alt.Tooltip("seed:N"), alt.Tooltip("shown:N", title=axis)]


def layers(parts: Sequence[alt.Chart], title: str, subtitle: str, width: int, height: int, *, room: int = 8) -> Chart:
    """Lay parts over one another under one title, no wider than they are; ``room`` is the padding to the right."""
    lines = textwrap.wrap(subtitle, max(_FEWEST, width // _CHARACTER))
    text = alt.TitleParams(text=title, subtitle=lines) if lines else alt.TitleParams(text=title)
    focus = alt.param(name=FOCUS, value="")
    padding = {"left": 4, "top": 4, "right": room, "bottom": 4}
    chart = alt.layer(*parts).properties(title=text, width=width, height=height, padding=padding).add_params(focus)
    assert isinstance(chart, alt.LayerChart), "no part is a facet"
    return chart


def inline(records: list[Record]) -> alt.InlineData:
    """Carry the records inside the specification."""
    return alt.InlineData(values=records)


def finite(value: float | None) -> float | None:
    """Return the value; ``None`` where it was not measured or is not finite."""
    return value if value is not None and math.isfinite(value) else None


def padded(records: Sequence[Mapping[str, Any]], keys: Sequence[str], pad: float = 0.06) -> list[float]:
    """Return a domain that holds all the values, with a margin."""
    values = [value for record in records for key in keys if (value := record.get(key)) is not None]
    low, high = min(values), max(values)
    margin = (high - low) * pad or abs(high) * 0.1 or 0.1
    return [low - margin, high + margin]


def direction(results: RunResults) -> str:
    """Say which direction of the primary output is a gain."""
    return "higher is better" if results.task.higher_is_better else "lower is better"


@dataclass(frozen=True, slots=True)
class Rule:
    """An upright line at a value."""

    at: float
    dash: tuple[int, int]


DASHED, DOTTED = (3, 3), (1, 2)


def rows_chart(
    results: RunResults, records: list[Record], value: str, axis: str, rules: Sequence[Rule], runs: list[Record]
) -> list[alt.Chart]:
    """Draw one row for each arm: an interval, a point, and the value in words to the right.

    Args:
        results: Of the run.
        records: ``arm, low, high, end, label, shown`` and the value of each arm.
        value: Key of the value.
        axis: What the value is.
        rules: Upright lines behind the marks.
        runs: ``arm, seed, shown`` and the value of each training run, drawn small below the interval.
    """
    names = [arm.name for arm in results.arms if any(record["arm"] == arm.name for record in records)]
    domain = padded([*records, *runs, *({value: rule.at} for rule in rules)], (value, "low", "high"))
    base = alt.Chart(inline(records))
    y = alt.Y("arm:N", sort=names, title=None, axis=alt.Axis(grid=False))
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    x = alt.X(f"{value}:Q", title=axis, scale=scale, axis=alt.Axis(tickCount=5))
    colour, opacity = colour_of(results), faded()
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("shown:N", title=axis)]
    parts = []
    for rule in rules:
        line = alt.Chart(inline([{value: rule.at}])).mark_rule(strokeDash=list(rule.dash), opacity=0.8)
        parts.append(line.encode(x=f"{value}:Q"))
    low = alt.X("low:Q", title=axis)
    parts.append(base.mark_rule(strokeWidth=2.5).encode(x=low, x2="high:Q", y=y, color=colour, opacity=opacity))
    points = base.mark_point(filled=True, size=90, opacity=1)
    parts.append(points.encode(x=x, y=y, color=colour, opacity=opacity, tooltip=tips, shape=shape_of(results)))
    if runs:
        small = alt.Chart(inline(runs)).mark_point(filled=True, size=RUN_SIZE, yOffset=9)
        parts.append(small.encode(x=x, y=y, color=colour, opacity=faded(RUN_OPACITY), tooltip=run_tips(axis)))
    end = alt.X("end:Q", title=axis)
    parts.append(base.mark_text(align="left", dx=9).encode(x=end, y=y, text="label:N", opacity=opacity))
    return parts


def shape_of(results: RunResults) -> alt.Shape:
    """Return the encoding of the arms' shapes, without a legend."""
    return alt.Shape("arm:N", scale=arms_scale(results, "shape"), legend=None)
