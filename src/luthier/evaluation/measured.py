"""What is measured: a task of Luthier or one of lm-eval, asked, answered and judged along one path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from luthier.config.decoding import DecodingConfig
from luthier.evaluation.context import EvaluationContext
from luthier.evaluation.jobs import EvaluationJob, task_job
from luthier.evaluation.prepared_task import PreparedTask, generation_settings_of, signature_context
from luthier.evaluation.requests import stop_conditions_of
from luthier.inference.stop_conditions import StopConditions
from luthier.metrics.task_metrics import TaskMetrics
from luthier.models.language_model import LanguageModel
from luthier.records import Prediction


class Judging(Protocol):
    """What turns answers into scores."""

    @property
    def name(self) -> str:
        """Its name; no two of a run share one."""
        ...

    @property
    def chance(self) -> float | None:
        """Its primary number by guessing, where that is known."""
        ...

    @property
    def protocol(self) -> str:
        """What its numbers equal; "" for nothing."""
        ...

    def metrics_of(self, log: Sequence[Prediction]) -> TaskMetrics:
        """Return how answers are judged; no model is needed."""
        ...

    def signature(self) -> dict[str, str]:
        """Return what a score depends on besides the metric."""
        ...


class MeasuredGroup(Judging, Protocol):
    """Tasks with one number for all of them."""

    def log_of(self, logs: Mapping[str, Sequence[Prediction]]) -> tuple[Prediction, ...]:
        """Return the answers to all its tasks, of each by its name."""
        ...


class Measured(Judging, Protocol):
    """A task whose requests are known, for one model."""

    def job(self, model: LanguageModel, context: EvaluationContext, *, label: str) -> EvaluationJob:
        """Return what the model is to answer."""
        ...

    def ending(self, model: LanguageModel, decoding: DecodingConfig) -> StopConditions:
        """Return what ends an answer that is written; a task of choices has none."""
        ...


@dataclass(frozen=True)
class NativeTask:
    """A task of Luthier; see :class:`Measured`.

    Attributes:
        prepared: The task, with its exemplars.
        shots: Exemplars that were asked for.
    """

    prepared: PreparedTask
    shots: int = 0

    @property
    def name(self) -> str:
        """See :class:`Measured`."""
        return self.prepared.task.name

    @property
    def chance(self) -> float | None:
        """See :class:`Measured`."""
        return self.prepared.task.chance

    @property
    def protocol(self) -> str:
        """See :class:`Measured`."""
        return self.prepared.task.protocol

    def job(self, model: LanguageModel, context: EvaluationContext, *, label: str) -> EvaluationJob:
        """See :class:`Measured`."""
        return task_job(model, self.prepared, context, label=label)

    def metrics_of(self, log: Sequence[Prediction]) -> TaskMetrics:
        """See :class:`Measured`."""
        return self.prepared.metrics

    def signature(self) -> dict[str, str]:
        """See :class:`Measured`."""
        return signature_context(self.prepared, self.shots)

    def ending(self, model: LanguageModel, decoding: DecodingConfig) -> StopConditions:
        """See :class:`Measured`."""
        generation = generation_settings_of(self.prepared.task, decoding)
        return stop_conditions_of(model, self.prepared.encoder, generation)
