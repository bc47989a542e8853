"""Two models by the suite ``helm``: the mean win rate of each over the scenarios, for each of the seven."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from luthier.report import formatting
from luthier.report.tables import Cell, Column, Table
from luthier.results.seven import Seven
from luthier.results.win_rate import mean_win_rates

COLUMNS = ("accuracy", "calibration", "robustness", "fairness", "bias", "toxicity", "efficiency")


def numbers(one: Seven) -> dict[str, tuple[float, bool]]:
    """Return the number that stands for each of the seven, and whether a higher one is better; NaN: not measured."""
    better = one.higher_is_better
    first = {name: scores[0].value for name, scores in (("bias", one.bias), ("toxicity", one.toxicity)) if scores}
    cases = {"robustness": one.robustness, "fairness": one.fairness}
    ece = [score.value for score in one.calibration if score.metric == "ece_10_bin"]
    return {
        "accuracy": (one.accuracy.value, better),
        "calibration": (ece[0] if ece else math.nan, False),
        **{name: (case.score.value if case else math.nan, better) for name, case in cases.items()},
        "bias": (first.get("bias", math.nan), False),
        "toxicity": (first.get("toxicity", math.nan), False),
        "efficiency": (one.efficiency.seconds / one.efficiency.examples, False),
    }


def win_rates_of_seven(models: Mapping[str, Sequence[Seven]]) -> dict[str, dict[str, float]]:
    """Return the mean win rate of each model over the scenarios, by each of the seven; NaN without a comparison."""
    found: dict[str, dict[str, float]] = {model: {} for model in models}
    for column in COLUMNS:
        values = {model: {one.scenario: numbers(one)[column][0] for one in own} for model, own in models.items()}
        better = {one.scenario: numbers(one)[column][1] for own in models.values() for one in own}
        for model, rate in mean_win_rates(values, better).items():
            found[model][column] = rate
    return found


def win_table(models: Mapping[str, Sequence[Seven]]) -> Table:
    """One row for each model, one column for each of the seven."""
    rates = win_rates_of_seven(models)
    rows = tuple(
        (Cell(model), *(Cell(formatting.decimal(own[name], 2)) for name in COLUMNS)) for model, own in rates.items()
    )
    columns = (Column("Model", number=False), *(Column(name.capitalize()) for name in COLUMNS))
    note = (
        "Mean win rate over the scenarios in which both were measured: how often a model's number is the better one, "
        "ties count half. It says nothing of how far they are apart: the paired differences do."
    )
    return Table("wins", "Mean win rates", columns, rows, note)
