"""What every table and chart derives from a run's results, so that they cannot disagree.

Changes on several tasks are only averaged on one scale: *points*, hundredths of a metric that runs from 0 to 1, or
units of one that runs from 0 to 100. A positive point is always a gain. Unbounded metrics (losses, perplexities) have
no points. A metric states its own scale, and each record carries it.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.config.interpolation import TRAINED
from luthier.records import Score
from luthier.report import formatting
from luthier.results.change import Change
from luthier.results.records import ArmResult, PointResult, RetentionResult, RunResults, SeedResult

LOSS_DIGITS = 3
"""Decimals of a token loss (nats per token) and of its changes, in every table and chart."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """How one arm's other tasks changed, in points.

    Attributes:
        mean: Mean change over the retained tasks that the base can do and that have points; negative is forgetting.
        worst: The smallest change.
        worst_task: Its task.
        worst_significant: Whether the smallest change is significant.
        tasks: Tasks that the mean is over.
        spread: Standard deviation of the mean over training runs; None for a single run.
    """

    mean: float
    worst: float
    worst_task: str
    worst_significant: bool
    tasks: int
    spread: float | None = None


def points(retained: RetentionResult) -> float | None:
    """Return the change on one task in points, a gain positive; ``None`` when it has none."""
    if retained.scale is None or math.isnan(retained.change.value):
        return None
    return retained.change.value * (100 / retained.scale) * (1 if retained.higher_is_better else -1)


def detectable_points(retained: RetentionResult) -> float | None:
    """Return the smallest change on one task that would have been found, in points; ``None`` where it is not known."""
    size = retained.change.detectable
    if retained.scale is None or size is None or math.isnan(size):
        return None
    return size * 100 / retained.scale


def forgetting(arm: ArmResult | PointResult) -> Forgetting | None:
    """Summarise an arm's retained tasks, or a point's; ``None`` when none that the base can do has points."""
    changes = [(change, task) for task in arm.retained if task.counts and (change := points(task)) is not None]
    if not changes:
        return None
    worst, where = min(changes, key=lambda item: item[0])
    per_seed = arm.per_seed if isinstance(arm, ArmResult) else ()
    runs = [mean for run in per_seed if (mean := mean_points(run.retained)) is not None]
    return Forgetting(
        mean=sum(change for change, _ in changes) / len(changes),
        worst=worst,
        worst_task=where.task,
        worst_significant=where.change.significant,
        tasks=len(changes),
        spread=statistics.stdev(runs) if len(runs) > 1 else None,
    )


def mean_points(retained: Sequence[RetentionResult]) -> float | None:
    """Return the mean change on several tasks in points; ``None`` when none that the base can do has points."""
    changes = [change for task in retained if task.counts and (change := points(task)) is not None]
    return sum(changes) / len(changes) if changes else None


def trained(arm: ArmResult) -> bool:
    """Say whether the arm changed or added weights; in-context learning does neither."""
    return arm.method is not None


def primary_name(results: RunResults) -> str:
    """Return the name of the target task's primary metric."""
    first = next((arm.scores[0].metric for arm in results.arms if arm.scores), "score")
    return results.task.primary or first


def primary(results: RunResults, arm: ArmResult | PointResult) -> Score | None:
    """Return the primary score of an arm, or of one of its points; ``None`` when it was not measured."""
    name = primary_name(results)
    return next((score for score in arm.scores if score.metric == name), arm.scores[0] if arm.scores else None)


def score_digits(results: RunResults) -> int:
    """Return the decimals of every primary score."""
    return formatting.digits_for(score.value for arm in results.arms if (score := primary(results, arm)))


def score_of_run(results: RunResults, run: SeedResult) -> float | None:
    """Return the primary score of one training run; ``None`` when it was not measured."""
    name = primary_name(results)
    return next((score.value for score in run.scores if score.metric == name and math.isfinite(score.value)), None)


def validation_of_run(results: RunResults, run: SeedResult) -> float | None:
    """Return the best validation score of one training run, in the metric's own direction."""
    if run.validation_score is None:
        return None
    return run.validation_score if results.task.higher_is_better else -run.validation_score


def points_beside(arm: ArmResult) -> list[PointResult]:
    """Return an arm's points without its own: at 1 it is the arm itself."""
    return [point for point in arm.points if point.at != TRAINED]


def several_runs(results: RunResults) -> bool:
    """Say whether some arm was trained with more than one seed."""
    return any(len(arm.per_seed) > 1 for arm in results.arms)


def verdict(change: Change | None, higher_better: bool) -> str:
    """Return ``"good"``, ``"bad"``, or "" where the difference is not significant."""
    if change is None or not change.significant or math.isnan(change.value) or change.value == 0:
        return ""
    return "good" if (change.value > 0) == higher_better else "bad"


def retained_tasks(arms: Sequence[ArmResult]) -> list[str]:
    """Return the names of the retained tasks in the order in which arms list them."""
    return list(dict.fromkeys(item.task for arm in arms for item in arm.retained))
