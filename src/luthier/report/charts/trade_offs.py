"""The primary score against what it costs: trained parameters, training time, forgetting.

Arms that train nothing stand at 0 trained parameters and 0 training seconds: that is what they cost. A logarithmic axis
has no 0, so it is set apart by a rule and labelled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import altair as alt

from luthier.config.interpolation import BASE
from luthier.report import derived, formatting
from luthier.report.charts.parts import (
    HEIGHT,
    RUN_OPACITY,
    RUN_SIZE,
    WIDTH,
    Chart,
    Record,
    arms_scale,
    colour_of,
    direction,
    faded,
    finite,
    inline,
    layers,
    legend_of,
    padded,
    run_tips,
)
from luthier.report.charts.paths import front_marks, path_marks, path_records
from luthier.report.charts.quality import notes_on_intervals, quality_records, run_records
from luthier.results.records import ArmResult, PointResult, RunCosts, RunResults, SeedResult


@dataclass(frozen=True, slots=True)
class _Position:
    """Where arms stand on the horizontal axis of a scatter chart.

    Attributes:
        of: Place of an arm; None where it was not measured.
        title: What the axis is.
        label: Writes a place.
        logarithmic: Whether the axis is.
        note: How to read it.
        of_run: Place of one training run; None where it is the arm's.
        of_point: Place of a point between the base and an arm; None where no paths are drawn.
    """

    of: Callable[[ArmResult], float | None]
    title: str
    label: Callable[[float], str]
    logarithmic: bool
    note: str = ""
    of_run: Callable[[SeedResult], float | None] | None = None
    of_point: Callable[[PointResult], float | None] | None = None


def _scatter(results: RunResults, position: _Position, title: str, *, width: int, legend: bool) -> Chart | None:
    placed = {arm.name: finite(position.of(arm)) for arm in results.arms}
    records = [record for record in quality_records(results) if placed[record["arm"]] is not None]
    for record in records:
        record["x"] = placed[record["arm"]]
        record["where"] = position.label(record["x"])
    if not records or (position.logarithmic and all(record["x"] <= 0 for record in records)):
        return None
    missing = [arm.name for arm in results.arms if arm.name not in {record["arm"] for record in records}]
    runs = _run_records(results, position, placed)
    notes = [direction(results).capitalize(), *notes_on_intervals(results), "hollow: nothing trained"]
    if position.note:
        notes.append(position.note)
    if missing:
        notes.append(f"not measured: {', '.join(missing)}")
    paths = path_records(results, placed, position.of_point, position.label) if position.of_point else []
    if paths:
        notes.append("line: from the base (0) to the arm (1) without training")
    if position.of_point:
        notes.append("band: the front that nothing beats in both")
    x, ground = (
        _logarithmic(records, position) if position.logarithmic else _linear([*records, *runs, *paths], position)
    )
    parts = ground + _scatter_marks(results, records, [runs, paths], x, position, legend)
    return layers(parts, title, "; ".join(notes), width, HEIGHT)


def _run_records(results: RunResults, position: _Position, placed: Mapping[str, float | None]) -> list[Record]:
    """Return one record for each training run of arms with several, where its place is known."""
    found: list[Record] = []
    runs = {(arm.name, run.seed): run for arm in results.arms for run in arm.per_seed}
    for record in run_records(results):
        run = runs[record["arm"], record["seed"]]
        place = finite(position.of_run(run)) if position.of_run else placed[record["arm"]]
        if place is not None:
            found.append(record | {"x": place, "where": position.label(place)})
    return found


def _scatter_marks(
    results: RunResults,
    records: list[Record],
    beside: Sequence[list[Record]],
    x: alt.X,
    position: _Position,
    legend: bool,
) -> list[alt.Chart]:
    """Draw the arms, and beside them their training runs and their points."""
    runs, paths = beside
    title, apart = position.title, position.of_run is not None
    name = derived.primary_name(results)
    scale = alt.Scale(domain=padded([*records, *runs, *paths], ("score", "low", "high")), nice=False, zero=False)
    y = alt.Y("score:Q", title=name, scale=scale, axis=alt.Axis(tickCount=6))
    tips = [alt.Tooltip("arm:N"), alt.Tooltip("shown:N", title=name), alt.Tooltip("where:N", title=title)]
    base = alt.Chart(inline(records))
    opacity = faded()
    colour = colour_of(results, legend=legend)
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=x, y=alt.Y("low:Q", title=name), y2="high:Q", color=colour, opacity=opacity
    )
    points = base.mark_point(size=120, strokeWidth=2, filled=False).encode(
        x=x,
        y=y,
        color=colour,
        fill=alt.Fill("arm:N", scale=arms_scale(results, "colour"), legend=None),
        shape=alt.Shape("arm:N", scale=arms_scale(results, "shape"), legend=legend_of(results) if legend else None),
        fillOpacity=alt.condition("datum.trained", alt.value(1), alt.value(0)),
        opacity=opacity,
        tooltip=tips,
    )
    better = results.task.higher_is_better
    front = front_marks([*records, *paths], x, y, higher_is_better=better) if position.of_point else []
    ground = [*front, *(path_marks(results, paths, x, y) if paths else [])]
    if not runs:
        return [*ground, bars, points]
    # Runs that share their arm's place stand beside its mark, so that it does not hide them.
    small = alt.Chart(inline(runs)).mark_point(filled=True, size=RUN_SIZE, xOffset=0 if apart else 9)
    tips = [*run_tips(name), alt.Tooltip("where:N", title=title)]
    marks = small.encode(x=x, y=y, color=colour, opacity=faded(RUN_OPACITY), tooltip=tips)
    return [*ground, bars, marks, points]


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
        ground = [alt.Chart(inline([{"x": edge}])).mark_rule(strokeDash=[2, 4], opacity=0.8).encode(x="x:Q")]
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
    scale = alt.Scale(domain=padded([*records, {"x": 0.0}], ("x",), 0.08), nice=False, zero=False)
    x = alt.X("x:Q", title=position.title, scale=scale, axis=alt.Axis(grid=False, tickCount=6))
    return x, [alt.Chart(inline([{"x": 0.0}])).mark_rule(strokeDash=[3, 3], opacity=0.8).encode(x="x:Q")]


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

    def moved_at(point: PointResult) -> float | None:
        return 0.0 if point.at == BASE else derived.mean_points(point.retained)

    def moved_by(run: SeedResult) -> float | None:
        return derived.mean_points(run.retained)

    def written(value: float) -> str:
        return formatting.signed(value, 1)

    axis, title = "mean change on other tasks, points", f"{derived.primary_name(results)} against forgetting"
    position = _Position(moved, axis, written, False, "left of 0 is forgetting", moved_by, moved_at)
    return _scatter(results, position, title, width=width, legend=legend)
