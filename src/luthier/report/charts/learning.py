"""Losses and scores over the steps of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import altair as alt

from luthier.report import derived
from luthier.report.charts.parts import WIDTH, Chart, Record, faded, inline, layers, legend_of
from luthier.report.curves import Curve, RunKey
from luthier.report.explanations import best_steps
from luthier.report.palette import arm_styles
from luthier.results.records import RunResults

SUPERVISED = "cross_entropy"
"""The objective whose loss is that of the targets' tokens."""


def _lines(
    results: RunResults,
    series: Mapping[RunKey, Sequence[tuple[float, float]]],
    axis: str,
    *,
    points: bool,
    legend: bool,
) -> list[alt.Chart]:
    best = best_steps(results.arms)
    records: list[Record] = [
        {"arm": run[0], "seed": run[1], "step": step, "value": value, "best": step == best.get(run)}
        for run, line in series.items()
        for step, value in line
    ]
    last = max(step for line in series.values() for step, _ in line)
    scale = alt.Scale(domain=[0, last], nice=False)
    x = alt.X("step:Q", title="optimizer step", scale=scale, axis=alt.Axis(grid=False, tickCount=6, tickMinStep=1))
    y = alt.Y("value:Q", title=axis, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=6))
    names = list(dict.fromkeys(arm for arm, _ in series))
    styles = arm_styles([arm.name for arm in results.arms])
    key = legend_of(results, lines=True) if legend else None
    colours = alt.Scale(domain=names, range=[styles[name].colour for name in names])
    colour = alt.Color("arm:N", scale=colours, legend=key)
    dashes = alt.Scale(domain=names, range=[styles[name].dash for name in names])
    dash = alt.StrokeDash("arm:N", scale=dashes, legend=key)
    base = alt.Chart(inline(records)).encode(x=x, y=y, color=colour, opacity=faded(), detail="seed:N")
    tips = [
        *(alt.Tooltip(name) for name in ("arm:N", "seed:N", "step:Q")),
        alt.Tooltip("value:Q", title=axis, format=".4g"),
    ]
    # Unseen points still answer to the pointer.
    seen = points or max(len(line) for line in series.values()) < 3
    marks = base.mark_point(filled=True, size=50, fillOpacity=1 if seen else 0).encode(tooltip=tips)
    width = 2.0 if len(series) == len(names) else 1.2
    parts = [base.mark_line(strokeWidth=width).encode(strokeDash=dash), marks]
    if points and any(record["best"] for record in records):
        rings = base.transform_filter("datum.best").mark_point(filled=False, size=190, strokeWidth=2)
        parts.append(rings.encode(tooltip=tips))
    return parts


def _curve_chart(
    results: RunResults,
    curves: Mapping[RunKey, Curve],
    pick: Callable[[Curve], Sequence[tuple[float, float]]],
    title: str,
    axis: str,
    *,
    points: bool,
    width: int,
    legend: bool,
) -> Chart | None:
    order = [arm.name for arm in results.arms]
    runs = sorted((run for run in curves if run[0] in order), key=lambda run: (order.index(run[0]), run[1]))
    series = {run: line for run in runs if (line := pick(curves[run]))}
    if not series:
        return None
    best = best_steps(results.arms)
    ringed = points and any(step == best.get(run) for run, line in series.items() for step, _ in line)
    notes = ["one line for each training run"] if len({arm for arm, _ in series}) < len(series) else []
    notes += ["ring: the step whose weights were kept"] if ringed else []
    note = "; ".join(notes)
    note = note[:1].upper() + note[1:]
    return layers(_lines(results, series, axis, points=points, legend=legend), title, note, width, 240)


def _of_one_unit(
    results: RunResults, curves: Mapping[RunKey, Curve], what: str
) -> tuple[dict[RunKey, Curve], str, str]:
    """Return the curves whose losses share a unit, the title, and the axis.

    Those of the targets are nats per token. Where all arms have other objectives, each has its own unit.
    """
    others = {arm.name for arm in results.arms if arm.objective != SUPERVISED}
    of_targets = {run: curve for run, curve in curves.items() if run[0] not in others}
    if of_targets:
        return of_targets, f"{what} on targets", "nats per token"
    return dict(curves), f"{what} of each objective", "loss"


def training_loss(
    results: RunResults, curves: Mapping[RunKey, Curve], *, width: int = WIDTH, legend: bool = True
) -> Chart | None:
    """Draw the training loss over optimizer steps."""
    curves, title, axis = _of_one_unit(results, curves, "Training loss")
    return _curve_chart(results, curves, lambda c: c.loss, title, axis, points=False, width=width, legend=legend)


def validation_loss(
    results: RunResults, curves: Mapping[RunKey, Curve], *, width: int = WIDTH, legend: bool = True
) -> Chart | None:
    """Draw the validation loss over optimizer steps."""
    curves, title, axis = _of_one_unit(results, curves, "Validation loss")
    return _curve_chart(
        results, curves, lambda c: c.validation_loss, title, axis, points=True, width=width, legend=legend
    )


def validation_score(
    results: RunResults, curves: Mapping[RunKey, Curve], *, width: int = WIDTH, legend: bool = True
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
