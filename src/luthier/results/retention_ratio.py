"""How much of what the base could do is kept, as one number with a lower bound: R, the mean of retained shares.

For each retained task the share is ``(after − chance) / (before − chance)``, and R is their mean over the tasks that
the base can do: those whose score before lies above chance with its whole interval. What was never known cannot be
forgotten. The lower bound is one-sided and holds examples and, from three seeds on, training runs:

1. Each task's share is linearised in the answers of both models (the delta method, with the jackknife's pseudo-values
   of `luthier.metrics.seed_runs.linearised`): ``share + ((after[s, g] − after) − share·(before[g] − before)) /
   (before − chance)``, for every seed s and group of examples g. Both models answer the same examples, so that what is
   hard for both does not count as noise.
2. The tasks' tables are laid side by side, each deviation weighted so that the table's mean is R and its variance over
   examples that of a mean over independent tasks. A seed moves all tasks at once, which the rows keep.
3. Components of variance and quantile are those of `luthier.metrics.variance_components`.
4. Few answers that differ show little of the spread: of 50 answers, none differs half of the time where the truth is a
   loss of 2 %. So the variance over examples is never taken as less than what a model would show that has just lost the
   share that is allowed, by answers that are lost whole; and a continuity correction of half an answer is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from luthier.metrics.chance import able, known_chance
from luthier.metrics.metric import FloatArray
from luthier.metrics.registry import get_metric
from luthier.metrics.resampling import clusters_of
from luthier.metrics.seed_estimate import FEWEST_SEEDS
from luthier.metrics.seed_runs import Log, Runs, linearised, same_examples
from luthier.metrics.task_metrics import TaskMetrics
from luthier.metrics.variance_components import VarianceComponents, variance_components

CONFIDENCE = 0.95
"""Level of the one-sided lower bound."""
_POWER = 0.8
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class RetainedLogs:
    """The answers of both models to a retained task.

    Attributes:
        metrics: How it is judged.
        before: Of the base.
        after: Of the trained arm, by seed.
    """

    metrics: TaskMetrics
    before: Log
    after: Runs


@dataclass(frozen=True, slots=True)
class RetentionRatio:
    """The kept share of what the base could do.

    Attributes:
        value: R; NaN where the base can do none of the tasks.
        low: Its one-sided 95 % lower bound; NaN where that cannot be estimated.
        tasks: Tasks in the mean.
        left_out: Tasks that the base cannot do, or that have no share.
        shares: Kept share of each task in the mean.
        seeds: Training runs.
        examples: Fewest examples of a task in the mean.
        run_variance: Variance of R by training runs; 0 where it is not held.
        example_variance: Variance of R by examples.
    """

    value: float
    low: float
    tasks: tuple[str, ...]
    left_out: tuple[str, ...]
    shares: Mapping[str, float]
    seeds: int
    examples: int
    run_variance: float = 0.0
    example_variance: float = math.nan

    def reaches(self, level: float) -> bool:
        """Whether the lower bound reaches a level."""
        return self.low >= level


@dataclass(frozen=True, slots=True)
class _Task:
    """One task's share, linearised: ``table`` ``(S, G)``, and what one whole answer moves R by, times the tasks."""

    name: str
    share: float
    table: FloatArray
    step: float
    known: float


def retention_ratio(logs: Sequence[RetainedLogs], level: float, *, resamples: int = 1000) -> RetentionRatio:
    """Estimate which share of what the base could do is kept.

    Args:
        logs: Of every retained task; the same seeds in each.
        level: The share that must be kept, for which the lower bound is made; see the module.
        resamples: Bootstrap resamples of the intervals that tell which tasks the base can do.

    Raises:
        DataError: A log lacks what its metric needs.
        Faults: The logs of a task do not hold the same examples.
    """
    tasks: list[_Task] = []
    left_out = []
    for own in logs:
        share = _linearised_share(own) if able(own.before, own.metrics, resamples=resamples) else None
        if share is None:
            left_out.append(own.metrics.task)
        else:
            tasks.append(share)
    names = tuple(task.name for task in tasks)
    seeds = max((len(own.after) for own in logs), default=0)
    if not tasks:
        return RetentionRatio(math.nan, math.nan, (), tuple(left_out), {}, seeds, 0)
    value = math.fsum(task.share for task in tasks) / len(tasks)
    examples = min(len(own.before) for own in logs if own.metrics.task in names)
    found = RetentionRatio(
        value, math.nan, names, tuple(left_out), {task.name: task.share for task in tasks}, seeds, examples
    )
    components = _components(tasks, level)
    if components is None:
        return found
    correction = math.fsum(task.step for task in tasks) / (2 * len(tasks))
    return replace(
        found,
        low=value - correction - float(components.half_width(1 - CONFIDENCE)),
        run_variance=float(components.runs),
        example_variance=float(components.examples),
    )


def _linearised_share(own: RetainedLogs) -> _Task | None:
    """Return a task's share; None where chance is not known or no other than before, or a value is not defined."""
    metric, output = get_metric(own.metrics.primary_metric), own.metrics.primary
    logs = same_examples({"the base": own.before} | {f"seed {seed}": log for seed, log in own.after.items()})
    before = logs[0]
    clusters, at = clusters_of(before), metric.outputs.index(output)
    values, tables = (part[..., at] for part in linearised(metric, logs, clusters))
    chance = known_chance(before, own.metrics)
    if chance is None:
        return None
    known = float(values[0]) - chance
    if known == 0 or not np.isfinite(tables).all():
        return None
    share = (float(values[1:].mean()) - (float(values[0]) - known)) / known
    moved = (tables[1:] - values[1:].mean()) - share * (tables[0] - values[0])
    groups = tables.shape[1]
    step = (own.metrics.scale or 0.0) / (groups * abs(known))
    return _Task(own.metrics.task, share, share + moved / known, step, abs(known))


def _components(tasks: Sequence[_Task], level: float) -> VarianceComponents | None:
    """Return the components of the variance of R; None where a task has a single group of examples."""
    count = len(tasks)
    groups = sum(task.table.shape[1] for task in tasks)
    if any(task.table.shape[1] < 2 for task in tasks):
        return None
    by_seed = np.mean([task.table.mean(axis=1) for task in tasks], axis=0)
    parts = []
    for task in tasks:
        own = task.table.shape[1]
        weight = math.sqrt(groups * (groups - 1) / (own * (own - 1))) / count
        parts.append(weight * (task.table - task.table.mean(axis=1, keepdims=True)))
    table = by_seed[:, None] + np.concatenate(parts, axis=1)
    found = variance_components(table, runs=len(table) >= FEWEST_SEEDS)
    return replace(found, examples=np.maximum(found.examples, _least_variance(tasks, level)))


def _least_variance(tasks: Sequence[_Task], level: float) -> float:
    """Return the variance of R over examples where each task has lost the allowed share by answers lost whole.

    A share q of answers that are lost whole has the variance ``q·(1 − q)`` in units of an answer.
    """
    total = 0.0
    for task in tasks:
        # An answer moves the share by `step`, and all of them by `step · groups`: so many are lost.
        groups = task.table.shape[1]
        lost = min((1 - level) / (task.step * groups), 1.0) if task.step > 0 else 0.0
        total += lost * (1 - lost) * task.step**2 * groups
    return total / len(tasks) ** 2


def decided_by(ratio: RetentionRatio, level: float) -> str:
    """Say how many examples or seeds would decide, with 80 % power, whether a level is kept; "" where none would.

    The components of variance stay as they are: examples shrink theirs in proportion, and so do seeds.
    """
    gap = abs(ratio.value - level)
    if not gap > 0 or math.isnan(ratio.example_variance):
        return ""
    allowed = (gap / (_NORMAL.inv_cdf(CONFIDENCE) + _NORMAL.inv_cdf(_POWER))) ** 2
    left = allowed - ratio.run_variance
    ways = []
    if left > 0:
        examples = math.ceil(ratio.examples * max(ratio.example_variance / left, 1.0))
        ways.append(f"{_rounded(examples):,} examples of each task")
    if ratio.run_variance > 0 and allowed > ratio.example_variance:
        seeds = math.ceil(ratio.seeds * ratio.run_variance / (allowed - ratio.example_variance))
        ways.append(f"{max(seeds, ratio.seeds + 1):,} seeds")
    if not ways:
        return "only more seeds and more examples together would decide"
    return f"about {' or '.join(ways)} would decide"


def _rounded(count: int) -> int:
    """Round up to two digits: an estimate of a number of examples is no more certain than that."""
    unit: int = 10 ** max(len(str(count)) - 2, 0)
    return math.ceil(count / unit) * unit
