"""How a task is answered and judged."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.config.decoding import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.evaluation.exemplars import ExamplesWithExemplars, add_exemplars
from luthier.evaluation.requests import GenerationSettings, fits_whole
from luthier.metrics.task_metrics import TaskMetrics
from luthier.records import Example
from luthier.tasks.schema import Task


def task_metrics_of(task: Task) -> TaskMetrics:
    """Return the task's metrics, primary output and chance level."""
    return TaskMetrics(task.name, tuple(task.metrics), task.primary, task.chance)


def generation_settings_of(task: Task, decoding: DecodingConfig) -> GenerationSettings:
    """Return how the task is answered; what the user says of the length wins."""
    return GenerationSettings(decoding, decoding.max_new_tokens or task.max_new_tokens, tuple(task.stop))


def with_exemplars(
    examples: Sequence[Example],
    pool: Sequence[Example],
    shots: int,
    encoder: Encoder,
    how: GenerationSettings,
    *,
    seed: int,
) -> ExamplesWithExemplars:
    """Put as many exemplars before each prompt as fit with its answer, and without a cut."""

    def fits(example: Example) -> bool:
        return fits_whole(example, encoder, new_tokens=how.new_tokens)

    return add_exemplars(examples, pool, shots, seed=seed, fits=fits)


def context_of(task: Task, shots: int) -> dict[str, str]:
    """Return what a score depends on besides the metric; it joins the signature."""
    return {"task": f"{task.name}-v{task.version}", "split": "test", "shots": str(shots), "prompt": task.digest[:8]}
