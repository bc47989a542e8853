"""Paths from the base to an arm on the plane of quality and retention, and the front of what nothing beats in both."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import altair as alt

from luthier.report import derived, formatting
from luthier.report.charts.parts import Record, colour_of, faded, finite, inline
from luthier.results.records import PointResult, RunResults

_POINT_SIZE = 50


def path_records(
    results: RunResults,
    placed: Mapping[str, float | None],
    of_point: Callable[[PointResult], float | None],
    label: Callable[[float], str],
) -> list[Record]:
    """Return one record for each point of each arm, and for the arm itself at 1: ``arm, at, x, score, shown, where``.

    Args:
        results: Of the run.
        placed: Place of each arm on the horizontal axis.
        of_point: Place of a point.
        label: Writes a place.
    """
    digits, found = derived.score_digits(results), []
    for arm in results.arms:
        beside = derived.points_beside(arm)
        ends = [(1.0, placed[arm.name], derived.primary(results, arm))] if beside else []
        known = [(point.at, finite(of_point(point)), derived.primary(results, point)) for point in beside]
        for at, place, score in sorted([*known, *ends], key=lambda one: one[0]):
            if place is not None and score is not None and finite(score.value) is not None:
                shown = {"shown": formatting.decimal(score.value, digits), "where": label(place)}
                found.append({"arm": arm.name, "at": at, "x": place, "score": score.value, **shown})
    return found


def path_marks(results: RunResults, records: list[Record], x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """Draw each arm's path, and its points with their places on it."""
    base = alt.Chart(inline(records))
    colour, opacity = colour_of(results), faded()
    line = base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour, order="at:Q", opacity=opacity, detail="arm:N")
    beside = base.transform_filter("datum.at != 1")
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("at:Q"), alt.Tooltip("shown:N"), alt.Tooltip("where:N")]
    points = beside.mark_point(filled=True, size=_POINT_SIZE).encode(
        x=x, y=y, color=colour, opacity=opacity, tooltip=tips
    )
    names = beside.mark_text(fontSize=10, dy=-9).encode(x=x, y=y, text=alt.Text("at:Q", format="~g"), opacity=opacity)
    return [line, points, names]


def front_marks(records: list[Record], x: alt.X, y: alt.Y, *, higher_is_better: bool) -> list[alt.Chart]:
    """Draw the Pareto front: what no other record beats in both score and place; nothing where it is one record."""
    front = pareto_front(records, higher_is_better=higher_is_better)
    if len(front) < 2:
        return []
    line = alt.Chart(inline(front)).mark_line(strokeWidth=7, strokeCap="round", opacity=0.15, color="#7a746a")
    return [line.encode(x=x, y=y, order="x:Q")]


def pareto_front(records: list[Record], *, higher_is_better: bool) -> list[Record]:
    """Return the records that no other equals or beats in score and in ``x``, of which more is better, by ``x``."""
    sign = 1 if higher_is_better else -1
    front: list[Record] = []
    best = float("-inf")
    for record in sorted(records, key=lambda one: (-one["x"], -sign * one["score"])):
        if sign * record["score"] > best:
            best = sign * record["score"]
            front.append({"x": record["x"], "score": record["score"]})
    return front[::-1]
