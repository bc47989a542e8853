"""The averages of benchmark suites, with their own standard errors."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal


@dataclass(frozen=True, slots=True)
class Average:
    """A number of a suite: its own, or that of a group.

    Attributes:
        name: Of the suite or group.
        members: Names of tasks, and of averages that count as one member.
        tasks: All tasks in it, groups resolved.
        published: Which average is the published one.
        scores: Tasks whose score is the mean of several numbers, with these.
    """

    name: str
    members: tuple[str, ...]
    tasks: tuple[str, ...]
    published: Literal["macro", "micro"]
    scores: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A task of a suite, measured.

    Attributes:
        value: Its score.
        error: Standard error of the score; NaN where it is not known.
        n: Examples.
        chance: What guessing gets, or None.
    """

    value: float
    error: float
    n: int
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class SuiteScore:
    """An average over tasks.

    Attributes:
        name: Of the suite or group.
        over: ``macro``: every member counts the same; ``micro``: every example does.
        published: Whether it is the suite's published average.
        value: The average.
        error: Its standard error: √Σe² ÷ k for the macro average, √Σ(n·e)² ÷ Σn for the micro one.
        low: Lower end of its normal interval; NaN where no task varies.
        high: Upper end.
        n: Examples.
        measured: Tasks that it is over.
        tasks: Tasks that belong to it.
        chance: The same average of what guessing gets; None where that is not known of every task.
        confidence: Level of the interval, as a share.
    """

    name: str
    over: Literal["macro", "micro"]
    published: bool
    value: float
    error: float
    low: float
    high: float
    n: int
    measured: int
    tasks: int
    chance: float | None
    confidence: float


def suite_scores(
    averages: Sequence[Average], measured: Mapping[str, Measured], *, confidence: float = 0.95
) -> tuple[SuiteScore, ...]:
    """Average what was measured: the published average of each group first, then the other one.

    A member that is a group itself counts once in a macro average. Averages of no measured task are left out.
    """
    by_name = {average.name: average for average in averages}
    found: list[SuiteScore] = []
    for average in averages:
        tasks = [measured[name] for name in average.tasks if name in measured]
        if not tasks:
            continue
        other: Literal["macro", "micro"] = "micro" if average.published == "macro" else "macro"
        for over in (average.published, other):
            whole = _macro(average, measured, by_name) if over == "macro" else _micro(tasks)
            found.append(_score(average, over, whole, len(tasks), confidence))
    return tuple(found)


def _score(
    average: Average, over: Literal["macro", "micro"], whole: Measured, tasks: int, confidence: float
) -> SuiteScore:
    # Where nothing varies, as where nothing is right, the error says nothing.
    error = whole.error if whole.error > 0 else math.nan
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * error
    return SuiteScore(
        name=average.name,
        over=over,
        published=over == average.published,
        value=whole.value,
        error=whole.error,
        low=whole.value - reach,
        high=whole.value + reach,
        n=whole.n,
        measured=tasks,
        tasks=len(average.tasks),
        chance=whole.chance,
        confidence=confidence,
    )


def _macro(average: Average, measured: Mapping[str, Measured], by_name: Mapping[str, Average]) -> Measured:
    parts = [one for name in average.members if (one := _member(name, measured, by_name)) is not None]
    size = len(parts)
    return Measured(
        math.fsum(one.value for one in parts) / size,
        math.sqrt(math.fsum(one.error**2 for one in parts)) / size,
        sum(one.n for one in parts),
        _mean_chance(parts, [1] * size),
    )


def _member(name: str, measured: Mapping[str, Measured], by_name: Mapping[str, Average]) -> Measured | None:
    if name in by_name and any(task in measured for task in by_name[name].tasks):
        return _macro(by_name[name], measured, by_name)
    return measured.get(name)


def _micro(parts: Sequence[Measured]) -> Measured:
    total = sum(one.n for one in parts)
    return Measured(
        math.fsum(one.n * one.value for one in parts) / total,
        math.sqrt(math.fsum((one.n * one.error) ** 2 for one in parts)) / total,
        total,
        _mean_chance(parts, [one.n for one in parts]),
    )


def _mean_chance(parts: Sequence[Measured], weights: Sequence[int]) -> float | None:
    known = [one.chance for one in parts if one.chance is not None]
    if len(known) < len(parts):
        return None
    return math.fsum(weight * chance for weight, chance in zip(weights, known, strict=True)) / sum(weights)
