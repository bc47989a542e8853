"""The metrics of a task, and the one output that the task is judged by."""

from __future__ import annotations

from dataclasses import dataclass

from luthier.metrics.registry import get_metric


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """How a task is judged.

    Attributes:
        task: Its name.
        metrics: Names of its metrics.
        primary: The output that it is judged by.
        chance: What guessing gives, where that is known.
    """

    task: str
    metrics: tuple[str, ...]
    primary: str
    chance: float | None = None

    @property
    def primary_metric(self) -> str:
        """The metric that gives the primary output."""
        return next(name for name in self.metrics if self.primary in get_metric(name).outputs)

    @property
    def higher_is_better(self) -> bool:
        """Direction of the primary output."""
        return get_metric(self.primary_metric).higher_is_better

    @property
    def scale(self) -> float | None:
        """Value of the primary output that counts as 100 points; None where it has no bound."""
        return get_metric(self.primary_metric).scale


TOKEN_LOSS = TaskMetrics("plain_text", ("perplexity",), "token_loss")
