"""The tables and the sentences of a learning curve: what was measured at each size, and what may be said beyond it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from luthier.records import Score
from luthier.report import formatting
from luthier.report.formatting import ABSENT
from luthier.report.intervals import FEWEST_SEEDS, Intervals, intervals_of
from luthier.report.tables import Cell, Column, Table, value_cell
from luthier.results.curve_records import ArmCurve, CurvePoint, CurveResults, CurveRun
from luthier.results.learning_curve import Estimate, LearningCurve

_LOSS = "loss of the references"


@dataclass(frozen=True, slots=True)
class Quantity:
    """One of the two numbers whose curves are fitted, in the unit in which it is shown.

    Attributes:
        key: ``loss`` or ``score``.
        name: In words.
        axis: With its unit.
        rises: Whether more of it is better.
        curve: The curve of an arm's errors.
        point: The number at a size.
        run: The number of a single training run.
        shown: Turns an error of the curve into the number.
    """

    key: str
    name: str
    axis: str
    rises: bool
    curve: Callable[[ArmCurve], LearningCurve | None]
    point: Callable[[CurvePoint], Score]
    run: Callable[[CurveRun], float]
    shown: Callable[[float], float]

    @property
    def heading(self) -> str:
        """The heading of its column, with its direction."""
        return f"{self.axis} {'↑' if self.rises else '↓'}"

    def between(self, found: Estimate) -> tuple[float, float]:
        """Return the ends of an interval, the lower one first."""
        low, high = sorted((self.shown(found.low), self.shown(found.high)))
        return low, high


def quantities(results: CurveResults) -> tuple[Quantity, Quantity]:
    """Return the loss of the references and the task's metric."""
    scale, rises = results.scale or 1.0, results.task.higher_is_better

    def metric(error: float) -> float:
        return scale * (1 - error) if rises else scale * error

    primary = results.task.primary
    return (
        Quantity(
            *("loss", _LOSS, f"{_LOSS}, nats per token", False),
            *(lambda arm: arm.loss, lambda point: point.loss, lambda run: run.loss, lambda error: error),
        ),
        Quantity(
            *("score", primary, primary, rises),
            *(lambda arm: arm.error, lambda point: point.score, lambda run: run.score, metric),
        ),
    )


def digits_of(results: CurveResults, quantity: Quantity) -> int:
    """Return the decimals of a quantity everywhere."""
    return formatting.digits_for(quantity.point(point).value for arm in results.arms for point in arm.points)


def curve_tables(results: CurveResults) -> list[Table]:
    """Return every table of a learning curve in order."""
    return [sizes_table(results), forecast_table(results), fit_table(results)]


def sizes_table(results: CurveResults) -> Table:
    """One row for each arm and size: loss and metric over the training runs."""
    both = quantities(results)
    shown = [quantity.point(point) for quantity in both for arm in results.arms for point in arm.points]
    intervals = intervals_of(shown)
    digits = [digits_of(results, quantity) for quantity in both]
    rows = tuple(
        (
            Cell(arm.name),
            Cell(f"{point.examples:,}", _drawn(point)),
            *(value_cell(own.point(point), count, intervals) for own, count in zip(both, digits, strict=True)),
            Cell(_steps(point)),
        )
        for arm in results.arms
        for point in arm.points
    )
    columns = (Column("Arm", number=False), Column("Examples"), *(Column(own.heading) for own in both), Column("Steps"))
    return Table("sizes", "What was measured", columns, rows, _sizes_note(results, intervals))


def _drawn(point: CurvePoint) -> str:
    return f"of {point.size:,} drawn" if point.size != point.examples else ""


def _steps(point: CurvePoint) -> str:
    fewest, most = min(run.steps for run in point.runs), max(run.steps for run in point.runs)
    return f"{fewest:,}" if fewest == most else f"{fewest:,}–{most:,}"


def _sizes_note(results: CurveResults, intervals: Intervals) -> str:
    n = max((point.score.n for arm in results.arms for point in arm.points), default=0)
    seeds = max(len(arm.seeds) for arm in results.arms)
    variance = "examples and training runs" if seeds >= FEWEST_SEEDS else "examples alone, not of training runs"
    held = f", with {intervals.words()} of {variance}" if intervals.levels else ""
    spread = "; ± is the standard deviation over training runs" if seeds > 1 else ""
    alike = "passes over their examples" if results.fixed == "epochs" else "optimizer steps"
    return (
        f"{results.task.name}, {n:,} test examples, {_many(seeds, 'training run')} at each size{held}{spread}. Each "
        f"size holds the examples of the smaller ones; all have the same {alike} and the same validation split. The "
        "loss is that of each first reference."
    )


def forecast_table(results: CurveResults) -> Table:
    """One row for each arm, quantity and number of examples that is forecast; the reason where nothing is."""
    rows = []
    for arm in results.arms:
        for own in quantities(results):
            curve, digits = own.curve(arm), digits_of(results, own)
            if curve is None or curve.why_none:
                why = curve.why_none if curve is not None else _no_curve(results, arm)
                rows.append((Cell(arm.name), Cell(own.name, why), Cell(ABSENT), Cell(ABSENT)))
                continue
            for found in curve.forecasts:
                value = formatting.decimal(own.shown(found.value), digits)
                around = formatting.interval(*own.between(found), digits)
                rows.append((Cell(arm.name), Cell(own.name), Cell(f"{found.examples:,}"), Cell(value, around)))
    columns = (*(Column(name, number=False) for name in ("Arm", "Of")), Column("Examples"), Column("Forecast"))
    return Table("forecast", "What more examples would give", columns, tuple(rows), _forecast_note(results))


def _no_curve(results: CurveResults, arm: ArmCurve) -> str:
    return "a curve needs two sizes" if len(arm.points) < 2 else f"{results.task.primary} has no bound to fall short of"


def _forecast_note(results: CurveResults) -> str:
    level = f"{100 * results.confidence:g} %"
    return (
        f"From the fit below, with {level} intervals by parametric bootstrap with the spread over training runs, "
        "pooled over sizes: of the mean over training runs on the same test split. They hold neither the variance of "
        "test examples nor that of which training examples were drawn. Nothing is forecast beyond 10 times the largest "
        "size."
    )


def fit_table(results: CurveResults) -> Table:
    """One row for each arm and quantity: the fit, against a flat line, and its hindcast of the largest size."""
    rows = []
    for arm in results.arms:
        for own in quantities(results):
            curve, digits = own.curve(arm), digits_of(results, own)
            if curve is None or curve.law is None or curve.hindcast is None:
                continue
            law, told = curve.law, curve.hindcast
            fit = f"{law.floor:.3g} + {law.scale:.3g} · n^−{law.exponent:.2f}"
            said = formatting.decimal(own.shown(told.forecast.value), digits)
            measured = formatting.decimal(own.shown(told.measured), digits)
            rows.append(
                (
                    Cell(arm.name),
                    Cell(own.name),
                    Cell(fit.replace("-", "−")),
                    Cell(f"{curve.spread:.2g}"),
                    Cell(formatting.signed(curve.advantage, 1), "not better" if curve.flat else ""),
                    Cell(said, formatting.interval(*own.between(told.forecast), digits)),
                    Cell(measured, "covered" if told.covered else "missed", "" if told.covered else "bad"),
                )
            )
    names, titles = ("Arm", "Of", "Error"), ("Spread", "Against a flat line (AICc)", "Hindcast", "Measured")
    columns = (*(Column(name, number=False) for name in names), *(Column(title) for title in titles))
    note = (
        "Error: the loss itself, and one minus the metric as a share of its scale. Spread: standard deviation over "
        "training runs, pooled over sizes. Hindcast: what the fit without the largest size forecasts there, with the "
        "interval of a mean over as many training runs; it must cover what was measured."
    )
    return Table("fit", "The fit, and its hindcast", columns, tuple(rows), note if rows else "Nothing was fitted.")


def verdicts(results: CurveResults) -> list[str]:
    """Say in a sentence or three, for each arm and quantity, what more examples would give."""
    return [_verdict(results, arm, own) for arm in results.arms for own in quantities(results)]


def _verdict(results: CurveResults, arm: ArmCurve, own: Quantity) -> str:
    curve, about = own.curve(arm), f"{arm.name}, {own.name}:"
    if curve is None:
        return f"{about} no forecast, because {_no_curve(results, arm)}."
    if curve.flat:
        return f"{about} {curve.why_none}."
    gain = f" From {curve.no_gain_above:,} examples on no gain is told from zero." if curve.no_gain_above else ""
    if curve.why_none or not curve.forecasts:
        return f"{about} no forecast, because {curve.why_none or 'none was asked for'}.{gain}"
    digits = digits_of(results, own)
    measured = formatting.decimal(own.point(arm.points[-1]).value, digits)
    most = curve.forecasts[-1]
    value, around = formatting.decimal(own.shown(most.value), digits), formatting.interval(*own.between(most), digits)
    return (
        f"{about} {measured} at {arm.points[-1].examples:,} examples; {value} {around} is forecast at "
        f"{most.examples:,}.{gain} {_told(own, curve, digits)}"
    )


def _told(own: Quantity, curve: LearningCurve, digits: int) -> str:
    """Say how the fit without the largest size did."""
    assert curve.hindcast is not None, "what is forecast is also hindcast"
    told = curve.hindcast
    around = formatting.interval(*own.between(told.forecast), digits)
    measured = formatting.decimal(own.shown(told.measured), digits)
    ends = "covered" if told.covered else "missed, so do not rely on this forecast"
    return f"The fit without {told.forecast.examples:,} says {around} there, and {measured} was measured: {ends}."


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def notes_of(results: CurveResults) -> list[str]:
    """Return what a reader must know of the arms."""
    return [f"{arm.name}: {note}" for arm in results.arms for note in arm.notes]
