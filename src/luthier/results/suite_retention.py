"""What a suite as a whole lost or gained: the averages of its tasks before, after, and of their differences."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

from luthier.metrics.difference_interval import POWER
from luthier.metrics.suite_averages import Average, Measured, SuiteScore, suite_scores
from luthier.records import Score
from luthier.results.change import Change
from luthier.results.records import RetentionResult

_NORMAL = NormalDist()


def suite_retention(
    items: Sequence[RetentionResult], averages: Sequence[Average], confidence: float
) -> tuple[RetentionResult, ...]:
    """Average the retained tasks of suites, each average as its suite publishes it.

    Tasks are independent of one another, so the error of an average is that of a sum; each is tested once, without a
    correction. Averages of one task, and of tasks whose numbers have other units or directions, are left out.
    """
    by_task = {item.task: item for item in items}
    found = []
    for average in averages:
        own = [by_task[task] for task in average.tasks if task in by_task]
        if len(own) < 2 or len({(item.higher_is_better, item.scale) for item in own}) > 1:
            continue
        found.append(_averaged(own, average, averages, confidence))
    return tuple(found)


def _averaged(
    items: Sequence[RetentionResult], average: Average, averages: Sequence[Average], confidence: float
) -> RetentionResult:
    def mean(part: Callable[[RetentionResult], Score | Change]) -> SuiteScore:
        measured = {item.task: _measured(part(item), item.chance) for item in items}
        scores = suite_scores(averages, measured, confidence=confidence)
        return next(one for one in scores if one.name == average.name and one.published)

    before, after, change = (mean(part) for part in (_before, _after, _change))
    return RetentionResult(
        task=average.name,
        metric=f"{change.over} average of {len(items)} tasks",
        higher_is_better=items[0].higher_is_better,
        chance=before.chance,
        before=_score(before),
        after=_score(after),
        change=_tested(change, confidence),
        scale=items[0].scale,
        group=True,
    )


def _before(item: RetentionResult) -> Score:
    return item.before


def _after(item: RetentionResult) -> Score:
    return item.after


def _change(item: RetentionResult) -> Change:
    return item.change


def _measured(shown: Score | Change, chance: float | None) -> Measured:
    """Return a number with the standard error that its interval stands for."""
    reach = _NORMAL.inv_cdf((1 + shown.confidence) / 2)
    return Measured(shown.value, (shown.high - shown.low) / (2 * reach), shown.n, chance)


def _score(average: SuiteScore) -> Score:
    name = f"{average.over}_average"
    signature = f"metric:{name}|suite:{average.name}|tasks:{average.measured}"
    return Score(name, average.value, average.n, average.low, average.high, signature, confidence=average.confidence)


def _tested(average: SuiteScore, confidence: float) -> Change:
    error = average.error
    p_value = 2 * (1 - _NORMAL.cdf(abs(average.value) / error)) if error > 0 else math.nan
    reach = _NORMAL.inv_cdf((1 + confidence) / 2) + _NORMAL.inv_cdf(POWER)
    return Change(
        value=average.value,
        low=average.low,
        high=average.high,
        p_value=p_value,
        n=average.n,
        significant=p_value < 1 - confidence,
        confidence=confidence,
        detectable=reach * error,
    )
