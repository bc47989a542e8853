"""The metrics of a task, and its primary output: the one number that summarises them."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.metrics.registry import Named, get_metric


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """The metrics of a task.

    Attributes:
        task: Name of the task.
        metrics: Its metrics, by name where they have one.
        primary: Output of one of the metrics, e.g. ``"rougeL"``; the number that recommendations compare.
        chance: Value of the primary output for random guessing; None where it is not known.
    """

    task: str
    metrics: tuple[Named, ...]
    primary: str
    chance: float | None = None

    @property
    def primary_metric(self) -> Named:
        """The metric that gives the primary output."""
        return next(name for name in self.metrics if self.primary in get_metric(name).outputs)

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value of the primary output is better."""
        return get_metric(self.primary_metric).higher_is_better

    @property
    def scale(self) -> float | None:
        """Value of the primary output that counts as 100 points; None where it has no bound."""
        return get_metric(self.primary_metric).scale


TOKEN_LOSS = TaskMetrics("plain_text", ("perplexity",), "token_loss")
