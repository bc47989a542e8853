"""What chooses the best weights of a training beside the target's metric: other tasks, on their validation splits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.config.advice import how_to_set
from luthier.errors import ConfigError
from luthier.metrics.chance import able, known_chance
from luthier.metrics.scoring import primary_value
from luthier.metrics.seed_runs import Log
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Example
from luthier.tasks.rows.splits import digest_examples
from luthier.training.training_task import TrainingTask

DEFAULT_RETAINED = 0.98
"""Share of what the base could do that is to be kept where nothing else is said."""
_BELOW = 1e9
"""By what a score falls for each unit of the share that is missing: more than any score of a task reaches."""


@dataclass(frozen=True)
class OtherTask:
    """A task beside the target.

    Attributes:
        task: The task, with its encoder.
        examples: Of its validation split.
    """

    task: TrainingTask
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Selection:
    """What chooses the best weights.

    Attributes:
        by: ``mean`` over the target and the other tasks, or ``retained``: the target's score among weights that keep
            enough of what the base could do on the others.
        others: The other tasks.
        retain_at_least: The share that ``retained`` asks for.
    """

    by: Literal["mean", "retained"]
    others: tuple[OtherTask, ...]
    retain_at_least: float = DEFAULT_RETAINED

    def key_inputs(self) -> dict[str, Any]:
        """Return everything of it that the choice depends on, as JSON can hold it."""
        return {
            "by": self.by,
            "others": [
                [own.task.key_inputs(), own.task.task.chance, digest_examples(own.examples)] for own in self.others
            ],
            "retain_at_least": self.retain_at_least if self.by == "retained" else None,
        }


def share_of_scale(value: float, metrics: TaskMetrics) -> float:
    """Return a primary score as a share of its scale, higher is better: 40 BLEU are 0.4, an error rate of 0.1 0.9."""
    assert metrics.scale is not None, "checked by `require_scale`"
    share = value / metrics.scale
    return share if metrics.higher_is_better else 1 - share


def require_scale(metrics: TaskMetrics) -> None:
    """Check that a task has a share in a mean.

    Raises:
        ConfigError: Its primary score is unbounded.
    """
    if metrics.scale is None:
        what = f"the task '{metrics.task}' is judged by {metrics.primary}, which has no bound, so it is in no mean"
        fix = "Choose by the target (`select: target`), or leave the task out."
        raise ConfigError(what, where="training.select", fix=fix)


def mean_share(values: Sequence[tuple[float, TaskMetrics]]) -> float:
    """Return the mean of primary scores, each as a share of its scale."""
    return math.fsum(share_of_scale(value, metrics) for value, metrics in values) / len(values)


def target_if_kept(score: float, kept: float, at_least: float) -> float:
    """Return by what weights are chosen: the target's score, if enough is kept.

    Args:
        score: Of the target, higher is better.
        kept: Share of what the base could do that is kept.
        at_least: The share that is asked for. Weights that keep less are worse than any that keep it, and of those the
            ones that keep more are the better.
    """
    return score if kept >= at_least else _BELOW * (kept - at_least)


def score_in_words(score: float) -> str:
    """Say by what weights are chosen: ``"0.4123"``, or how much too little they keep."""
    if score <= -_BELOW * 1e-6:
        return f"keeps {-score / _BELOW:.3g} less than is asked for"
    return f"{score:.4g}"


@dataclass(frozen=True)
class Known:
    """What the base could do of a task: its score before, and that of guessing."""

    metrics: TaskMetrics
    before: float
    chance: float

    def share(self, after: float) -> float:
        """Return which share of what the base could do above chance a score is."""
        return (after - self.chance) / (self.before - self.chance)


def known_tasks(logs: Mapping[str, tuple[Log, TaskMetrics]]) -> dict[str, Known]:
    """Return the tasks that the base can do: its whole interval lies above chance.

    Args:
        logs: The base's answers to each task, and how they are judged.

    Raises:
        ConfigError: It can do none of them.
    """
    found = {}
    for name, (log, metrics) in logs.items():
        chance = known_chance(log, metrics)
        if chance is not None and able(log, metrics):
            found[name] = Known(metrics, primary_value(log, metrics), chance)
    if not found:
        what = f"the base does none of the retained tasks better than by guessing ({', '.join(logs)})"
        more = how_to_set("training.validation_examples", "200")
        fix = f"Retain a task that it can do, look at more examples of it ({more}), or take `select: target`."
        raise ConfigError(what, where="training.select", fix=fix)
    return found
