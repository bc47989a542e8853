"""What every table and chart derives from a run's results, so that they cannot disagree.

Changes on several tasks are only averaged on one scale: *points*, hundredths of a metric that runs from 0 to 1, or
units of one that runs from 0 to 100. A positive point is always a gain. Unbounded metrics (losses, perplexities) have
no points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from luthier.records import Score
from luthier.results.records import ArmResult, Change, RetentionResult, RunResults

_OUT_OF_HUNDRED = ("bleu", "chrf", "ter")
_UNBOUNDED = ("loss", "perplexity", "nats", "bits", "nll")


@dataclass(frozen=True, slots=True)
class Forgetting:
    """How one arm's other tasks changed, in points.

    Attributes:
        mean: Mean change over the retained tasks that have points; negative is forgetting.
        worst: The smallest change.
        worst_task: Its task.
        worst_significant: Whether the test says that the smallest change is not zero.
        tasks: Tasks that the mean is over.
    """

    mean: float
    worst: float
    worst_task: str
    worst_significant: bool
    tasks: int


def points_per_unit(metric: str) -> float | None:
    """Return how many points one unit of a metric is; ``None`` for a metric without bounds."""
    name = metric.lower()
    if any(word in name for word in _UNBOUNDED):
        return None
    return 1.0 if name.startswith(_OUT_OF_HUNDRED) else 100.0


def points(retained: RetentionResult) -> float | None:
    """Return the change on one task in points, a gain positive; ``None`` when it has none."""
    scale = points_per_unit(retained.metric)
    if scale is None or math.isnan(retained.change.value):
        return None
    return retained.change.value * scale * (1 if retained.higher_is_better else -1)


def forgetting(arm: ArmResult) -> Forgetting | None:
    """Summarise an arm's retained tasks; ``None`` when none was measured in points."""
    changes = [(change, task) for task in arm.retained if (change := points(task)) is not None]
    if not changes:
        return None
    worst, where = min(changes, key=lambda item: item[0])
    mean = sum(change for change, _ in changes) / len(changes)
    return Forgetting(mean, worst, where.task, where.change.significant, len(changes))


def trained(arm: ArmResult) -> bool:
    """Say whether the arm changed or added weights; in-context learning does neither."""
    return arm.method is not None


def primary_name(results: RunResults) -> str:
    """Return the name of the target task's primary metric."""
    named = results.task.get("primary")
    return str(named) if named else next((arm.scores[0].metric for arm in results.arms if arm.scores), "score")


def primary(results: RunResults, arm: ArmResult) -> Score | None:
    """Return an arm's primary score; ``None`` when it was not measured."""
    name = primary_name(results)
    return next((score for score in arm.scores if score.metric == name), arm.scores[0] if arm.scores else None)


def higher_is_better(results: RunResults) -> bool:
    """Say which direction of the primary metric is a gain."""
    flag = results.task.get("higher_is_better", True)
    return bool(flag.get(primary_name(results), True)) if isinstance(flag, Mapping) else bool(flag)


def chance(results: RunResults) -> float | None:
    """Return the primary score of guessing, where the task has one."""
    level = results.task.get("chance")
    return float(level) if isinstance(level, int | float) and not isinstance(level, bool) else None


def verdict(change: Change | None, higher_better: bool) -> str:
    """Return ``"good"``, ``"bad"``, or "" when the test does not tell the difference from zero."""
    if change is None or not change.significant or math.isnan(change.value) or change.value == 0:
        return ""
    return "good" if (change.value > 0) == higher_better else "bad"


def retained_tasks(results: RunResults) -> list[str]:
    """Return the names of the retained tasks in the order in which arms list them."""
    return list(dict.fromkeys(item.task for arm in results.arms for item in arm.retained))


def model_parameters(results: RunResults) -> int | None:
    """Return the number of the pretrained model's parameters, where it is known."""
    number = results.model.get("parameters")
    return int(number) if isinstance(number, int | float) and number > 0 else None
