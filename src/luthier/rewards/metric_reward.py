"""A metric as a reward: its value for each example alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from luthier.errors import ConfigError, LuthierError
from luthier.metrics.metric import FloatArray, Metric
from luthier.metrics.registry import get_metric, metric_outputs
from luthier.records import Example, Prediction

_OF_CORPORA = {"bleu": "chrf"}
"""Metrics that say little of one answer, and one that says more."""


@dataclass(frozen=True)
class MetricReward:
    """One output of a metric; see :class:`luthier.rewards.reward.Reward`. Of a loss, less is more reward.

    Attributes:
        name: Of the output.
        metric: The metric.
    """

    name: str
    metric: Metric

    @property
    def signature(self) -> str:
        """See :class:`luthier.rewards.reward.Reward`."""
        return f"{self.name} of {self.metric.signature()}"

    def values(self, examples: Sequence[Example], answers: Sequence[Prediction]) -> FloatArray:
        """See :class:`luthier.rewards.reward.Reward`."""
        rows = self.metric.rows(self.metric.statistics(answers))
        own = rows[:, self.metric.outputs.index(self.name)]
        return np.asarray(own if self.metric.higher_is_better else -own, dtype=np.float64)


def read_metric(name: str, *, where: str) -> MetricReward:
    """Return the metric of this name, or that with an output of this name, as a reward.

    Raises:
        ConfigError: There is none, or it has no value for one example alone.
    """
    outputs = metric_outputs()
    try:
        metric = get_metric(outputs.get(name, name))
    except LuthierError as fault:
        raise ConfigError(fault.what, where=where, fix=fault.fix) from None
    if metric.name in _OF_CORPORA:
        what = f"{metric.name} is a number of many answers together, and of one alone mostly 0"
        raise ConfigError(what, where=where, fix=f"Take {_OF_CORPORA[metric.name]}.")
    if metric.weighted is not None or not metric.context_free:
        what = f"{metric.name} is a number of many answers together, and one alone has none"
        raise ConfigError(what, where=where, fix="Take a metric of single answers, such as exact_match or rougeL.")
    output = name if name in metric.outputs else metric.primary
    return MetricReward(output, metric)
