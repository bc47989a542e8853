"""How a task is answered and judged."""

from __future__ import annotations

from collections.abc import Sequence

from luthier.comparison.measure import Yardstick
from luthier.config import DecodingConfig
from luthier.data.encoding import Encoder
from luthier.evaluation.predict import Answering, fits_whole
from luthier.evaluation.shots import ShotExamples, with_shots
from luthier.records import Example
from luthier.tasks.task import Task


def yardstick_of(task: Task) -> Yardstick:
    """Return the task's metrics, primary output and chance level."""
    return Yardstick(task.name, tuple(task.metrics), task.primary, task.chance)


def answering_of(task: Task, decoding: DecodingConfig) -> Answering:
    """Return how the task is answered; what the user says of the length wins."""
    return Answering(decoding, decoding.max_new_tokens or task.max_new_tokens, tuple(task.stop))


def show_exemplars(
    examples: Sequence[Example], pool: Sequence[Example], shots: int, encoder: Encoder, how: Answering, *, seed: int
) -> ShotExamples:
    """Put as many exemplars before each prompt as fit with its answer, and without a cut."""

    def fits(example: Example) -> bool:
        return fits_whole(example, encoder, new_tokens=how.new_tokens)

    return with_shots(examples, pool, shots, seed=seed, fits=fits)


def context_of(task: Task, shots: int) -> dict[str, str]:
    """Return what a score depends on besides the metric; it joins the signature."""
    return {"task": f"{task.name}-v{task.version}", "split": "test", "shots": str(shots), "prompt": task.digest[:8]}
