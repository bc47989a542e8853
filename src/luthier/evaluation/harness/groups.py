"""The groups of lm-eval: the aggregate of their members' numbers, with its own weights, over all their documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np

from luthier.evaluation.harness.judge import Key, harness_metrics, metric_of
from luthier.evaluation.harness.task import HarnessTask
from luthier.metrics.metric import FloatArray, Metric, divide
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Prediction
from luthier.tasks.names import HARNESS


@dataclass(frozen=True)
class HarnessGroup:
    """A group of lm-eval's tasks that has an aggregate.

    Attributes:
        name: With ``lm_eval:`` before it.
        group: lm-eval's own.
        members: Its tasks, those of the groups in it included.
    """

    name: str
    group: Any
    members: tuple[HarnessTask, ...]

    @property
    def protocol(self) -> str:
        """What its numbers equal."""
        return f"lm-eval {version('lm_eval')} {self.group.name} {self.group.version}"

    @property
    def chance(self) -> float | None:
        """The aggregate of its members' chances; None where one of them is not known."""
        config, sizes = self.group.aggregate_metric_list[0], [len(own.requests) for own in self.members]
        known = [own.chance for own in self.members]
        chances = [own for own in known if own is not None]
        if len(chances) < len(known) or config.metric != next(iter(self.members[0].task.aggregation()), None):
            return None
        return float(np.average(chances, weights=sizes if config.weight_by_size else None))

    def log_of(self, logs: Mapping[str, Sequence[Prediction]]) -> tuple[Prediction, ...]:
        """Return the answers to all its members' documents, of each member's by its name."""
        return tuple(own for member in self.members for own in logs[member.name])

    def metrics_of(self, log: Sequence[Prediction]) -> TaskMetrics:
        """Return its aggregates: each metric that it lists, by each filter that its members have.

        Raises:
            TaskError: When lm-eval cannot judge the answers.
        """
        by_member = [[own for own in log if own.task == member.name] for member in self.members]
        known = [
            {(metric.name, _filter(metric)) for metric in _metrics(member, own)}
            for member, own in zip(self.members, by_member, strict=True)
        ]
        metrics = []
        for config in self.group.aggregate_metric_list:
            found = {filter_ for keys in known for metric, filter_ in keys if metric == config.metric}
            for filter_ in config.filter_list or sorted(found):
                key = (config.metric, filter_)
                sharing = [member for member, keys in zip(self.members, known, strict=True) if key in keys]
                if sharing:
                    metrics.append(_aggregate(key, sharing, by_size=config.weight_by_size))
        return TaskMetrics(self.name, tuple(metrics), metrics[0].primary, self.chance)

    def signature(self) -> dict[str, str]:
        """Return what its scores depend on besides the metric."""
        shots = sorted({str(own.shots) for own in self.members})
        found = {
            "task": f"{self.name}-v{self.group.version}",
            "tasks": str(len(self.members)),
            "shots": ",".join(shots),
        }
        return found | {"by": f"lm_eval-{version('lm_eval')}"}


def groups_of(groups: Sequence[Any], tasks: Sequence[HarnessTask]) -> tuple[HarnessGroup, ...]:
    """Return lm-eval's groups with their members among some tasks."""
    by_name = {own.task.task_name: own for own in tasks}
    return tuple(
        HarnessGroup(f"{HARNESS}{group.name}", group, tuple(by_name[own.task_name] for own in group.get_all_tasks()))
        for group in groups
    )


def _metrics(member: HarnessTask, log: Sequence[Prediction]) -> list[Metric]:
    return [own for own in harness_metrics(member.name, member.judge, log, None).metrics if isinstance(own, Metric)]


def _filter(metric: Metric) -> str:
    return metric.options.removeprefix("filter:").partition("|")[0]


def _aggregate(key: Key, members: Sequence[HarnessTask], *, by_size: bool) -> Metric:
    """Return the mean of the members' numbers, each over its own documents."""
    own = [metric_of(member.judge, key) for member in members]
    names = [member.name for member in members]
    first = own[0]
    return Metric(
        name=first.name,
        outputs=first.outputs,
        primary=first.primary,
        higher_is_better=first.higher_is_better,
        options=f"filter:{key[1]}|average:{'micro' if by_size else 'macro'}",
        statistics=partial(_statistics, own, names),
        aggregate=lambda sums: sums[..., :1] * np.nan,  # it is no function of sums
        weighted=partial(_weighted, own, by_size),
        per_example=lambda stats: stats[:, 2:3],
        scale=first.scale,
        lowest=first.lowest,
    )


def _statistics(own: Sequence[Metric], names: Sequence[str], log: Sequence[Prediction]) -> FloatArray:
    """Return float64 ``(n, 1 + k)``: the member of each prediction, or −1, and its statistics."""
    places: dict[int, list[int]] = {}
    for place, prediction in enumerate(log):
        places.setdefault(names.index(prediction.task) if prediction.task in names else -1, []).append(place)
    stats = {at: own[at].statistics([log[place] for place in found]) for at, found in places.items() if at >= 0}
    width = max(part.shape[1] for part in stats.values())
    rows = np.zeros((len(log), 1 + width))
    rows[:, 0] = -1
    for at, part in stats.items():
        rows[places[at], 0] = at
        rows[places[at], 1 : 1 + part.shape[1]] = part
    return rows


def _weighted(own: Sequence[Metric], by_size: bool, stats: FloatArray, weights: FloatArray) -> FloatArray:
    """Average the members' numbers on resamples: statistics ``(n, 1 + k)``, weights ``(b, n)`` → ``(b, 1)``."""
    values, sizes = np.zeros((len(weights), len(own))), np.zeros((len(weights), len(own)))
    for at, metric in enumerate(own):
        rows = stats[:, 0] == at
        if rows.any():
            values[:, at] = metric.evaluate(stats[rows, 1:], weights[:, rows])[:, 0]
            sizes[:, at] = weights[:, rows].sum(axis=1)
    there = sizes > 0
    share = np.where(there, sizes if by_size else 1.0, 0.0)
    return divide((np.where(there, values, 0.0) * share).sum(axis=1, keepdims=True), share.sum(axis=1, keepdims=True))
