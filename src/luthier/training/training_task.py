"""A task as a training uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from luthier.config.data import EncodingConfig
from luthier.config.decoding import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.evaluation.prepared_task import generation_settings_of, task_metrics_of
from luthier.evaluation.requests import GenerationSettings
from luthier.metrics.task_metrics import TaskMetrics
from luthier.tasks.schema import Task


@dataclass(frozen=True)
class TrainingTask:
    """The task as a training uses it: it answers validation examples, and the adapter's card describes it.

    Attributes:
        task: The task.
        encoder: The model's encoder for it.
        generation: How validation examples are answered.
        batch_tokens: Tokens in one forward pass of validation.
        encoding: How examples become tokens, as the user set it.
    """

    task: Task
    encoder: Encoder
    generation: GenerationSettings
    batch_tokens: int
    encoding: EncodingConfig

    @property
    def metrics(self) -> TaskMetrics:
        """How answers are judged."""
        return task_metrics_of(self.task)

    @property
    def template(self) -> str:
        """Name of the template of every evaluation; "" where the rows are conversations."""
        return self.task.evaluation_template.name if self.task.templates else ""

    @property
    def stated_encoding(self) -> dict[str, Any]:
        """The settings of encoding that new rows need as well, for the adapter's card."""
        return self.encoding.model_dump(mode="json", include={"max_length", "chat", "chat_arguments"})

    def key_inputs(self) -> dict[str, Any]:
        """Return everything of it that the trained weights, their score or their card depend on."""
        metrics = self.metrics
        return {
            "name": self.task.name,
            "template": self.template,
            # The adapter's folder says how new rows are asked, so that a change of it is another folder.
            "input": self.task.input_column,
            "chat": self.task.chat,
            "encoding": self.stated_encoding,
            "encoder": self.encoder.signature,
            "stop": list(self.generation.stop),
            "max_new_tokens": self.generation.new_tokens,
            "decoding": self.generation.decoding.model_dump(mode="json", exclude={"max_new_tokens"}),
            # The other metrics of the task do not touch a training.
            "metric": metrics.primary_metric,
            "primary": metrics.primary,
            "extract": self.task.extraction.signature if self.task.extraction else "",
            "batch_tokens": self.batch_tokens,
        }


def training_task(
    task: Task, encoder: Encoder, decoding: DecodingConfig, *, batch_tokens: int, encoding: EncodingConfig
) -> TrainingTask:
    """Return a task as a training uses it; the user's limit of an answer wins over the task's."""
    return TrainingTask(task, encoder, generation_settings_of(task, decoding), batch_tokens, encoding)
