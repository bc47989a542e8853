"""The mean win rate of several models over scenarios (Liang et al. 2022, section 8.1)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def win_rates(values: Sequence[float], *, higher_is_better: bool) -> list[float]:
    """Return how often each model is better than another one, drawn at random: ``(wins + (ties − 1) / 2) / (n − 1)``.

    Args:
        values: One for each model; NaN where it was not measured.
        higher_is_better: Direction of the number.

    Returns:
        0 to 1 for each; NaN where the model, or every other one, was not measured. Ties count half; a model ties with
        itself, which the formula takes off.
    """
    known = [value for value in values if not math.isnan(value)]
    sign = 1 if higher_is_better else -1

    def rate(value: float) -> float:
        if math.isnan(value) or len(known) < 2:
            return math.nan
        wins = sum(sign * value > sign * other for other in known)
        ties = sum(value == other for other in known)
        return (wins + (ties - 1) / 2) / (len(known) - 1)

    return [rate(value) for value in values]


def mean_win_rates(scores: Mapping[str, Mapping[str, float]], higher_is_better: Mapping[str, bool]) -> dict[str, float]:
    """Return the mean win rate of each model.

    Args:
        scores: Of each model, by column: a scenario's number.
        higher_is_better: Direction of each column; columns that are not here do not count.

    Returns:
        By model the mean over the columns in which it and another model were measured; NaN where there is none.
    """
    columns = {
        column: win_rates([own.get(column, math.nan) for own in scores.values()], higher_is_better=better)
        for column, better in higher_is_better.items()
    }
    found = {}
    for i, model in enumerate(scores):
        own = [rates[i] for rates in columns.values() if not math.isnan(rates[i])]
        found[model] = math.fsum(own) / len(own) if own else math.nan
    return found
